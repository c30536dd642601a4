//! `mlsdm check --production`: the checklist of the deployment guide, item by item.
//!
//! An item that this program can check passes or fails, with evidence. The others are `manual`, with
//! instructions. Some checks call the running server.

mod list;

use serde::Serialize;
use serde_json::{Value, json};

use super::database::{self, Opened};
use crate::{
    cli::{
        Context,
        client::Client,
        context::Finding,
        login::{self, LoginError},
        output,
    },
    clock,
    config::{AuthMode, Config, Format, Level, Loaded},
    tls::Tls,
};
use list::{Check, Item, LIST, Method};

/// Minimum remaining validity of a certificate in seconds: 14 days.
const CERTIFICATE_VALIDITY_MIN: i64 = 14 * 24 * 3600;

/// The result of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Pass,
    Fail,
    /// For an operator to check.
    Manual,
}

/// An item with its result.
#[derive(Debug, Serialize)]
struct CheckResult {
    section: &'static str,
    item: &'static str,
    status: Status,
    evidence: String,
    /// The remediation; none if the item passes.
    fix: Option<&'static str>,
}

/// Status and evidence.
struct Evidence(Status, String);

impl Evidence {
    fn pass_if(good: bool, evidence: impl Into<String>) -> Self {
        Self(if good { Status::Pass } else { Status::Fail }, evidence.into())
    }

    fn fail(evidence: impl Into<String>) -> Self {
        Self(Status::Fail, evidence.into())
    }
}

/// The exit code is 1 if an item fails. Manual items do not count.
pub(super) async fn run(context: &Context) -> anyhow::Result<()> {
    let checks = Checks { context, loaded: context.loaded()? };
    let mut results = Vec::new();
    for Item { section, text: item, method, fix } in LIST {
        let Evidence(status, evidence) = match method {
            Method::Manual => Evidence(Status::Manual, "cannot be checked from here".to_owned()),
            Method::Automatic(check) => checks.run(*check).await,
        };
        let fix = (status != Status::Pass).then_some(*fix);
        results.push(CheckResult { section, item, status, evidence, fix });
    }
    let count = |status| results.iter().filter(|result| result.status == status).count();
    let (failed, manual) = (count(Status::Fail), count(Status::Manual));
    let value = json!({"checks": results, "failed": failed, "manual": manual});
    context.print(&value, render)?;
    let found = || Finding(format!("{failed} items fail, {manual} need a manual check"));
    if failed == 0 { Ok(()) } else { Err(found().into()) }
}

/// The subject of the checks.
struct Checks<'a> {
    context: &'a Context,
    loaded: &'a Loaded,
}

impl Checks<'_> {
    async fn run(&self, check: Check) -> Evidence {
        let config = &self.loaded.config;
        match check {
            Check::Resources => resources(config),
            Check::Network => network(config).await,
            Check::Tls => tls(config),
            Check::Configuration => self.configuration(),
            Check::Secrets => self.secrets(),
            Check::Logging => logging(config),
            Check::Metrics => self.metrics().await,
            Check::Health => self.health().await,
            Check::Authentication => self.authentication().await,
            Check::Rates => {
                let limited = !config.limits.rate.disabled;
                let state = if limited { "on, per caller" } else { "off" };
                Evidence::pass_if(limited, format!("rate limits are {state}"))
            }
            Check::Input => self.input().await,
            Check::Scaling => {
                let shared = config.database.is_shared();
                let kind = if shared { "PostgreSQL: replicas share a log" } else { "SQLite" };
                Evidence::pass_if(shared, kind)
            }
        }
    }

    fn configuration(&self) -> Evidence {
        let warnings = &self.loaded.warnings;
        let valid = format!("{} settings are valid", self.loaded.settings.len());
        let evidence = if warnings.is_empty() { valid } else { warnings.join("; ") };
        Evidence::pass_if(warnings.is_empty(), evidence)
    }

    fn secrets(&self) -> Evidence {
        let exposed = self.loaded.settings.iter().filter(|setting| setting.is_exposed());
        let mut found: Vec<String> =
            exposed.map(|setting| format!("{} is in {}", setting.key, setting.source)).collect();
        if self.loaded.config.database.content_key().is_none() {
            found.push(
                "database.content_key is not set: the key file is beside the database".to_owned(),
            );
        }
        let good = "none is on a command line or in a configuration file".to_owned();
        Evidence::pass_if(found.is_empty(), if found.is_empty() { good } else { found.join("; ") })
    }

    /// A client of the server without a credential.
    fn anonymous_client(&self) -> anyhow::Result<Client> {
        self.context.client_with(self.context.base()?, None)
    }

    async fn metrics(&self) -> Evidence {
        let monitoring = &self.loaded.config.monitoring;
        if !monitoring.enabled {
            return Evidence::fail("monitoring.enabled is false");
        }
        let port = monitoring.metrics_port;
        let status = async { self.context.metrics_client()?.status("/metrics").await };
        match status.await {
            Ok(status) => Evidence::pass_if(
                status == 200,
                format!("port {port} responds with status {status}"),
            ),
            Err(error) => Evidence::fail(format!("port {port}: {error}")),
        }
    }

    async fn health(&self) -> Evidence {
        let status = async { self.anonymous_client()?.status("/health/ready").await };
        match status.await {
            Ok(status) => Evidence::pass_if(
                status == 200,
                format!("/health/ready responds with status {status}"),
            ),
            Err(error) => Evidence::fail(error.to_string()),
        }
    }

    /// Checks the mode, and that the server refuses a request without a credential.
    async fn authentication(&self) -> Evidence {
        let config = &self.loaded.config;
        let mode = config.auth.mode(config.api.host);
        if !matches!(mode, AuthMode::Oidc | AuthMode::Keys | AuthMode::OidcAndKeys) {
            return Evidence::fail(format!("auth.mode is {}", mode.as_str()));
        }
        let status = async { self.anonymous_client()?.status("/v1/me").await };
        match status.await {
            Ok(status) => Evidence::pass_if(
                status == 401,
                format!(
                    "auth.mode is {}; a request without a credential gets status {status}",
                    mode.as_str()
                ),
            ),
            Err(error) => Evidence::fail(error.to_string()),
        }
    }

    /// Checks that the server refuses a blank prompt.
    async fn input(&self) -> Evidence {
        let blank = json!({"prompt": " "});
        let post = reqwest::Method::POST;
        let answer = async {
            self.context.client().await?.send(post, "/v1/generate", &[], Some(&blank)).await
        };
        match answer.await {
            Ok((status, _)) if matches!(status.as_u16(), 401 | 403) => {
                let why =
                    "needs a credential with the permission generate (mlsdm login, MLSDM_TOKEN)";
                Evidence(Status::Manual, why.to_owned())
            }
            Ok((status, _)) => {
                Evidence::pass_if(status == 400, format!("a blank prompt gets status {status}"))
            }
            Err(error) => Evidence::fail(error.to_string()),
        }
    }
}

