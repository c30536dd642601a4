//! Models by configuration, and what came of asking them.

use std::{path::PathBuf, sync::Arc, time::Duration};

use mlsdm::{
    config::{Config, Sources},
    llm::{
        CallReport, DELTAS_MAX, Delta, Dialect, Extra, Llm, Message, Replay, Request, Role, Sink,
    },
    startup,
};
use serde_json::Value;
use tokio::{sync::mpsc, time::Instant};

/// The prompt of all requests; it must not turn up anywhere.
pub(crate) const PROMPT: &str = "geheim-prompt-4711";

/// Longest test of a call; only a hang comes near it.
pub(crate) const MINUTE: Duration = Duration::from_mins(1);

/// The models that these variables name.
pub(crate) fn llm(env: &[(&str, &str)]) -> Llm {
    let set = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    // retries without waits
    let swift = [("MLSDM__LLM__RETRY__BASE_MS", "0"), ("MLSDM__LLM__MODEL", "m-1")];
    let sources = Sources {
        file: None,
        dir: PathBuf::from("/nonexistent"),
        env: swift.iter().chain(env).map(set).collect::<Vec<_>>(),
        flags: Vec::new(),
    };
    let config = Config::load(sources).unwrap().config;
    startup::providers(&config.llm, &Arc::new(Replay::default())).unwrap()
}

/// Chat completions at an address, with a key.
pub(crate) fn openai(url: &str) -> Llm {
    llm(&[
        ("LLM_BACKEND", "openai"),
        ("OPENAI_API_KEY", "sk-geheim"),
        ("MLSDM__LLM__OPENAI__BASE_URL", &format!("{url}/v1")),
    ])
}

/// Messages at an address, with a key.
pub(crate) fn anthropic(url: &str) -> Llm {
    llm(&[
        ("LLM_BACKEND", "anthropic"),
        ("ANTHROPIC_API_KEY", "sk-geheim"),
        ("MLSDM__LLM__ANTHROPIC__BASE_URL", url),
    ])
}

/// A request of nothing but the prompt.
pub(crate) fn request() -> Request {
    Request {
        model: None,
        messages: vec![Message::text(Role::User, PROMPT)].into(),
        max_tokens: 64,
        temperature: None,
        extra: Arc::default(),
    }
}

/// The same with wishes of a dialect.
pub(crate) fn wishing(dialect: Dialect, fields: Value) -> Request {
    let Value::Object(fields) = fields else { panic!("fields are an object") };
    Request { extra: Arc::new(Extra { dialect: Some(dialect), fields }), ..request() }
}

/// What came of asking for a whole answer.
pub(crate) async fn whole(llm: &Llm, request: &Request) -> (CallReport, Sink) {
    let mut sink = Sink::new(None);
    let called = llm.call(request, &mut sink, Instant::now() + MINUTE).await;
    (called, sink)
}

/// What came of asking for pieces, the text that was kept, and the pieces.
pub(crate) async fn streamed(llm: &Llm, request: &Request) -> (CallReport, String, Vec<Delta>) {
    let (tell, mut pieces) = mpsc::channel(DELTAS_MAX);
    let ask = async move {
        let mut sink = Sink::new(Some(tell));
        let called = llm.call(request, &mut sink, Instant::now() + MINUTE).await;
        // the end of the sink tells the listener that nothing more comes
        (called, sink.into_parts().0)
    };
    let listen = async {
        let mut heard = Vec::new();
        while let Some(piece) = pieces.recv().await {
            heard.push(piece);
        }
        heard
    };
    let ((called, text), heard) = tokio::join!(ask, listen);
    (called, text, heard)
}

/// Neither prompt nor key nor an upstream's words may be in what a call leaves behind.
pub(crate) fn assert_secret(called: &CallReport) {
    let shown = match &called.result {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    let all = format!("{called:?} {shown}");
    assert!(!all.contains("geheim"), "{all}");
}
