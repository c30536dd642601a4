//! Isolation: callers access only their own engines, and act for others only with permission.

use actix_web::test::TestRequest;
use serde_json::{Value, json};

use crate::fixture::{Answer, TestIssuer, get, post, prompt};

async fn with_engines(names: &[&str]) -> TestIssuer {
    let app = TestIssuer::new().await;
    let admin = app.token(&json!({"roles": "admin"}));
    for name in names {
        let created = post("/v1/engines", &admin, &json!({"engine_id": name}));
        assert_eq!(app.rig.ask(created).await.status, 201);
    }
    app
}

/// The text of a response without engine name, request id and trace id.
fn anonymous(answer: &Answer, engine: &str) -> String {
    let mut text = answer.text.replace(engine, "ENGINE");
    for id in ["request_id", "trace_id"] {
        if let Some(id) = answer.json()[id].as_str() {
            text = text.replace(id, "ID");
        }
    }
    let id = answer.headers.get("x-request-id").unwrap().to_str().unwrap();
    text.replace(id, "ID")
}

#[actix_web::test]
async fn the_engine_of_another_tenant_is_indistinguishable_from_a_missing_one() {
    let app = with_engines(&["theirs", "mine"]).await;
    let roles = json!(["user", "operator", "auditor"]);
    let token = app.token(&json!({"roles": roles, "mlsdm_engines": ["mine", "nowhere"]}));
    let chat = json!({"messages": [{"role": "user", "content": "Hello"}]});
    let requests: [(&str, Option<Value>); 10] = [
        ("generate", Some(prompt())),
        ("chat/completions", Some(chat.clone())),
        (
            "messages",
            Some({
                let mut chat = chat.clone();
                chat["max_tokens"] = 9.into();
                chat["model"] = "default".into();
                chat
            }),
        ),
        ("embeddings", Some(json!({"input": "Hello"}))),
        ("moderations", Some(json!({"input": "Hello"}))),
        ("state", None),
        ("events", None),
        ("events/1", None),
        ("models", None),
        ("admin/shutdown", Some(json!({}))),
    ];
    for (route, body) in requests {
        let ask = async |engine: &str| {
            let uri = format!("/v1/engines/{engine}/{route}");
            let request = match &body {
                Some(body) => post(&uri, &token, body),
                None => get(&uri, &token),
            };
            app.rig.ask(request).await
        };
        let (theirs, missing) = (ask("theirs").await, ask("nowhere").await);
        assert_eq!((theirs.status, missing.status), (404, 404), "{route}: {theirs:?}");
        assert_eq!(anonymous(&theirs, "theirs"), anonymous(&missing, "nowhere"), "{route}");
        assert_eq!(ask("mine").await.status, 200, "{route}");
    }
    // by header and by model name
    let header = post("/v1/chat/completions", &token, &chat);
    let header = app.rig.ask(header.insert_header(("x-mlsdm-engine", "theirs"))).await;
    let mut named = chat;
    named["model"] = "theirs/default".into();
    let named = app.rig.ask(post("/v1/chat/completions", &token, &named)).await;
    assert_eq!((header.status, named.status), (404, 404));
    // the default engine is not accessible either
    assert_eq!(app.rig.ask(get("/v1/state", &token)).await.status, 404);
}

#[actix_web::test]
async fn lists_contain_only_accessible_engines() {
    let app = with_engines(&["theirs", "mine"]).await;
    let token = app.token(&json!({"roles": "admin", "mlsdm_engines": ["mine"]}));
    let list = app.rig.ask(get("/v1/engines", &token)).await.json();
    let names: Vec<_> =
        list["engines"].as_array().unwrap().iter().map(|e| &e["engine_id"]).collect();
    assert_eq!(names, ["mine"]);
    let all = app.rig.ask(post("/v1/admin/shutdown?all=true", &token, &json!({}))).await.json();
    assert_eq!(all["engines"], json!(["mine"]));
    for engine in ["theirs", "new"] {
        let create = post("/v1/engines", &token, &json!({"engine_id": engine}));
        assert_eq!(app.rig.ask(create).await.status, 403, "whether or not it exists");
    }
}

#[actix_web::test]
async fn acting_for_another_end_user_requires_subject_delegate() {
    let app = TestIssuer::new().await;
    let chat =
        |user: &str| json!({"messages": [{"role": "user", "content": "Hello"}], "user": user});
    let message = |user: &str| {
        json!({
            "model": "default", "max_tokens": 9, "metadata": {"user_id": user},
            "messages": [{"role": "user", "content": "Hello"}],
        })
    };
    let as_user = |request: TestRequest, user: &'static str| {
        request.insert_header(("x-mlsdm-end-user", user))
    };
    let (user, service) = (app.token(&json!({})), app.token(&json!({"roles": "service"})));
    for (token, named, status) in [(&user, "ann", 200), (&user, "bob", 403), (&service, "bob", 200)]
    {
        let answers = [
            app.rig.ask(as_user(post("/v1/generate", token, &prompt()), named)).await,
            app.rig.ask(as_user(get("/v1/state", token), named)).await,
            app.rig.ask(post("/v1/chat/completions", token, &chat(named))).await,
            app.rig.ask(post("/v1/messages", token, &message(named))).await,
        ];
        for answer in answers {
            assert_eq!(answer.status, status, "{named}: {answer:?}");
            if status == 403 {
                assert!(answer.text.contains("E203"), "{answer:?}");
            }
        }
    }
}

/// Memories are not the context of another data subject, and idempotency keys belong to one caller.
#[actix_web::test]
async fn memories_and_idempotency_keys_are_isolated() {
    let app = TestIssuer::new().await;
    let say = |who: &str| {
        let token = app.token(&json!({"sub": who}));
        post("/v1/generate", &token, &prompt()).insert_header(("idempotency-key", "k-1"))
    };
    let ann = app.rig.ask(say("ann")).await;
    let bob = app.rig.ask(say("bob")).await;
    assert_eq!((ann.status, bob.status), (200, 200), "{bob:?}");
    assert!(!bob.headers.contains_key("idempotency-replayed"));
    assert_eq!((&ann.json()["step"], &bob.json()["step"]), (&json!(1), &json!(2)));
    assert_eq!(bob.json()["context_items"], 0);
    let again = app.rig.ask(say("ann")).await;
    assert_eq!(again.headers.get("idempotency-replayed").unwrap(), "true");
    assert_eq!(again.json()["position"], ann.json()["position"]);
}

#[actix_web::test]
async fn administrative_actions_record_their_actor() {
    let app = TestIssuer::new().await;
    let token = app.token(&json!({"sub": "operator-7", "roles": ["operator", "auditor"]}));
    let reason = json!({"reason": "a drill"});
    assert_eq!(app.rig.ask(post("/v1/admin/shutdown", &token, &reason)).await.status, 200);
    let events = app.rig.ask(get("/v1/events?type=emergency.shutdown", &token)).await;
    let events = if events.json()["events"].as_array().is_some_and(|e| !e.is_empty()) {
        events.text
    } else {
        app.rig.ask(get("/v1/events", &token)).await.text
    };
    assert!(events.contains("\"actor\":\"operator-7\""), "{events}");
}
