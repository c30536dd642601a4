//! Agents and other clients of the chat routes, against a provider that refuses what the real ones
//! refuse.

use std::sync::Arc;

use actix_web::{
    body::MessageBody,
    dev::{Service, ServiceResponse},
    test, web,
};
use mlsdm::{
    clock,
    http::{AppState, create_app},
    testkit::{
        TestDatabase, app_state, guarded_app_state,
        strict::{Provider, Received, echo},
    },
};
use serde_json::{Value, json};

const FACT: &str = "My dog is called Rex and he is brown";
const QUESTION: &str = "What is my dog called?";

/// A dialect: its route, its provider, and its forms of a tool loop.
struct Dialect {
    route: &'static str,
    backend: &'static str,
    key: &'static str,
    base_url: &'static str,
    path: &'static str,
}

const OPENAI: Dialect = Dialect {
    route: "/v1/chat/completions",
    backend: "openai",
    key: "OPENAI_API_KEY",
    base_url: "MLSDM__LLM__OPENAI__BASE_URL",
    path: "/v1",
};

const ANTHROPIC: Dialect = Dialect {
    route: "/v1/messages",
    backend: "anthropic",
    key: "ANTHROPIC_API_KEY",
    base_url: "MLSDM__LLM__ANTHROPIC__BASE_URL",
    path: "",
};

impl Dialect {
    async fn state(&self, provider: &Provider, env: &[(&str, &str)]) -> (AppState, TestDatabase) {
        let url = format!("{}{}", provider.url, self.path);
        let own = [
            ("LLM_BACKEND", self.backend),
            (self.key, "sk-geheim"),
            (self.base_url, &*url),
            ("MLSDM__LLM__MODEL", "m-1"),
        ];
        app_state(&[&own[..], env].concat()).await
    }

    fn body(&self, messages: &[Value], fields: Value) -> Value {
        let mut body = json!({ "messages": messages, "mlsdm": { "memory": "full" } });
        if self.backend == "anthropic" {
            body["max_tokens"] = json!(64);
        }
        let Value::Object(fields) = fields else { panic!("fields are an object") };
        for (name, value) in fields {
            body[name.as_str()] = value;
        }
        body
    }

    fn tools(&self) -> Value {
        let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
        if self.backend == "anthropic" {
            return json!([{ "name": "weather", "input_schema": schema }]);
        }
        json!([{ "type": "function", "function": { "name": "weather", "parameters": schema } }])
    }

    /// The answer with calls of tools as the client sends it back, and the results.
    fn results(&self, answer: &Value) -> Vec<Value> {
        if self.backend == "anthropic" {
            let calls = answer["content"].as_array().unwrap();
            let calls = calls.iter().filter(|part| part["type"] == "tool_use");
            let result = |call: &Value| json!({ "type": "tool_result", "tool_use_id": call["id"], "content": "sunny" });
            let results: Vec<Value> = calls.map(result).collect();
            return vec![
                json!({ "role": "assistant", "content": answer["content"] }),
                json!({ "role": "user", "content": results }),
            ];
        }
        let message = answer["choices"][0]["message"].clone();
        let calls = message["tool_calls"].as_array().unwrap().clone();
        let result = |call: &Value| json!({ "role": "tool", "tool_call_id": call["id"], "content": "sunny" });
        std::iter::once(message).chain(calls.iter().map(result)).collect()
    }
}

fn to(route: &str, key: Option<&str>, body: &Value) -> test::TestRequest {
    let request = test::TestRequest::post().uri(route).set_json(body);
    match key {
        Some(key) => request.insert_header(("x-api-key", key)),
        None => request,
    }
}

async fn post<R, B: MessageBody>(
    app: &impl Service<R, Response = ServiceResponse<B>, Error = actix_web::Error>,
    request: R,
) -> (u16, Value) {
    let response = test::call_service(app, request).await;
    let status = response.status().as_u16();
    (status, test::read_body_json(response).await)
}

fn user(content: impl Into<Value>) -> Value {
    json!({ "role": "user", "content": content.into() })
}

#[actix_web::test]
async fn an_agent_gets_through_its_tool_loop_with_a_memory() {
    for dialect in [OPENAI, ANTHROPIC] {
        let provider = Provider::new(echo()).await;
        let (state, _database) = dialect.state(&provider, &[]).await;
        let app = test::init_service(create_app(web::Data::new(state))).await;
        let tools = json!({ "tools": dialect.tools() });
        let fact = dialect.body(&[user(FACT)], json!({}));
        let (status, answer) = post(&app, to(dialect.route, None, &fact).to_request()).await;
        assert_eq!(status, 200, "{answer}");

        let mut messages = vec![user(QUESTION)];
        let body = dialect.body(&messages, tools.clone());
        let (status, answer) = post(&app, to(dialect.route, None, &body).to_request()).await;
        assert_eq!((status, &answer["mlsdm"]["context_items"]), (200, &json!(1)), "{answer}");
        messages.extend(dialect.results(&answer));
        let body = dialect.body(&messages, tools);
        let (status, answer) = post(&app, to(dialect.route, None, &body).to_request()).await;
        assert_eq!((status, &answer["mlsdm"]["context_items"]), (200, &json!(1)), "{answer}");

        assert_eq!(provider.refused(), Vec::<String>::new());
        let calls: Vec<Value> = provider.calls().iter().map(Received::json).collect();
        let [_, first, second] = &calls[..] else { panic!("{} calls", calls.len()) };
        let prompt = first["messages"][0]["content"].as_str().unwrap();
        assert!(prompt.contains(FACT) && prompt.ends_with(QUESTION), "{prompt}");
        assert_eq!(second["messages"][0], first["messages"][0], "the beginning stays the same");
        assert_eq!(second["messages"].as_array().unwrap()[1..], messages[1..]);
    }
}

