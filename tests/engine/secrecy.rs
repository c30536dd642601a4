//! The database contains no prompt, answer, metadata or name in plain text.

use std::fs;

use mlsdm::testkit::app::{Reaction, TestApp, caller, generate};

const SECRETS: [&str; 6] = [
    "zebra-prompt-4711",
    "zebra-answer-4711",
    "zebra-note-4711",
    "zebra-person-4711",
    "zebra-metakey-4711",
    "zebra-request-4711",
];

async fn run_step(app: &TestApp) {
    let [prompt, answer, note, person, key, request_id] = SECRETS;
    let text = format!("{answer} is a part of this answer, which is long enough to be remembered.");
    app.model.script([Reaction::Say(text)]);
    let mut request = generate(prompt);
    request.metadata.insert(key.to_owned(), note.to_owned());
    let mut caller = caller(person);
    caller.client_request_id = Some(request_id.to_owned());
    app.send(caller, request).await.unwrap();
}

#[tokio::test]
async fn a_sqlite_file_contains_no_plain_text() {
    let app = TestApp::sqlite().await;
    run_step(&app).await;
    let app = app.restart().await;
    let mut files = 0;
    for entry in fs::read_dir(app.database().folder().unwrap()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        for secret in SECRETS {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret}");
        }
        files += 1;
    }
    assert!(files >= 1);
}

#[tokio::test]
async fn events_and_contents_contain_no_plain_text() {
    let app = TestApp::postgres().await;
    run_step(&app).await;
    let log = app.log().await;
    let positions: Vec<u64> = log.iter().map(|record| record.position).collect();
    let store = &app.engines.parts().store;
    let contents = store.sealed_contents(app.engine().await.id(), &positions).await.unwrap();
    assert_eq!(contents.len(), 2);
    let sealed = contents.into_iter().map(|content| content.sealed);
    let payloads = log.iter().map(|record| record.payload.clone());
    let actors =
        log.iter().filter_map(|r| r.actor.as_ref().map(|actor| actor.clone().into_bytes()));
    let ids = log.iter().filter_map(|r| r.request_id.as_ref().map(|id| id.clone().into_bytes()));
    for bytes in sealed.chain(payloads).chain(actors).chain(ids) {
        for secret in SECRETS {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret}");
        }
    }
}