fn resources(config: &Config) -> Evidence {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let workers = config.api.workers();
    Evidence::pass_if(workers <= cores, format!("{workers} workers on {cores} cores"))
}

async fn network(config: &Config) -> Evidence {
    match database::open(config).await {
        Ok(Opened::Ready(store, _)) => store.close().await,
        Ok(Opened::Missing(text)) => return Evidence::fail(format!("database: {text}")),
        Err(error) => return Evidence::fail(format!("database: {error}")),
    }
    let mode = config.auth.mode(config.api.host);
    if !matches!(mode, AuthMode::Oidc | AuthMode::OidcAndKeys) {
        return Evidence(Status::Pass, "the database responds".to_owned());
    }
    match login::check_metadata(&config.auth.oidc).await {
        Ok(()) => {
            Evidence(Status::Pass, "the database and the identity provider respond".to_owned())
        }
        Err(error @ LoginError::Unreachable) => Evidence::fail(error.to_string()),
        Err(error) => Evidence::fail(format!("identity provider: {error}")),
    }
}

fn tls(config: &Config) -> Evidence {
    let opened = match Tls::open(&config.tls) {
        Ok(opened) => opened,
        Err(error) => return Evidence::fail(error.to_string()),
    };
    let Some(tls) = opened else {
        if config.api.trusted_proxies.is_empty() {
            return Evidence::fail("tls.cert is not set, and no proxy is trusted");
        }
        let proxy = "TLS terminates at a proxy of api.trusted_proxies";
        return Evidence(Status::Manual, proxy.to_owned());
    };
    let Some(expiry) = tls.certificate.ends_at() else {
        return Evidence::fail("tls.cert cannot be read");
    };
    let validity = expiry - clock::now_micros() / 1_000_000;
    let evidence = format!("the certificate expires at {}", clock::rfc3339(expiry * 1_000_000));
    Evidence::pass_if(validity >= CERTIFICATE_VALIDITY_MIN, evidence)
}

fn logging(config: &Config) -> Evidence {
    let logging = &config.logging;
    let is_suitable = match logging.level {
        Level::Info | Level::Warning => true,
        Level::Trace | Level::Debug | Level::Error => false,
    };
    let json = logging.format == Format::Json;
    let format = if json { "JSON" } else { "text" };
    Evidence::pass_if(is_suitable && json, format!("{format} at level {}", logging.level.as_str()))
}

fn render(value: &Value) -> String {
    let row = |result: &Value| {
        ["status", "section", "item", "evidence", "fix"]
            .map(|key| output::cell(result.get(key)))
            .to_vec()
    };
    let rows: Vec<_> = value["checks"].as_array().into_iter().flatten().map(row).collect();
    output::table(&["STATUS", "SECTION", "ITEM", "EVIDENCE", "FIX"], &rows)
}