#[actix_web::test]
async fn a_message_without_text_is_answered() {
    let provider = Provider::new(echo()).await;
    let (state, _database) = OPENAI.state(&provider, &[]).await;
    let app = test::init_service(create_app(web::Data::new(state))).await;
    let image =
        json!([{ "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBO" } }]);
    for messages in [vec![user(image)], vec![user("Hello there"), user("")]] {
        let (status, answer) =
            post(&app, to(OPENAI.route, None, &OPENAI.body(&messages, json!({}))).to_request())
                .await;
        assert_eq!(status, 200, "{answer}");
    }
    let (status, answer) =
        post(&app, to(OPENAI.route, None, &OPENAI.body(&[user(" ")], json!({}))).to_request())
            .await;
    assert_eq!((status, &answer["error"]["mlsdm_code"]), (400, &json!("E103")), "{answer}");
}

#[actix_web::test]
async fn the_limit_that_a_chat_names_is_sent_in_both_phases() {
    let provider = Provider::new(echo()).await;
    let rhythm = [("MLSDM_WAKE_DURATION", "1"), ("MLSDM_SLEEP_DURATION", "1")];
    let (state, _database) = OPENAI.state(&provider, &rhythm).await;
    let app = test::init_service(create_app(web::Data::new(state))).await;
    let mut limited_by = Vec::new();
    for fields in [json!({ "max_tokens": 1_000 }), json!({ "max_completion_tokens": 9_000 })]
        .into_iter()
        .flat_map(|fields| [fields.clone(), fields])
        .chain([json!({}), json!({})])
    {
        let body = OPENAI.body(&[user("Hello there")], fields);
        let (status, answer) = post(&app, to(OPENAI.route, None, &body).to_request()).await;
        assert_eq!(status, 200, "{answer}");
        limited_by.push(answer["mlsdm"]["limited_by"].clone());
    }
    let calls: Vec<Value> = provider.calls().iter().map(Received::json).collect();
    let sent = |name: &str| calls.iter().map(|call| call[name].as_u64()).collect::<Vec<_>>();
    let named = [Some(1_000), Some(1_000), None, None];
    assert_eq!(sent("max_tokens")[..4], named);
    assert_eq!(sent("max_completion_tokens")[2..4], [Some(9_000), Some(9_000)]);
    let unnamed: Vec<u64> = calls[4..]
        .iter()
        .filter_map(|call| {
            call["max_tokens"].as_u64().or_else(|| call["max_completion_tokens"].as_u64())
        })
        .collect();
    assert_eq!(unnamed, [2_048, 150]);
    let none = Value::Null;
    assert_eq!(limited_by, [&none, &none, &none, &none, &none, &json!("sleep")].map(Clone::clone));
}

#[actix_web::test]
async fn an_application_with_an_api_key_names_its_users() {
    const KEY: &str = "a-key-of-an-application";
    let env = [("MLSDM__AUTH__MODE", "keys"), ("API_KEY", KEY)];
    let (state, _database) = guarded_app_state(&env, Arc::new(clock::now_micros)).await;
    let app = test::init_service(create_app(web::Data::new(state))).await;
    let say = async |name: &str, text: &str| {
        let body = OPENAI.body(&[user(text)], json!({ "user": name }));
        post(&app, to(OPENAI.route, Some(KEY), &body).to_request()).await
    };
    assert_eq!(say("ann", FACT).await.0, 200);
    assert_eq!(say("ann", QUESTION).await.1["mlsdm"]["context_items"], 1);
    assert_eq!(say("bob", QUESTION).await.1["mlsdm"]["context_items"], 0);
    assert_eq!(say(&"x".repeat(512), QUESTION).await.0, 200);
    let (status, answer) = say("ann ", QUESTION).await;
    let text = answer["error"]["message"].as_str().unwrap();
    assert!(status == 400 && text.contains("U+0020"), "{answer}");
}

#[actix_web::test]
async fn an_application_that_must_name_its_users_is_told() {
    const KEY: &str = "a-key-of-an-application";
    let env = [
        ("MLSDM__AUTH__MODE", "keys"),
        ("API_KEY", KEY),
        ("MLSDM__AUTH__REQUIRE_END_USER", "true"),
    ];
    let (state, _database) = guarded_app_state(&env, Arc::new(clock::now_micros)).await;
    let app = test::init_service(create_app(web::Data::new(state))).await;
    let body = json!({ "prompt": "Hello there" });
    let (status, problem) = post(&app, to("/v1/generate", Some(KEY), &body).to_request()).await;
    assert_eq!((status, &problem["code"]), (400, &json!("E102")), "{problem}");
    let named = OPENAI.body(&[user("Hello there")], json!({ "user": "ann" }));
    assert_eq!(post(&app, to(OPENAI.route, Some(KEY), &named).to_request()).await.0, 200);
}
