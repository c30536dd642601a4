//! `mlsdm check`: the configuration, and what it names, tried without changing anything.

mod production;

use serde::Serialize;
use serde_json::{Value, json};

use super::{Context, context::Finding, exit, login, output};
use crate::{
    config::{self, AuthMode, Config, EmbeddingsProvider, LlmProvider},
    domain::{event::Event, policy::Policy},
    startup::{self, StartError, content_key, store_options},
    store::{
        EngineRow, Store, StoreError, codec, keys::ContentKey, seal::SealError,
        state_fold::check_format,
    },
    tls::Tls,
};

/// How one thing is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Pass,
    /// Works, but is not what somebody may think.
    Warn,
    Fail,
}

/// One line.
#[derive(Debug, Serialize)]
struct Line {
    check: String,
    status: Status,
    detail: String,
}

impl Line {
    fn new(check: impl Into<String>, status: Status, detail: impl Into<String>) -> Self {
        Self { check: check.into(), status, detail: detail.into() }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Go through the deployment guide's whole checklist instead, and ask the running server too.
    #[arg(long)]
    production: bool,
}

/// A configuration that is not usable ends the process with 2 before anything is tried, a database
/// that does not answer with 3, anything else that fails with 1.
pub(super) async fn run(context: &Context, args: &Args) -> anyhow::Result<()> {
    if args.production {
        return production::run(context).await;
    }
    let loaded = context.loaded()?;
    let valid = format!("{} settings", loaded.settings.len());
    let mut lines = vec![Line::new("configuration", Status::Pass, valid)];
    let warnings = loaded.warnings.iter();
    lines.extend(warnings.map(|text| Line::new("configuration", Status::Warn, text)));
    lines.extend(models(&loaded.config.llm));
    lines.push(embedder(&loaded.config).await);
    lines.push(callers(&loaded.config).await);
    lines.push(certificate(&loaded.config));
    let away = database(&loaded.config, &mut lines).await;
    let failed = lines.iter().filter(|line| matches!(line.status, Status::Fail)).count();
    context.print(&json!({ "checks": lines, "failed": failed }), people)?;
    if let Err(away) = away {
        return Err(away.into());
    }
    if failed == 0 { Ok(()) } else { Err(Finding(format!("{failed} checks failed")).into()) }
}

/// Who answers, in order, and whether a key is there. Nothing is asked: that would cost money.
fn models(llm: &config::Llm) -> Vec<Line> {
    let line = |provider: LlmProvider| {
        let key = |key: bool| if key { "key given" } else { "no key" };
        let detail = match provider {
            LlmProvider::LocalStub => "built in".to_owned(),
            LlmProvider::Openai => {
                format!("{}, {}", host(&llm.openai.base_url), key(llm.openai.key().is_some()))
            }
            LlmProvider::Anthropic => {
                format!("{}, {}", host(&llm.anthropic.base_url), key(llm.anthropic.key().is_some()))
            }
            LlmProvider::Replay => format!("the log of engine {}", llm.replay.engine),
        };
        Line::new(format!("model provider {}", provider.as_str()), Status::Pass, detail)
    };
    let name = |choice: &config::Choice| match &choice.model {
        Some(model) => format!("{} {model}", choice.provider.as_str()),
        None => choice.provider.as_str().to_owned(),
    };
    let order: Vec<String> = llm.order(&llm.first()).iter().map(name).collect();
    let mut lines = vec![Line::new("model", Status::Pass, order.join(", then "))];
    lines.extend(llm.providers().into_iter().map(line));
    lines
}

/// How callers prove who they are, and whether the identity provider that vouches for them answers.
async fn callers(config: &Config) -> Line {
    let (name, mode) = ("callers", config.auth.mode(config.api.host));
    let provider = match mode {
        AuthMode::Oidc | AuthMode::OidcAndKeys => login::reach(&config.auth.oidc).await,
        AuthMode::None => {
            return Line::new(name, Status::Warn, "auth.mode is none: all are let in");
        }
        AuthMode::Keys | AuthMode::Dev => Ok(()),
    };
    match provider {
        Ok(()) => Line::new(name, Status::Pass, format!("auth.mode is {}", mode.as_str())),
        Err(error) => Line::new(name, Status::Fail, format!("identity provider: {error}")),
    }
}

/// Whether the files of TLS can be served.
fn certificate(config: &Config) -> Line {
    let name = "certificate";
    match Tls::open(&config.tls) {
        Ok(Some(_)) => Line::new(name, Status::Pass, "it and its key fit"),
        Ok(None) => {
            Line::new(name, Status::Pass, "none: plain HTTP, for a proxy with TLS before it")
        }
        Err(error) => Line::new(name, Status::Fail, error.to_string()),
    }
}

/// A URL may name a user and a password.
fn host(url: &str) -> String {
    let host = reqwest::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
    host.unwrap_or_else(|| "an unknown host".to_owned())
}

/// Tries the database and what is in it; an error is one of a database that does not answer.
async fn database(config: &Config, lines: &mut Vec<Line>) -> Result<(), StoreError> {
    let (store, mut engines) = match opened(config).await {
        Ok(Opened::Ready(store, engines)) => (store, engines),
        Ok(Opened::Missing(what)) => {
            lines.push(Line::new("database", Status::Pass, what));
            lines.push(first_key(config));
            return Ok(());
        }
        Err(error) => {
            lines.push(Line::new("database", Status::Fail, error.to_string()));
            return if exit::is_away(&error) { Err(error) } else { Ok(()) };
        }
    };
    let kind = if store.has_one_owner() { "SQLite" } else { "PostgreSQL" };
    let content_key = key(config, &store, engines.first());
    // the server's own log has no use for an embedder
    engines.retain(|row| !row.engine_id.is_system());
    let found = format!("{kind} answers, {} engines", engines.len());
    lines.push(Line::new("database", Status::Pass, found));
    lines.push(content_key);
    for row in &engines {
        lines.push(engine(config, &store, row).await?);
    }
    store.close().await;
    Ok(())
}

enum Opened {
    Ready(Store, Vec<EngineRow>),
    /// There is nothing yet; what will be made.
    Missing(&'static str),
}

async fn opened(config: &Config) -> Result<Opened, StoreError> {
    let options = store_options(&config.database);
    let store = match Store::open_read_only(&options).await {
        Err(StoreError::File { .. })
            if options.sqlite_file()?.is_some_and(|file| !file.exists()) =>
        {
            return Ok(Opened::Missing("there is no file yet; `mlsdm serve` makes it"));
        }
        opened => opened?,
    };
    match store.engines().await {
        Ok(engines) => Ok(Opened::Ready(store, engines)),
        Err(StoreError::Unmigrated(_)) => {
            Ok(Opened::Missing("it has no tables yet; `mlsdm serve` makes them"))
        }
        Err(error) => Err(error),
    }
}

/// The content key of a database that holds nothing yet.
fn first_key(config: &Config) -> Line {
    let name = "content key";
    let file = store_options(&config.database).sqlite_file().ok().flatten();
    match content_key(&config.database, file.as_deref(), false) {
        Ok(_) => Line::new(name, Status::Pass, "given"),
        Err(StartError::Key(SealError::KeyFile { .. })) => {
            Line::new(name, Status::Pass, "none given; `mlsdm serve` makes one beside the database")
        }
        Err(error) => Line::new(name, Status::Fail, error.to_string()),
    }
}

/// Whether the key opens what the first engine was made with.
fn key(config: &Config, store: &Store, first: Option<&EngineRow>) -> Line {
    let name = "content key";
    let Some(row) = first else { return first_key(config) };
    let opens = |key: ContentKey| -> Result<(), StartError> {
        key.unwrap_index_key(&row.engine_id, &row.index_key)?;
        Ok(())
    };
    match content_key(&config.database, store.path(), false).and_then(opens) {
        Ok(()) => Line::new(name, Status::Pass, format!("opens engine {}", row.engine_id)),
        Err(error) => Line::new(name, Status::Fail, error.to_string()),
    }
}

/// Whether the embedder can be made and embeds a text.
async fn embedder(config: &Config) -> Line {
    let name = "embedder";
    let embedder = match startup::embedder(config) {
        Ok(embedder) => embedder,
        Err(error) => return Line::new(name, Status::Fail, error.to_string()),
    };
    match embedder.probe().await {
        Ok(()) => Line::new(name, Status::Pass, embedder.to_string()),
        Err(error) => Line::new(name, Status::Fail, format!("{embedder}: {error}")),
    }
}

/// Whether an engine's vectors are those of the embedder of this configuration.
fn vectors(check: &str, policy: &Policy, config: &Config) -> Line {
    let configured = &config.mlsdm.policy;
    let free = config.embeddings.provider == EmbeddingsProvider::Hashing;
    let fits = free || policy.dimension == configured.dimension;
    if policy.embedder == configured.embedder && fits {
        return Line::new(check, Status::Pass, policy.vectors());
    }
    let detail = format!(
        "its vectors are made by {}, the configuration says {}; configure that embedder, or copy \
         the engine with `mlsdm engine migrate`",
        policy.vectors(),
        configured.vectors()
    );
    Line::new(check, Status::Fail, detail)
}

/// Whether an engine can be loaded, and the default one with this configuration. Dimension and
/// embedder are fixed for its life, so its first event tells.
async fn engine(config: &Config, store: &Store, row: &EngineRow) -> Result<Line, StoreError> {
    let name = format!("engine {}", row.engine_id);
    let fail = |detail: String| Ok(Line::new(name.clone(), Status::Fail, detail));
    if let Err(damage) = check_format(row) {
        return fail(damage.to_string());
    }
    let first = store.record(&row.engine_id, 1).await?;
    let first = first.map(|r| codec::decode(&r.kind, r.schema_version, &r.payload));
    let policy = match first {
        Some(Ok(Event::EngineCreated(created))) => created.policy,
        Some(Err(error)) => return fail(format!("position 1: {error}")),
        Some(Ok(_)) | None => {
            return fail("it has no first event; `mlsdm audit verify` says more".to_owned());
        }
    };
    let wanted = &config.mlsdm.policy;
    let is_default = row.engine_id == *config.engine.default_id();
    if is_default && policy.dimension != wanted.dimension {
        return fail(format!(
            "its vectors have {} components, the configuration says {}; set MLSDM_DIM={}, or copy \
             the engine with `mlsdm engine migrate`",
            policy.dimension, wanted.dimension, policy.dimension
        ));
    }
    let mut line = vectors(&name, &policy, config);
    if !is_default && matches!(line.status, Status::Fail) {
        // it is refused and the others are served, such as the copy made of it
        line.status = Status::Warn;
    }
    Ok(line)
}

fn people(value: &Value) -> String {
    let row = |line: &Value| {
        ["status", "check", "detail"].map(|key| output::cell(line.get(key))).to_vec()
    };
    let rows: Vec<_> = value["checks"].as_array().into_iter().flatten().map(row).collect();
    output::table(&["STATUS", "CHECK", "DETAIL"], &rows)
}
