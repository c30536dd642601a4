//! The provider `replay`.

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
async fn the_recorded_answers_of_a_log_are_returned_again() {
    let app = TestApp::sqlite().await;
    let say = |text: &str| Reaction::Say(text.to_owned());
    app.model.script([say("the first answer"), say("another one"), say("the second answer")]);
    for prompt in ["Hello there", "And you?", "Hello there"] {
        app.ask("ann", prompt).await.unwrap();
    }
    // while the other process is running
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
    let expected = ["the first answer", "the second answer", "the second answer", "another one"];
    assert_eq!(answers, expected);
    let unknown = engine.start(&state.tasks, caller("bob"), generate("Something else"), None);
    let error = step_answer(unknown).await.unwrap_err();
    assert!(matches!(error, StepError::Failed { code, .. } if code == "not_recorded"));
}

async fn step_answer(mut step: mlsdm::engine::StepHandle) -> Result<String, StepError> {
    step.response().await.map(|response| response.answer.response)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own_log_may_be_missing_but_a_configured_one_must_exist() {
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
