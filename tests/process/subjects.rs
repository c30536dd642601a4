//! A hundred concurrent end users: no step uses the memories of another end user.

use std::collections::HashMap;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use mlsdm::testkit::{TestDatabase, TestEnv, TestServer, on_every_database, send};

use crate::history::History;

const SUBJECTS: usize = 100;

/// The prompts of every end user. Their vectors are close to each other.
const PROMPTS: [&str; 4] = [
    "My dog is called Rex and he is brown",
    "What is my dog called?",
    "Is my dog called Rex brown?",
    "Tell me about my dog called Rex",
];

on_every_database!(TestDatabase: contexts_never_cross_end_users);

async fn contexts_never_cross_end_users(database: TestDatabase) {
    let env = TestEnv::new(database.url()).with("LOG_LEVEL", "DEBUG");
    let server = env.latency_ms(5).serve().await;
    let mut clients = JoinSet::new();
    for number in 0..SUBJECTS {
        let asks: Vec<_> = PROMPTS
            .iter()
            .map(|prompt| {
                let name = format!("person-{number}");
                server
                    .post("/v1/generate")
                    .header("X-MLSDM-End-User", name)
                    .json(&json!({"prompt": prompt, "moral_value": 0.9}))
            })
            .collect();
        clients.spawn(async move {
            let mut items = Vec::new();
            for ask in asks {
                let answer = send(ask).await.unwrap().ok();
                items.push(answer["context_items"].as_u64().unwrap());
            }
            items
        });
    }
    for items in clients.join_all().await {
        assert_eq!(items[0], 0, "the first prompt has no memories: {items:?}");
        assert!(items.iter().enumerate().all(|(asked, found)| *found <= asked as u64), "{items:?}");
    }
    assert_no_context_crosses(&server).await;
    assert_unknown_names_find_nothing(&server).await;
    let log = server.log();
    assert!(!log.contains("Rex") && !log.contains("person-"), "a prompt or a name in the log");
}

async fn assert_no_context_crosses(server: &TestServer) {
    let history = History::read(server, "default").await;
    history.is_whole();
    let completed = history.of("step.completed");
    assert_eq!(completed.len(), SUBJECTS * PROMPTS.len());
    let subject = |event: &Value| event["subject_ref"].as_str().unwrap().to_owned();
    let mut steps: HashMap<String, usize> = HashMap::new();
    let mut used = 0;
    for event in completed {
        *steps.entry(subject(event)).or_default() += 1;
        for position in event["clear"]["context"]["used"].as_array().unwrap() {
            let remembered = history.at(position.as_u64().unwrap());
            assert_eq!(subject(remembered), subject(event), "{event}");
            assert!(remembered["position"].as_u64() < event["position"].as_u64());
            used += 1;
        }
    }
    assert_eq!(steps.len(), SUBJECTS);
    assert!(steps.values().all(|count| *count == PROMPTS.len()));
    assert!(used >= SUBJECTS, "memories are used: {used}");
}

async fn assert_unknown_names_find_nothing(server: &TestServer) {
    let before = server.head().await;
    let page = server.read("/v1/events?subject=nobody").await;
    assert_eq!(page["events"], json!([]));
    assert_eq!(server.head().await, before, "a query about an unknown end user appends nothing");
    let page = server.read("/v1/events?subject=person-7&type=step.completed").await;
    assert_eq!(page["events"].as_array().unwrap().len(), PROMPTS.len());
}
