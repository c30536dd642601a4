//! `mlsdm check --production`: the deployment guide's checklist, line by line.
//!
//! A line that this program can look at passes or fails, with what was seen; the others are `manual`,
//! with what there is to do. The running server is asked too, where only it can show something.

mod list;

use serde::Serialize;
use serde_json::{Value, json};

use super::{Opened, opened};
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
use list::{By, Item, LIST, Look};

/// A certificate that ends so soon, in seconds, is to be renewed: 14 days.
const CERTIFICATE_LEFT_MIN: i64 = 14 * 24 * 3600;

/// How a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Pass,
    Fail,
    /// For a person to say.
    Manual,
}

/// A line, answered.
#[derive(Debug, Serialize)]
struct Line {
    section: &'static str,
    item: &'static str,
    status: Status,
    evidence: String,
    /// What to do; for a line that passes, nothing.
    fix: Option<&'static str>,
}

/// What a look has shown.
struct Seen(Status, String);

impl Seen {
    fn pass_if(good: bool, evidence: impl Into<String>) -> Self {
        Self(if good { Status::Pass } else { Status::Fail }, evidence.into())
    }

    fn fail(evidence: impl Into<String>) -> Self {
        Self(Status::Fail, evidence.into())
    }
}

/// Exit code 1 as long as a line fails; manual lines do not count.
pub(super) async fn run(context: &Context) -> anyhow::Result<()> {
    let rig = Rig { context, loaded: context.loaded()? };
    let mut lines = Vec::new();
    for Item { section, text: item, by, fix } in LIST {
        let Seen(status, evidence) = match by {
            By::Hand => Seen(Status::Manual, "cannot be seen from here".to_owned()),
            By::Look(look) => rig.look(*look).await,
        };
        let fix = (status != Status::Pass).then_some(*fix);
        lines.push(Line { section, item, status, evidence, fix });
    }
    let count = |status| lines.iter().filter(|line| line.status == status).count();
    let (failed, manual) = (count(Status::Fail), count(Status::Manual));
    let value = json!({"checks": lines, "failed": failed, "manual": manual});
    context.print(&value, people)?;
    let found = || Finding(format!("{failed} lines fail, {manual} are for you to say"));
    if failed == 0 { Ok(()) } else { Err(found().into()) }
}

/// What is looked at.
struct Rig<'a> {
    context: &'a Context,
    loaded: &'a Loaded,
}

impl Rig<'_> {
    async fn look(&self, look: Look) -> Seen {
        let config = &self.loaded.config;
        match look {
            Look::Resources => resources(config),
            Look::Network => network(config).await,
            Look::Tls => tls(config),
            Look::Configuration => self.configuration(),
            Look::Secrets => self.secrets(),
            Look::Logging => logging(config),
            Look::Metrics => self.metrics().await,
            Look::Health => self.health().await,
            Look::Authentication => self.authentication().await,
            Look::Rates => {
                let limited = config.limits.rate.rates().is_some();
                let state = if limited { "limited by caller" } else { "not limited" };
                Seen::pass_if(limited, format!("rates are {state}"))
            }
            Look::Input => self.input().await,
            Look::Scaling => {
                let shared = config.database.is_shared();
                let kind = if shared { "PostgreSQL: replicas share a log" } else { "SQLite" };
                Seen::pass_if(shared, kind)
            }
        }
    }

    fn configuration(&self) -> Seen {
        let warnings = &self.loaded.warnings;
        let valid = format!("{} settings are valid", self.loaded.settings.len());
        let evidence = if warnings.is_empty() { valid } else { warnings.join("; ") };
        Seen::pass_if(warnings.is_empty(), evidence)
    }

    fn secrets(&self) -> Seen {
        let exposed = self.loaded.settings.iter().filter(|setting| setting.is_exposed());
        let mut found: Vec<String> =
            exposed.map(|setting| format!("{} is in {}", setting.key, setting.source)).collect();
        if self.loaded.config.database.content_key().is_none() {
            found.push("database.content_key is not given: it lies beside the database".to_owned());
        }
        let good = "none is on a command line or in a configuration file".to_owned();
        Seen::pass_if(found.is_empty(), if found.is_empty() { good } else { found.join("; ") })
    }

    /// A client of the server that shows nobody's credential.
    fn nobody(&self) -> anyhow::Result<Client> {
        self.context.speak(self.context.base()?, None)
    }

    async fn metrics(&self) -> Seen {
        let monitoring = &self.loaded.config.monitoring;
        if !monitoring.enabled {
            return Seen::fail("monitoring.enabled is false");
        }
        let port = monitoring.metrics_port;
        let status = async { self.context.metrics_client()?.status("/metrics").await };
        match status.await {
            Ok(status) => Seen::pass_if(status == 200, format!("port {port} answers {status}")),
            Err(error) => Seen::fail(format!("port {port}: {error}")),
        }
    }

    async fn health(&self) -> Seen {
        let status = async { self.nobody()?.status("/health/ready").await };
        match status.await {
            Ok(status) => Seen::pass_if(status == 200, format!("/health/ready answers {status}")),
            Err(error) => Seen::fail(error.to_string()),
        }
    }

    /// The configuration, and whether the server lets in who shows nothing.
    async fn authentication(&self) -> Seen {
        let config = &self.loaded.config;
        let mode = config.auth.mode(config.api.host);
        if !matches!(mode, AuthMode::Oidc | AuthMode::Keys | AuthMode::OidcAndKeys) {
            return Seen::fail(format!("auth.mode is {}", mode.as_str()));
        }
        let status = async { self.nobody()?.status("/v1/me").await };
        match status.await {
            Ok(status) => Seen::pass_if(
                status == 401,
                format!("auth.mode is {}; nobody in particular gets {status}", mode.as_str()),
            ),
            Err(error) => Seen::fail(error.to_string()),
        }
    }

    /// Whether the server refuses a prompt that is none.
    async fn input(&self) -> Seen {
        let blank = json!({"prompt": " "});
        let post = reqwest::Method::POST;
        let answer = async {
            self.context.client().await?.send(post, "/v1/generate", &[], Some(&blank)).await
        };
        match answer.await {
            Ok((status, _)) if matches!(status.as_u16(), 401 | 403) => {
                let why =
                    "tried only with a credential that may generate (mlsdm login, MLSDM_TOKEN)";
                Seen(Status::Manual, why.to_owned())
            }
            Ok((status, _)) => {
                Seen::pass_if(status == 400, format!("a blank prompt is answered with {status}"))
            }
            Err(error) => Seen::fail(error.to_string()),
        }
    }
}

