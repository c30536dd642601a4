//! Chats: the prompt, the judged texts, the use of the memory, and what the log keeps of a conversation.

use mlsdm::{
    domain::{
        event::{Event, MemoryOutcome, NotStoredReason, StepAdmitted, StepCompleted},
        ids::Position,
        policy::{JudgedScope, MemoryMode, Placement, Policy},
    },
    engine::{Chat, Settings, StepError, StepRequest, StepResponse, verify::verify},
    json,
    llm::{
        Extra, Message, Request, Role,
        turn::{self, ClientBlocks},
    },
    store::codec,
    testkit::app::{NOTED, TestApp, TestSetup, caller},
};
use serde_json::{Value, json as value};

const FACT: &str = "My dog is called Rex";
const QUESTION: &str = "What is my dog called?";

async fn app_with(change: impl FnOnce(&mut Policy)) -> TestApp {
    let mut policy = Policy::of_new_engine();
    change(&mut policy);
    TestApp::sqlite_with(TestSetup { policy, ..TestSetup::default() }).await
}

fn message(raw: &Value) -> Message {
    let role = match raw["role"].as_str().unwrap() {
        "assistant" => Role::Assistant,
        "system" => Role::System,
        _ => Role::User,
    };
    if let Some(text) = raw["content"].as_str() {
        return Message::text(role, text);
    }
    let parts = raw["content"].as_array().unwrap().iter();
    let text = parts.filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n");
    Message { role, text, raw: Some(json::raw(raw).unwrap()) }
}

fn chat(messages: &[Value]) -> StepRequest {
    let messages: Vec<Message> = messages.iter().map(message).collect();
    let prompt = turn::prompt(&messages, &ClientBlocks::default()).unwrap();
    let chat = Chat::new(messages, &prompt, true, Extra::default());
    StepRequest { prompt: prompt.text.into(), chat: Some(chat), ..StepRequest::default() }
}

fn user(content: impl Into<Value>) -> Value {
    value!({ "role": "user", "content": content.into() })
}

fn assistant(content: impl Into<Value>) -> Value {
    value!({ "role": "assistant", "content": content.into() })
}

/// The turns of a tool: its call and its result.
fn tool(id: usize) -> [Value; 2] {
    let call = value!([{ "type": "tool_use", "id": id, "name": "w", "input": {} }]);
    let result = value!([{ "type": "tool_result", "tool_use_id": id, "content": "sunny" }]);
    [assistant(call), user(result)]
}

async fn send(app: &TestApp, messages: &[Value]) -> Result<StepResponse, StepError> {
    app.send(caller("ann"), chat(messages)).await
}

fn asked(app: &TestApp) -> Request {
    app.model.requests().pop().unwrap()
}

async fn events(app: &TestApp) -> Vec<Event> {
    let decode = |record: &mlsdm::store::Record| {
        codec::decode(&record.kind, record.schema_version, &record.payload).unwrap()
    };
    app.log().await.iter().map(decode).collect()
}

async fn admitted(app: &TestApp) -> StepAdmitted {
    let find = |event| if let Event::StepAdmitted(event) = event { Some(*event) } else { None };
    events(app).await.into_iter().filter_map(find).next_back().unwrap()
}

async fn completed(app: &TestApp) -> StepCompleted {
    let find = |event| if let Event::StepCompleted(event) = event { Some(*event) } else { None };
    events(app).await.into_iter().filter_map(find).next_back().unwrap()
}

/// The log, decided again, has the recorded outcomes.
async fn assert_verifies(app: &TestApp) {
    let parts = app.engines.parts();
    let (id, end) = (app.engine().await.id().clone(), Position::MAX);
    let (_, result) =
        verify(&parts.store, &parts.content_key, &id, end, &mut |_| {}).await.unwrap();
    assert_eq!((result.divergent, result.unverifiable), (0, 0), "{:?}", result.first_divergence);
}

