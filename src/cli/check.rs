//! `mlsdm check`: tests the configuration and the services that it names, without side effects.

mod database;
mod production;

use serde::Serialize;
use serde_json::{Value, json};

use self::database::Opened;
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

/// The result of a check.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Pass,
    /// Works, but may surprise an operator.
    Warn,
    Fail,
}

/// One check.
#[derive(Debug, Serialize)]
struct Check {
    #[serde(rename = "check")]
    name: String,
    status: Status,
    detail: String,
}

impl Check {
    fn new(name: impl Into<String>, status: Status, detail: impl Into<String>) -> Self {
        Self { name: name.into(), status, detail: detail.into() }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Run the complete checklist of the deployment guide instead, including checks of the running server.
    #[arg(long)]
    production: bool,
}

/// The exit code is 2 for an invalid configuration, 3 for an unreachable database, and 1 if any other check
/// fails.
pub(super) async fn run(context: &Context, args: &Args) -> anyhow::Result<()> {
    if args.production {
        return production::run(context).await;
    }
    let loaded = context.loaded()?;
    let valid = format!("{} settings", loaded.settings.len());
    let mut checks = vec![Check::new("configuration", Status::Pass, valid)];
    let warnings = loaded.warnings.iter();
    checks.extend(warnings.map(|text| Check::new("configuration", Status::Warn, text)));
    checks.extend(models(&loaded.config.llm));
    checks.push(embedder(&loaded.config).await);
    checks.push(callers(&loaded.config).await);
    checks.push(certificate(&loaded.config));
    let reached = check_database(&loaded.config, &mut checks).await;
    let failed = checks.iter().filter(|check| matches!(check.status, Status::Fail)).count();
    context.print(&json!({ "checks": checks, "failed": failed }), render)?;
    if let Err(error) = reached {
        return Err(error.into());
    }
    if failed == 0 { Ok(()) } else { Err(Finding(format!("{failed} checks failed")).into()) }
}

/// The order of the models and the keys of their providers. Calls no provider, which would cost money.
fn models(llm: &config::Llm) -> Vec<Check> {
    let check = |provider: &LlmProvider| {
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
            LlmProvider::Named(name) => {
                let named = llm.named(name);
                let host = named.map_or_else(String::new, |named| host(&named.base_url));
                format!("{host}, {}", key(named.is_some_and(|named| named.key().is_some())))
            }
        };
        Check::new(format!("model provider {}", provider.as_str()), Status::Pass, detail)
    };
    let name = |choice: &config::Choice| match &choice.model {
        Some(model) => format!("{} {model}", choice.provider.as_str()),
        None => choice.provider.as_str().to_owned(),
    };
    let order: Vec<String> = llm.order(&llm.first()).iter().map(name).collect();
    let mut checks = vec![Check::new("model", Status::Pass, order.join(", then "))];
    checks.extend(llm.called().iter().map(check));
    checks
}

/// The authentication mode, and the reachability of the identity provider.
async fn callers(config: &Config) -> Check {
    let (name, mode) = ("callers", config.auth.mode(config.api.host));
    let provider = match mode {
        AuthMode::Oidc | AuthMode::OidcAndKeys => login::check_metadata(&config.auth.oidc).await,
        AuthMode::None => {
            return Check::new(
                name,
                Status::Warn,
                "auth.mode is none: every caller has every permission",
            );
        }
        AuthMode::Keys | AuthMode::Dev => Ok(()),
    };
    match provider {
        Ok(()) => Check::new(name, Status::Pass, format!("auth.mode is {}", mode.as_str())),
        Err(error) => Check::new(name, Status::Fail, format!("identity provider: {error}")),
    }
}

/// Checks that the TLS files are usable.
fn certificate(config: &Config) -> Check {
    let name = "certificate";
    match Tls::open(&config.tls) {
        Ok(Some(_)) => Check::new(name, Status::Pass, "certificate and key match"),
        Ok(None) => {
            Check::new(name, Status::Pass, "none: plain HTTP, for use behind a proxy with TLS")
        }
        Err(error) => Check::new(name, Status::Fail, error.to_string()),
    }
}

/// The host alone: a URL may contain a user and a password.
fn host(url: &str) -> String {
    let host = reqwest::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
    host.unwrap_or_else(|| "an unknown host".to_owned())
}

/// Checks the database, the content key and the engines. The error is that of an unreachable database.
async fn check_database(config: &Config, checks: &mut Vec<Check>) -> Result<(), StoreError> {
    let (store, mut engines) = match database::open(config).await {
        Ok(Opened::Ready(store, engines)) => (store, engines),
        Ok(Opened::Missing(text)) => {
            let file = store_options(&config.database).sqlite_file()?;
            checks.push(match startup::refuse_missing_log(&config.database, file) {
                Ok(()) => Check::new("database", Status::Pass, text),
                Err(error) => Check::new("database", Status::Fail, error.to_string()),
            });
            checks.push(first_key(config));
            return Ok(());
        }
        Err(error) => {
            checks.push(Check::new("database", Status::Fail, error.to_string()));
            return if exit::is_unreachable(&error) { Err(error) } else { Ok(()) };
        }
    };
    let kind = if store.has_one_owner() { "SQLite" } else { "PostgreSQL" };
    let content_key = key(config, &store, engines.first());
    // the system log does not use an embedder
    engines.retain(|row| !row.engine_id.is_system());
    let found = format!("{kind} responds, {} engines", engines.len());
    checks.push(Check::new("database", Status::Pass, found));
    checks.push(content_key);
    for row in &engines {
        checks.push(engine(config, &store, row).await?);
    }
    store.close().await;
    Ok(())
}

