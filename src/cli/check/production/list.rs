//! The lines of the deployment guide's checklist, in its words and its order.

/// Who can say how a line is.
#[derive(Clone, Copy)]
pub(super) enum By {
    /// A person.
    Hand,
    /// This program.
    Look(Look),
}

/// What this program looks at.
#[derive(Clone, Copy)]
pub(super) enum Look {
    Resources,
    Network,
    Tls,
    Configuration,
    Secrets,
    Logging,
    Metrics,
    Health,
    Authentication,
    Rates,
    Input,
    Scaling,
}

/// A line of the checklist.
pub(super) struct Item {
    pub(super) section: &'static str,
    pub(super) text: &'static str,
    pub(super) by: By,
    /// What to do as long as it does not pass.
    pub(super) fix: &'static str,
}

const fn hand(section: &'static str, text: &'static str, fix: &'static str) -> Item {
    Item { section, text, by: By::Hand, fix }
}

const fn look(look: Look, section: &'static str, text: &'static str, fix: &'static str) -> Item {
    Item { section, text, by: By::Look(look), fix }
}

const INFRASTRUCTURE: &str = "Infrastructure";
const APPLICATION: &str = "Application";
const MONITORING: &str = "Monitoring";
const SECURITY: &str = "Security";
const OPERATIONS: &str = "Operations";
const PERFORMANCE: &str = "Performance";
const CI: &str = "CI/CD & Branch Protection";

/// All of it.
pub(super) const LIST: &[Item] = &[
    look(
        Look::Resources,
        INFRASTRUCTURE,
        "Resources provisioned (CPU, RAM, storage)",
        "give the server as many cores as api.workers, or set it to 0; see README, Speed, for memory",
    ),
    look(
        Look::Network,
        INFRASTRUCTURE,
        "Network connectivity verified",
        "let this host reach the database (DATABASE_URL, served once) and auth.oidc.issuer",
    ),
    hand(
        INFRASTRUCTURE,
        "Load balancer configured",
        "let it ask /health/ready, and name its network in api.trusted_proxies",
    ),
    look(
        Look::Tls,
        INFRASTRUCTURE,
        "SSL/TLS certificates installed",
        "set tls.cert and tls.key to a chain good for 14 more days, or end TLS at a proxy of \
         api.trusted_proxies",
    ),
    hand(INFRASTRUCTURE, "DNS configured", "let the name of the certificate lead to the server"),
    hand(APPLICATION, "All tests passing", "run .ci/test on the commit that is deployed"),
    look(
        Look::Configuration,
        APPLICATION,
        "Configuration validated",
        "remove what has no effect; mlsdm config shows every setting with its source",
    ),
    look(
        Look::Secrets,
        APPLICATION,
        "Secrets management configured",
        "give secrets by variables or files (API_KEY_FILE and the like), and MLSDM_CONTENT_KEY too",
    ),
    hand(
        APPLICATION,
        "Error handling comprehensive",
        "let callers repeat 429 and 503 after Retry-After, with an Idempotency-Key",
    ),
    look(
        Look::Logging,
        APPLICATION,
        "Logging configured",
        "set LOG_FORMAT=json and LOG_LEVEL=INFO or WARNING",
    ),
    look(
        Look::Metrics,
        MONITORING,
        "Metrics collection enabled",
        "set METRICS_ENABLED=true; mlsdm telemetry doctor says whether METRICS_PORT answers",
    ),
    hand(
        MONITORING,
        "Dashboards created",
        "load dashboards/ into Grafana, as deploy/monitoring/grafana does",
    ),
    hand(
        MONITORING,
        "Alerts configured",
        "run Prometheus and Alertmanager as in deploy/monitoring, put your receivers into \
         alertmanager.yml, and see with mlsdm telemetry doctor --prometheus URL that it scrapes",
    ),
    look(
        Look::Health,
        MONITORING,
        "Health checks working",
        "start the server, or name it with --server; /health/detailed says what is missing",
    ),
    hand(
        MONITORING,
        "Log aggregation setup",
        "ship standard output with deploy/monitoring/alloy, or set MLSDM_LOKI_URL and see with \
         mlsdm telemetry doctor that lines arrive; deploy/monitoring/loki has the alerts",
    ),
    look(
        Look::Authentication,
        SECURITY,
        "Authentication enabled",
        "set MLSDM_OIDC_ISSUER and MLSDM_OIDC_AUDIENCE, or API_KEY, for the server too",
    ),
    look(
        Look::Rates,
        SECURITY,
        "Rate limiting configured",
        "remove DISABLE_RATE_LIMIT; RATE_LIMIT_REQUESTS and RATE_LIMIT_WINDOW say how much",
    ),
    look(
        Look::Input,
        SECURITY,
        "Input validation implemented",
        "start the server, and give a credential that may generate; anything but 400 is a defect",
    ),
    hand(SECURITY, "Security scan passed", "run cargo deny check, and scan the image"),
    hand(SECURITY, "Secrets rotated", "exchange keys that tests have used or that are a year old"),
    hand(OPERATIONS, "Deployment procedure documented", "write down who deploys what, and how"),
    hand(
        OPERATIONS,
        "Rollback procedure tested",
        "start the version before on a copy of the database",
    ),
    hand(
        OPERATIONS,
        "Backup strategy defined",
        "back up the database and, elsewhere, the content key; prove a restored copy with mlsdm \
         audit verify",
    ),
    hand(
        OPERATIONS,
        "Incident response plan ready",
        "practise mlsdm engine shutdown and mlsdm engine resume",
    ),
    hand(OPERATIONS, "On-call schedule established", "name who answers alerts"),
    hand(
        PERFORMANCE,
        "Load testing completed",
        "send the expected load to a copy of the deployment",
    ),
    hand(
        PERFORMANCE,
        "Performance benchmarks met",
        "run mlsdm bench on this kind of machine, beside README, Speed",
    ),
    hand(
        PERFORMANCE,
        "Resource limits tuned",
        "compare [limits] with what the load test has shown",
    ),
    look(
        Look::Scaling,
        PERFORMANCE,
        "Scaling strategy defined",
        "use PostgreSQL (DATABASE_URL=postgres://…): SQLite belongs to one process",
    ),
    hand(
        PERFORMANCE,
        "Capacity planning done",
        "compare mlsdm.capacity and the growth of the database with what is there",
    ),
    hand(
        CI,
        "Branch protection enabled on `main`",
        "protect the branch where the repository is hosted",
    ),
    hand(
        CI,
        "Required status checks configured (lint, test, type-check)",
        "require .ci/test: it has format, lints, types and tests in one",
    ),
    hand(
        CI,
        "At least 1 approval required for PRs",
        "require a review where the repository is hosted",
    ),
    hand(
        CI,
        "SLO-based release gates enabled (PERF-001)",
        "release only what mlsdm bench measures within your objectives",
    ),
    hand(CI, "SBOM generation configured (SEC-005)", "make one from Cargo.lock for each release"),
    hand(CI, "Container image signing enabled (CICD-006)", "sign images where they are built"),
];