#[tokio::test]
async fn a_harmful_message_before_a_harmless_one_is_refused() {
    let messages = [user("Attack, kill and destroy"), user("Please do that")];
    let app = app_with(|_| {}).await;
    let response = send(&app, &messages).await.unwrap();
    assert_eq!(response.answer.note, "morally rejected");
    assert!(app.model.requests().is_empty());
    // an engine from before other scopes existed judges the last message
    let app = app_with(|policy| policy.moral.scope = JudgedScope::LastMessage).await;
    assert!(send(&app, &messages).await.unwrap().answer.accepted);
}

#[tokio::test]
async fn a_harmful_system_text_is_refused_by_the_scope_request() {
    let system = value!({ "role": "system", "content": "Attack, kill and destroy" });
    let messages = [system, user("Hello there")];
    let app = app_with(|policy| policy.moral.scope = JudgedScope::Request).await;
    assert!(!send(&app, &messages).await.unwrap().answer.accepted);
    let app = app_with(|_| {}).await;
    assert!(send(&app, &messages).await.unwrap().answer.accepted);
}

#[tokio::test]
async fn the_event_identifies_the_judged_text() {
    let app = app_with(|_| {}).await;
    let hmac = async |messages: &[Value]| {
        send(&app, messages).await.unwrap();
        let moral = admitted(&app).await.moral;
        assert_eq!(moral.scope, Some(JudgedScope::Turn));
        (moral.judged_chars.unwrap(), moral.judged_hmac.unwrap())
    };
    let first = hmac(&[user("Hello there")]).await;
    assert_eq!(first.0, 11);
    assert_eq!(hmac(&[user("Hello there")]).await, first);
    let split = hmac(&[user("Hello"), user("there")]).await;
    assert_eq!(split.0, 10);
    assert_ne!(split.1, first.1);
    assert_verifies(&app).await;
}

#[tokio::test]
async fn a_request_with_more_text_than_the_limit_is_refused_before_a_step() {
    let settings = Settings { judged_chars: 100, ..Settings::default() };
    let setup = TestSetup { policy: Policy::of_new_engine(), settings, ..TestSetup::default() };
    let app = TestApp::sqlite_with(setup).await;
    let long = "x".repeat(60);
    let refused = send(&app, &[user(long.as_str()), user(long.as_str())]).await;
    assert!(matches!(refused, Err(StepError::TooMuchText { chars: 120, limit: 100 })));
    assert_eq!(app.kinds().await, ["engine.created"]);
    assert!(send(&app, &[user(long)]).await.is_ok());
}

#[tokio::test]
async fn media_without_text_have_the_score_of_the_policy_and_are_not_remembered() {
    let image = [user(value!([{ "type": "image", "source": {} }]))];
    let app = app_with(|_| {}).await;
    send(&app, &image).await.unwrap();
    let moral = admitted(&app).await.moral;
    assert_eq!((moral.value.to_bits(), &*moral.scorers[0].id), (0.8_f64.to_bits(), "no_text"));
    let why = NotStoredReason::MediaOnly;
    assert_eq!(completed(&app).await.memory, MemoryOutcome::NotStored { why });
    assert_verifies(&app).await;
    let app = app_with(|policy| policy.moral.no_text = 0.1).await;
    assert!(!send(&app, &image).await.unwrap().answer.accepted);
}

#[tokio::test]
async fn a_tool_loop_has_one_prompt_and_one_context() {
    let app = app_with(|_| {}).await;
    app.ask("ann", FACT).await.unwrap();
    let mut messages = vec![user(QUESTION)];
    send(&app, &messages).await.unwrap();
    let first = asked(&app).messages[0].text.clone();
    assert!(first.contains(FACT) && first.ends_with(QUESTION), "{first}");
    for id in 0..3 {
        // what is remembered meanwhile changes nothing for a running loop
        app.ask("ann", &format!("My dog number {id} is called Max")).await.unwrap();
        messages.extend(tool(id));
        send(&app, &messages).await.unwrap();
        let request = asked(&app);
        assert_eq!((&*request.prompt, &request.messages[0].text), (QUESTION, &first));
        assert_eq!(request.messages.len(), messages.len(), "no message was added");
    }
    // the same question later has a context of its own
    send(&app, &[user(QUESTION)]).await.unwrap();
    assert!(asked(&app).messages[0].text.contains("number 2"));
    assert_verifies(&app).await;
}

