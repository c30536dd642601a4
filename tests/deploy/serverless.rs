//! The manifest of Cloud Run: the server accepts its variables and listens on the port that the platform
//! sets.

use mlsdm::testkit::{TestDatabase, TestEnv, free_port, http_client};
use serde_json::Value;

use crate::documents::blocks::text;

fn manifest() -> Value {
    serde_saphyr::from_str(&text("deploy/serverless/cloud-run.yaml")).unwrap()
}

/// What Secret Manager would give.
fn secret(name: &str, database: &str) -> String {
    match name {
        "DATABASE_URL" => database.to_owned(),
        "MLSDM_CONTENT_KEY" => "42".repeat(32),
        _ => format!("secret-of-{name}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_runs_as_cloud_run_starts_it() {
    let database = TestDatabase::postgres().await;
    let template = &manifest()["spec"]["template"]["spec"];
    let container = &template["containers"][0];
    // the tables exist: behind a pooler, the server does not make them
    TestEnv::new(database.url()).serve().await.stop().await;

    let port = free_port();
    let mut env = TestEnv::new(database.url()).without("MLSDM_INSECURE").with("PORT", port);
    env = env.with("API_HOST", "127.0.0.1");
    for variable in container["env"].as_array().unwrap() {
        let name = variable["name"].as_str().unwrap();
        let value = variable["value"].as_str().map(str::to_owned);
        env = env.with(name, value.unwrap_or_else(|| secret(name, database.url())));
    }
    let env = env.with("MLSDM__AUTH__MODE", "keys");
    let settings = env.run(&["config", "--json"]).await.exits(0).json();
    let value = |key: &str| {
        let mut rows = settings["settings"].as_array().unwrap().iter();
        rows.find(|row| row["key"] == key).unwrap()["value"].clone()
    };
    assert_eq!(value("api.port"), port);
    let total = value("llm.total_timeout").as_u64().unwrap();
    assert!(template["timeoutSeconds"].as_u64().unwrap() > total, "{total}");

    let server = env.start();
    server.until_log_has("server started", 1).await;
    assert!(!server.log().contains("config.warning"), "{}", server.log());
    for probe in ["startupProbe", "livenessProbe"] {
        let path = container[probe]["httpGet"]["path"].as_str().unwrap();
        let url = format!("http://127.0.0.1:{port}{path}");
        assert_eq!(http_client().get(url).send().await.unwrap().status(), 200, "{path}");
    }
    server.stop().await;
}
