//! Answers of a log, given again.

use mlsdm::{
    domain::ids::EngineId,
    engine::StepError,
    testkit::{
        CONTENT_KEY, TestDatabase,
        app::{Reaction, TestApp, caller, generate},
        app_state,
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_log_answers_again() {
    let app = TestApp::sqlite().await;
    let say = |text: &str| Reaction::Say(text.to_owned());
    app.model.script([say("the first answer"), say("another one"), say("the second answer")]);
    for prompt in ["Hello there", "And you?", "Hello there"] {
        app.ask("ann", prompt).await.unwrap();
    }
    // beside the running process
    let (state, _database) = app_state(&[
        ("LLM_BACKEND", "replay"),
        ("MLSDM__LLM__REPLAY__DATABASE", app.database().url()),
        ("MLSDM_CONTENT_KEY", CONTENT_KEY),
    ])
    .await;
    let engine = state.engines.get(&EngineId::default()).await.unwrap();
    let mut answers = Vec::new();
    for prompt in ["Hello there", "Hello there", "Hello there", "And you?"] {
        let step = engine.clone().start(&state.tasks, caller("bob"), generate(prompt), None);
        answers.push(step_answer(step).await.unwrap());
    }
    let wanted = ["the first answer", "the second answer", "the second answer", "another one"];
    assert_eq!(answers, wanted);
    let unknown = engine.start(&state.tasks, caller("bob"), generate("Something else"), None);
    let error = step_answer(unknown).await.unwrap_err();
    assert!(matches!(error, StepError::Failed { code, .. } if code == "not_recorded"));
}

async fn step_answer(mut step: mlsdm::engine::StepHandle) -> Result<String, StepError> {
    step.response().await.map(|told| told.answer.response)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_not_there_yet_has_no_answers_and_another_must_be_there() {
    let (state, _database) = app_state(&[("LLM_BACKEND", "replay")]).await;
    assert_eq!(state.engines.parts().llm.provider(), "replay");

    let missing = TestDatabase::sqlite();
    let sources = mlsdm::config::Sources {
        file: None,
        dir: "/nonexistent".into(),
        env: [
            ("LLM_BACKEND", "replay"),
            ("MLSDM__LLM__REPLAY__DATABASE", missing.url()),
            ("MLSDM_CONTENT_KEY", CONTENT_KEY),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
        flags: Vec::new(),
    };
    let config = mlsdm::config::Config::load(sources).unwrap().config;
    assert!(mlsdm::startup::llm(&config).await.is_err());
}