#[tokio::test]
async fn the_context_can_stand_in_the_system_text() {
    let app = app_with(|policy| policy.context.placement = Placement::System).await;
    app.ask("ann", FACT).await.unwrap();
    send(&app, &[value!({ "role": "system", "content": "Be kind" }), user(QUESTION)])
        .await
        .unwrap();
    let request = asked(&app);
    let [system, prompt] = &request.messages[..] else { panic!("{:?}", request.messages) };
    assert!(system.text.starts_with("Be kind\n\n") && system.text.contains(FACT));
    assert_eq!(prompt.text, QUESTION);
}

#[tokio::test]
async fn a_request_uses_the_memory_as_far_as_it_and_its_policy_want() {
    use MemoryMode::{Full, Off, Recall};
    for (allowed, wanted, used) in
        [(Full, None, Full), (Full, Some(Recall), Recall), (Full, Some(Off), Off)]
            .into_iter()
            .chain([(Recall, Some(Full), Recall), (Off, Some(Full), Off), (Off, None, Off)])
    {
        let app = app_with(|policy| policy.memory.mode = Full).await;
        app.ask("ann", FACT).await.unwrap();
        let mut policy = Policy::of_new_engine();
        policy.memory.mode = allowed;
        change(&app, policy).await;
        let request = StepRequest { memory: wanted, ..chat(&[user(QUESTION)]) };
        let answer = app.send(caller("ann"), request).await.unwrap().answer;
        assert_eq!(admitted(&app).await.request.memory, Some(used));
        assert_eq!(asked(&app).messages[0].text.contains(FACT), used != Off);
        assert_eq!(answer.cognitive_state.stateless_mode, used == Off);
        let memory = completed(&app).await.memory;
        match used {
            Full => assert!(matches!(memory, MemoryOutcome::Stored { .. })),
            Recall | Off => {
                let why = NotStoredReason::MemoryOff;
                assert_eq!(memory, MemoryOutcome::NotStored { why });
            }
        }
        assert_verifies(&app).await;
    }
}

async fn change(app: &TestApp, policy: Policy) {
    use mlsdm::domain::command::ChangePolicy;
    let (actor, reason) = ("operator".to_owned(), "a test".to_owned());
    let change = ChangePolicy { policy, actor, reason, config: None, evidence: None };
    app.engine().await.change_policy(change).await.unwrap();
}

#[tokio::test]
async fn a_long_conversation_grows_in_the_log_with_its_length() {
    let image = "A".repeat(100_000);
    let sizes = async |policy: Policy| {
        let app = TestApp::sqlite_with(TestSetup { policy, ..TestSetup::default() }).await;
        let part = value!({ "type": "image", "source": { "data": image } });
        let text = value!({ "type": "text", "text": "What is on it?" });
        let mut messages = vec![user(value!([part, text]))];
        for id in 0..20 {
            send(&app, &messages).await.unwrap();
            messages.extend(tool(id));
        }
        let query = "SELECT CAST(SUM(LENGTH(sealed)) AS TEXT) FROM contents";
        app.database().query_text(query).await.parse::<usize>().unwrap()
    };
    let new = sizes(Policy::of_new_engine()).await;
    let all = sizes(Policy::default()).await;
    assert!(new < 250_000, "{new}");
    assert!(all > 20 * 100_000, "{all}");
}

#[tokio::test]
async fn an_engine_keeps_its_meaning_when_the_defaults_change() {
    let app = TestApp::sqlite().await;
    app.ask("ann", FACT).await.unwrap();
    let (position, digest) = app.digest().await;
    let app = app.restart().await;
    app.engines.ensure_default(&Policy::of_new_engine()).await.unwrap();
    assert_eq!(app.digest().await, (position, digest));
    let mut chosen = Policy::of_new_engine();
    chosen.moral.scope = JudgedScope::Request;
    app.engines.ensure_default(&chosen).await.unwrap();
    let state = app.engine().await.view();
    assert_eq!(state.state.policy.moral.scope, JudgedScope::Request);
    assert!(app.ask("ann", NOTED).await.is_ok());
}
