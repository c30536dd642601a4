//! Configured models, and calls to them.

use std::{path::PathBuf, sync::Arc, time::Duration};

use mlsdm::{
    config::{Config, Sources},
    llm::{
        CallLog, CallReport, DELTAS_MAX, Delta, Dialect, Extra, Llm, Message, Replay, Request,
        Role, Sink,
    },
    startup,
};
use serde_json::Value;
use tokio::{sync::mpsc, time::Instant};

/// The prompt of all requests. No error or report may contain it.
pub(crate) const PROMPT: &str = "geheim-prompt-4711";

/// Deadline of the calls. Only a hang comes near it.
pub(crate) const MINUTE: Duration = Duration::from_mins(1);

/// The models of a configuration by environment variables.
pub(crate) fn llm(env: &[(&str, &str)]) -> Llm {
    configured(None, env)
}

/// The models of a configuration by a file and environment variables.
pub(crate) fn configured(file: Option<PathBuf>, env: &[(&str, &str)]) -> Llm {
    let set = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    // retries without backoff
    let swift = [("MLSDM__LLM__RETRY__BASE_MS", "0"), ("MLSDM__LLM__MODEL", "m-1")];
    let sources = Sources {
        file,
        dir: PathBuf::from("/nonexistent"),
        env: swift.iter().chain(env).map(set).collect::<Vec<_>>(),
        flags: Vec::new(),
    };
    let config = Config::load(sources).unwrap().config;
    startup::providers(&config.llm, &Arc::new(Replay::default())).unwrap()
}

/// Chat completions at a URL, with a key.
pub(crate) fn openai(url: &str) -> Llm {
    llm(&[
        ("LLM_BACKEND", "openai"),
        ("OPENAI_API_KEY", "sk-geheim"),
        ("MLSDM__LLM__OPENAI__BASE_URL", &format!("{url}/v1")),
    ])
}

/// Anthropic's messages at a URL, with a key.
pub(crate) fn anthropic(url: &str) -> Llm {
    llm(&[
        ("LLM_BACKEND", "anthropic"),
        ("ANTHROPIC_API_KEY", "sk-geheim"),
        ("MLSDM__LLM__ANTHROPIC__BASE_URL", url),
    ])
}

/// A request with only the prompt.
pub(crate) fn request() -> Request {
    Request {
        model: None,
        messages: vec![Message::text(Role::User, PROMPT)].into(),
        prompt: PROMPT.into(),
        max_tokens: Some(64.into()),
        temperature: None,
        takes_temperature: None,
        extra: Arc::default(),
    }
}

/// The same request with fields of a dialect.
pub(crate) fn with_fields(dialect: Dialect, fields: Value) -> Request {
    let fields = serde_json::from_value(fields).unwrap();
    Request {
        extra: Arc::new(Extra { dialect: Some(dialect), fields, ..Extra::default() }),
        ..request()
    }
}

/// Calls without streaming.
pub(crate) async fn whole(llm: &Llm, request: &Request) -> (CallReport, Sink) {
    let mut sink = Sink::new(None);
    let report =
        llm.call(request, &mut sink, &mut CallLog::default(), Instant::now() + MINUTE).await;
    (report, sink)
}

/// Calls with streaming. Returns the report, the collected text and the pieces of the answer.
pub(crate) async fn streamed(llm: &Llm, request: &Request) -> (CallReport, String, Vec<Delta>) {
    let (sender, mut receiver) = mpsc::channel(DELTAS_MAX);
    let call = async move {
        let mut sink = Sink::new(Some(sender));
        let report =
            llm.call(request, &mut sink, &mut CallLog::default(), Instant::now() + MINUTE).await;
        // drops the sender, which ends `listen`
        (report, sink.into_parts().text)
    };
    let listen = async {
        let mut deltas = Vec::new();
        while let Some(delta) = receiver.recv().await {
            if delta != Delta::Begun {
                deltas.push(delta);
            }
        }
        deltas
    };
    let ((report, text), deltas) = tokio::join!(call, listen);
    (report, text, deltas)
}

/// The report must not contain the prompt, the key or a provider's text.
pub(crate) fn assert_secret(report: &CallReport) {
    let shown = match &report.result {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    let all = format!("{report:?} {shown}");
    assert!(!all.contains("geheim"), "{all}");
}
