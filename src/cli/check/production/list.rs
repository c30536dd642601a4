//! The checklist of the deployment guide, in its wording and order.

/// The check of an item.
#[derive(Clone, Copy)]
pub(super) enum Method {
    /// By an operator.
    Manual,
    /// By this program.
    Automatic(Check),
}

/// A check of this program.
#[derive(Clone, Copy)]
pub(super) enum Check {
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

/// An item of the checklist.
pub(super) struct Item {
    pub(super) section: &'static str,
    pub(super) text: &'static str,
    pub(super) method: Method,
    /// The remediation.
    pub(super) fix: &'static str,
}

const fn manual(section: &'static str, text: &'static str, fix: &'static str) -> Item {
    Item { section, text, method: Method::Manual, fix }
}

const fn automatic(
    check: Check,
    section: &'static str,
    text: &'static str,
    fix: &'static str,
) -> Item {
    Item { section, text, method: Method::Automatic(check), fix }
}

const INFRASTRUCTURE: &str = "Infrastructure";
const APPLICATION: &str = "Application";
const MONITORING: &str = "Monitoring";
const SECURITY: &str = "Security";
const OPERATIONS: &str = "Operations";
const PERFORMANCE: &str = "Performance";
const CI: &str = "CI/CD & Branch Protection";

pub(super) const LIST: &[Item] = &[
    automatic(
        Check::Resources,
        INFRASTRUCTURE,
        "Resources provisioned (CPU, RAM, storage)",
        "give the server as many cores as api.workers, or set api.workers to 0; deploy/BENCHMARKS.md has memory figures",
    ),
    automatic(
        Check::Network,
        INFRASTRUCTURE,
        "Network connectivity verified",
        "allow this host to reach the database (DATABASE_URL), start the server once, and allow it to reach auth.oidc.issuer",
    ),
    manual(
        INFRASTRUCTURE,
        "Load balancer configured",
        "configure /health/ready as its health check, and its network in api.trusted_proxies",
    ),
    automatic(
        Check::Tls,
        INFRASTRUCTURE,
        "SSL/TLS certificates installed",
        "set tls.cert and tls.key to a chain that is valid for 14 more days, or terminate TLS at a proxy \
         of api.trusted_proxies",
    ),
    manual(INFRASTRUCTURE, "DNS configured", "point the name in the certificate to the server"),
    manual(APPLICATION, "All tests passing", "run .ci/test on the deployed commit"),
    automatic(
        Check::Configuration,
        APPLICATION,
        "Configuration validated",
        "remove settings without effect; mlsdm config lists all settings with their sources",
    ),
    automatic(
        Check::Secrets,
        APPLICATION,
        "Secrets management configured",
        "set secrets in variables or files (such as API_KEY_FILE), including MLSDM_CONTENT_KEY",
    ),
    manual(
        APPLICATION,
        "Error handling comprehensive",
        "make callers retry 429 and 503 after Retry-After, with an Idempotency-Key",
    ),
    automatic(
        Check::Logging,
        APPLICATION,
        "Logging configured",
        "set LOG_FORMAT=json and LOG_LEVEL=INFO or WARNING",
    ),
    automatic(
        Check::Metrics,
        MONITORING,
        "Metrics collection enabled",
        "set METRICS_ENABLED=true; mlsdm telemetry doctor checks METRICS_PORT",
    ),
    manual(
        MONITORING,
        "Dashboards created",
        "load dashboards/ into Grafana, as deploy/monitoring/grafana does",
    ),
    manual(
        MONITORING,
        "Alerts configured",
        "run Prometheus and Alertmanager as in deploy/monitoring, add your receivers to \
         alertmanager.yml, and check scraping with mlsdm telemetry doctor --prometheus URL",
    ),
    automatic(
        Check::Health,
        MONITORING,
        "Health checks working",
        "start the server, or name it with --server; /health/detailed lists the failing components",
    ),
    manual(
        MONITORING,
        "Log aggregation setup",
        "ship standard output with deploy/monitoring/alloy, or set MLSDM_LOKI_URL and check \
         delivery with mlsdm telemetry doctor; deploy/monitoring/loki has the alerts",
    ),
    automatic(
        Check::Authentication,
        SECURITY,
        "Authentication enabled",
        "set MLSDM_OIDC_ISSUER and MLSDM_OIDC_AUDIENCE, or API_KEY, in the environment of the server too",
    ),
    automatic(
        Check::Rates,
        SECURITY,
        "Rate limiting configured",
        "remove DISABLE_RATE_LIMIT; set RATE_LIMIT_REQUESTS and RATE_LIMIT_WINDOW",
    ),
    automatic(
        Check::Input,
        SECURITY,
        "Input validation implemented",
        "start the server, and use a credential with the permission generate; a status other than \
         400 is a defect",
    ),
    manual(SECURITY, "Security scan passed", "run cargo deny check, and scan the image"),
    manual(SECURITY, "Secrets rotated", "replace keys that were used in tests or are a year old"),
    manual(
        OPERATIONS,
        "Deployment procedure documented",
        "document the steps and the responsibilities of a deployment",
    ),
    manual(
        OPERATIONS,
        "Rollback procedure tested",
        "start the previous version on a copy of the database",
    ),
    manual(
        OPERATIONS,
        "Backup strategy defined",
        "back up the database and, in another place, the content key; verify a restored copy with mlsdm \
         audit verify",
    ),
    manual(
        OPERATIONS,
        "Incident response plan ready",
        "practise mlsdm engine shutdown and mlsdm engine resume",
    ),
    manual(OPERATIONS, "On-call schedule established", "assign the on-call engineer for alerts"),
    manual(
        PERFORMANCE,
        "Load testing completed",
        "send the expected load to a copy of the deployment",
    ),
    manual(
        PERFORMANCE,
        "Performance benchmarks met",
        "run mlsdm-dev bench on this kind of machine, and compare with deploy/BENCHMARKS.md",
    ),
    manual(
        PERFORMANCE,
        "Resource limits tuned",
        "compare [limits] with the results of the load test",
    ),
    automatic(
        Check::Scaling,
        PERFORMANCE,
        "Scaling strategy defined",
        "use PostgreSQL (DATABASE_URL=postgres://…), since SQLite supports one process",
    ),
    manual(
        PERFORMANCE,
        "Capacity planning done",
        "compare mlsdm.capacity and the growth of the database with the available resources",
    ),
    manual(
        CI,
        "Branch protection enabled on `main`",
        "protect the branch where the repository is hosted",
    ),
    manual(
        CI,
        "Required status checks configured (lint, test, type-check)",
        "run deploy/branch-protection.sh: its checks are the jobs of .github/workflows/ci.yml",
    ),
    manual(
        CI,
        "At least 1 approval required for PRs",
        "run deploy/branch-protection.sh, which requires a review",
    ),
    manual(
        CI,
        "SLO-based release gates enabled (PERF-001)",
        "release by .github/workflows/release.yml, whose first job checks the objectives of alerts/slo.yaml",
    ),
    manual(
        CI,
        "SBOM generation configured (SEC-005)",
        "keep sbom-cyclonedx.json and sbom-spdx.json, which each release has",
    ),
    manual(
        CI,
        "Container image signing enabled (CICD-006)",
        "deploy by digest, and verify the signature as deploy/GUIDE.md shows",
    ),
];