fn resources(config: &Config) -> Seen {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let workers = config.api.workers();
    Seen::pass_if(workers <= cores, format!("{workers} workers on {cores} cores"))
}

async fn network(config: &Config) -> Seen {
    match opened(config).await {
        Ok(Opened::Ready(store, _)) => store.close().await,
        Ok(Opened::Missing(what)) => return Seen::fail(format!("database: {what}")),
        Err(error) => return Seen::fail(format!("database: {error}")),
    }
    let mode = config.auth.mode(config.api.host);
    if !matches!(mode, AuthMode::Oidc | AuthMode::OidcAndKeys) {
        return Seen(Status::Pass, "the database answers".to_owned());
    }
    match login::reach(&config.auth.oidc).await {
        Ok(()) => Seen(Status::Pass, "the database and the identity provider answer".to_owned()),
        Err(error @ LoginError::Unreachable) => Seen::fail(error.to_string()),
        Err(error) => Seen::fail(format!("identity provider: {error}")),
    }
}

fn tls(config: &Config) -> Seen {
    let opened = match Tls::open(&config.tls) {
        Ok(opened) => opened,
        Err(error) => return Seen::fail(error.to_string()),
    };
    let Some(tls) = opened else {
        if config.api.trusted_proxies.is_empty() {
            return Seen::fail("tls.cert is not set, and no proxy is trusted");
        }
        let ends = "TLS ends at a proxy of api.trusted_proxies";
        return Seen(Status::Manual, ends.to_owned());
    };
    let Some(end) = tls.certificate.ends_at() else {
        return Seen::fail("tls.cert cannot be read");
    };
    let left = end - clock::now_micros() / 1_000_000;
    let evidence = format!("the certificate ends at {}", clock::rfc3339(end * 1_000_000));
    Seen::pass_if(left >= CERTIFICATE_LEFT_MIN, evidence)
}

fn logging(config: &Config) -> Seen {
    let logging = &config.logging;
    let quiet = match logging.level {
        Level::Info | Level::Warning => true,
        Level::Trace | Level::Debug | Level::Error => false,
    };
    let json = logging.format == Format::Json;
    let format = if json { "JSON" } else { "text" };
    Seen::pass_if(quiet && json, format!("{format} at level {:?}", logging.level))
}

fn people(value: &Value) -> String {
    let row = |line: &Value| {
        ["status", "section", "item", "evidence", "fix"]
            .map(|key| output::cell(line.get(key)))
            .to_vec()
    };
    let rows: Vec<_> = value["checks"].as_array().into_iter().flatten().map(row).collect();
    output::table(&["STATUS", "SECTION", "ITEM", "EVIDENCE", "FIX"], &rows)
}
