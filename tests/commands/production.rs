//! The checklist for production: every automatic item can pass and can fail.

use std::{collections::BTreeMap, fs};

use mlsdm::testkit::{CommandOutput, TestDatabase, run_mlsdm};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{method, path},
};

use crate::log::eventful;

/// Number of items in the guide.
const ITEMS: usize = 36;

/// A mock server with these responses.
async fn server(answers: &[(&str, &str, u16)]) -> MockServer {
    let server = MockServer::start().await;
    for (verb, place, status) in answers {
        let answer = ResponseTemplate::new(*status).set_body_json(json!({}));
        Mock::given(method(*verb)).and(path(*place)).respond_with(answer).mount(&server).await;
    }
    server
}

/// A deployment that passes every automatic item.
struct Deployment {
    database: TestDatabase,
    files: TempDir,
    server: MockServer,
    env: BTreeMap<String, String>,
}

impl Deployment {
    async fn new() -> Self {
        let database = TestDatabase::postgres().await;
        eventful(&database).await;
        let files = tempfile::tempdir().unwrap();
        let server = server(&[
            ("GET", "/health/ready", 200),
            ("GET", "/metrics", 200),
            ("GET", "/v1/me", 401),
            ("POST", "/v1/generate", 400),
        ])
        .await;
        let env = [
            ("MLSDM__AUTH__MODE", "keys".to_owned()),
            ("API_KEY", "a-key-of-a-test-4711".to_owned()),
            ("METRICS_ENABLED", "true".to_owned()),
            ("METRICS_PORT", server.address().port().to_string()),
            ("MLSDM__TLS__CERT", files.path().join("cert.pem").display().to_string()),
            ("MLSDM__TLS__KEY", files.path().join("key.pem").display().to_string()),
        ];
        let env = env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let good = Self { database, files, server, env };
        good.certificate(2100);
        good
    }

    /// Writes a certificate that expires in this year.
    fn certificate(&self, year: i32) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(self.files.path().join("cert.pem"), certificate.pem()).unwrap();
        fs::write(self.files.path().join("key.pem"), key.serialize_pem()).unwrap();
    }

    fn check(&self, server: &MockServer, changes: &[(&str, &str)], more: &[&str]) -> CommandOutput {
        let set = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let mut env = self.env.clone();
        env.extend(changes.iter().copied().map(set));
        let env: Vec<_> = env.iter().map(|(name, value)| (&**name, &**value)).collect();
        let uri = server.uri();
        let arguments = [&["check", "--production", "--json", "--server", &uri], more].concat();
        run_mlsdm(self.database.url(), &arguments, &env)
    }
}

/// The items with this status.
fn items(run: &CommandOutput, status: &str) -> Vec<String> {
    let report = run.json();
    let lines = report["checks"].as_array().unwrap();
    assert_eq!(lines.len(), ITEMS);
    for line in lines {
        let passes = line["status"] == "pass";
        assert!(!line["evidence"].as_str().unwrap().is_empty(), "{line}");
        assert_eq!(line["fix"].is_null(), passes, "{line}");
    }
    let found = lines.iter().filter(|line| line["status"] == status);
    found.map(|line| line["item"].as_str().unwrap().to_owned()).collect()
}

/// An item, the server, variables, and additional arguments.
type Case<'a> = (&'a str, &'a MockServer, &'a [(&'a str, &'a str)], &'a [&'a str]);

#[tokio::test(flavor = "multi_thread")]
async fn every_automatic_item_can_fail() {
    let good = Deployment::new().await;
    let run = good.check(&good.server, &[], &[]);
    assert!(items(&run, "fail").is_empty(), "{run:#?}");
    assert_eq!(items(&run, "manual").len(), ITEMS - 12);

    let nobody = server(&[]).await;
    let open = server(&[("GET", "/v1/me", 200), ("POST", "/v1/generate", 200)]).await;
    let own = &good.server;
    let config = good.files.path().join("config.toml");
    fs::write(&config, "[auth.keys]\nadmin = \"another-key-of-a-test\"\n").unwrap();
    let config = ["--config", config.to_str().unwrap()];
    let away = "postgres://nobody@127.0.0.1:9/nothing";
    let issuer = [
        ("MLSDM__AUTH__MODE", "oidc+keys"),
        ("MLSDM_OIDC_ISSUER", "http://127.0.0.1:9"),
        ("MLSDM_OIDC_AUDIENCE", "mlsdm"),
    ];
    let cases: &[Case<'_>] = &[
        ("Resources provisioned (CPU, RAM, storage)", own, &[("API_WORKERS", "256")], &[]),
        ("Network connectivity verified", own, &[("DATABASE_URL", away)], &[]),
        ("Network connectivity verified", own, &issuer, &[]),
        ("SSL/TLS certificates installed", own, &[("MLSDM__TLS__CERT", "/nonexistent")], &[]),
        ("Configuration validated", own, &[("MLSDM_TYPO", "1")], &[]),
        ("Secrets management configured", own, &[], &config),
        ("Secrets management configured", own, &[], &["--set", "auth.keys.admin=some-key-4711"]),
        ("Secrets management configured", own, &[("MLSDM_CONTENT_KEY", "")], &[]),
        ("Logging configured", own, &[("LOG_LEVEL", "DEBUG")], &[]),
        ("Logging configured", own, &[("LOG_FORMAT", "text")], &[]),
        ("Metrics collection enabled", own, &[("METRICS_ENABLED", "false")], &[]),
        ("Metrics collection enabled", own, &[("METRICS_PORT", "9")], &[]),
        ("Health checks working", &nobody, &[], &[]),
        ("Authentication enabled", own, &[("API_KEY", ""), ("MLSDM__AUTH__MODE", "none")], &[]),
        ("Authentication enabled", &open, &[], &[]),
        ("Rate limiting configured", own, &[("DISABLE_RATE_LIMIT", "true")], &[]),
        ("Input validation implemented", &open, &[], &[]),
        ("Scaling strategy defined", own, &[("DATABASE_URL", "sqlite:///nonexistent/x")], &[]),
    ];
    for (item, server, changes, more) in cases {
        let run = good.check(server, changes, more).exits(1);
        assert!(items(&run, "fail").iter().any(|found| found == item), "{item}: {run:#?}");
        assert!(!run.stdout.contains("another-key") && !run.stdout.contains("4711"), "{run:?}");
    }
    good.certificate(2020);
    let run = good.check(own, &[], &[]).exits(1);
    assert!(items(&run, "fail").contains(&"SSL/TLS certificates installed".to_owned()), "{run:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_is_a_table_and_names_an_unreachable_server() {
    let good = Deployment::new().await;
    let env: Vec<_> = good.env.iter().map(|(name, value)| (&**name, &**value)).collect();
    let nowhere = ["check", "--production", "--server", "http://127.0.0.1:9"];
    let run = run_mlsdm(good.database.url(), &nowhere, &env).exits(1);
    assert!(run.stdout.starts_with("STATUS"), "{run:?}");
    assert_eq!(run.stdout.lines().count(), ITEMS + 1);
    assert!(run.stdout.contains("no response from http://127.0.0.1:9"), "{run:?}");
    let counts: Value = good.check(&good.server, &[], &[]).json();
    assert_eq!(counts["manual"], ITEMS - 12);
}