/// The content key of an empty database.
fn first_key(config: &Config) -> Check {
    let name = "content key";
    let file = store_options(&config.database).sqlite_file().ok().flatten();
    match content_key(&config.database, file.as_deref(), false) {
        Ok(_) => Check::new(name, Status::Pass, "given"),
        Err(StartError::Key(SealError::KeyFile { .. })) => {
            Check::new(name, Status::Pass, "not set; `mlsdm serve` creates one beside the database")
        }
        Err(error) => Check::new(name, Status::Fail, error.to_string()),
    }
}

/// Checks that the key decrypts the key of the first engine.
fn key(config: &Config, store: &Store, first: Option<&EngineRow>) -> Check {
    let name = "content key";
    let Some(row) = first else { return first_key(config) };
    let opens = |key: ContentKey| -> Result<(), StartError> {
        key.unwrap_index_key(row)?;
        Ok(())
    };
    match content_key(&config.database, store.path(), false).and_then(opens) {
        Ok(()) => Check::new(name, Status::Pass, format!("decrypts engine {}", row.engine_id)),
        Err(error) => Check::new(name, Status::Fail, error.to_string()),
    }
}

/// Checks that the embedder can be opened and embeds a text.
async fn embedder(config: &Config) -> Check {
    let name = "embedder";
    let embedder = match startup::embedder(config) {
        Ok(embedder) => embedder,
        Err(error) => return Check::new(name, Status::Fail, error.to_string()),
    };
    match embedder.probe().await {
        Ok(()) => Check::new(name, Status::Pass, embedder.to_string()),
        Err(error) => Check::new(name, Status::Fail, format!("{embedder}: {error}")),
    }
}

/// Checks that the configured embedder produces the vectors of an engine.
fn vectors(name: &str, policy: &Policy, config: &Config) -> Check {
    let configured = &config.mlsdm.policy;
    let free = config.embeddings.provider == EmbeddingsProvider::Hashing;
    let fits = free || policy.dimension == configured.dimension;
    if policy.embedder == configured.embedder && fits {
        return Check::new(name, Status::Pass, policy.vectors());
    }
    let detail = format!(
        "its vectors are from {}, but {} is configured; configure the embedder of the engine, or copy \
         the engine with `mlsdm engine migrate`",
        policy.vectors(),
        configured.vectors()
    );
    Check::new(name, Status::Fail, detail)
}

/// Checks that an engine can be loaded, and the default engine with this configuration. Dimension and
/// embedder are fixed for its lifetime, so its first event determines them.
async fn engine(config: &Config, store: &Store, row: &EngineRow) -> Result<Check, StoreError> {
    let name = format!("engine {}", row.engine_id);
    let fail = |detail: String| Ok(Check::new(name.clone(), Status::Fail, detail));
    if let Err(damage) = check_format(&row.engine_id, row.log_format) {
        return fail(damage.to_string());
    }
    let first = store.record(&row.engine_id, 1).await?;
    let first = first.map(|r| codec::decode(&r.kind, r.schema_version, &r.payload));
    let policy = match first {
        Some(Ok(Event::EngineCreated(created))) => created.policy,
        Some(Err(error)) => return fail(format!("position 1: {error}")),
        Some(Ok(_)) | None => {
            return fail("it has no first event; run `mlsdm audit verify` for details".to_owned());
        }
    };
    let wanted = &config.mlsdm.policy;
    let is_default = row.engine_id == *config.engine.default_id();
    if is_default && policy.dimension != wanted.dimension {
        return fail(format!(
            "its vectors have dimension {}, but {} is configured; set MLSDM_DIM={}, or copy the engine \
             with `mlsdm engine migrate`",
            policy.dimension, wanted.dimension, policy.dimension
        ));
    }
    let mut check = vectors(&name, &policy, config);
    if !is_default && matches!(check.status, Status::Fail) {
        // only this engine is refused; others, such as a copy of it, are served
        check.status = Status::Warn;
    }
    Ok(check)
}

fn render(value: &Value) -> String {
    let row = |check: &Value| {
        ["status", "check", "detail"].map(|key| output::cell(check.get(key))).to_vec()
    };
    let rows: Vec<_> = value["checks"].as_array().into_iter().flatten().map(row).collect();
    output::table(&["STATUS", "CHECK", "DETAIL"], &rows)
}
