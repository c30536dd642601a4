//! Logging in from the command line, at a provider of other people's, with a browser and without.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use mlsdm::testkit::{
    CommandOutput, DEADLINE, TestDatabase, TestEnv, TestServer,
    oidc::{CLI_CLIENT, Provider, RESOURCE},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::browser::Browser;

/// A provider, a server that trusts it, and somebody's home.
struct Rig {
    provider: Provider,
    server: TestServer,
    env: TestEnv,
    home: TempDir,
    _database: TestDatabase,
}

impl Rig {
    async fn new() -> Self {
        let (provider, database) = (Provider::node().await, TestDatabase::sqlite());
        let home = tempfile::tempdir().unwrap();
        let env = TestEnv::new(database.url())
            .with("MLSDM__AUTH__MODE", "oidc")
            .with("MLSDM_OIDC_ISSUER", provider.issuer())
            .with("MLSDM_OIDC_AUDIENCE", RESOURCE)
            .with("MLSDM_OIDC_CLIENT_ID", CLI_CLIENT)
            .with("HOME", home.path().display());
        let server = env.serve().await;
        Self { provider, server, env, home, _database: database }
    }

    /// Runs `mlsdm login`, and a browser on the page that it names.
    async fn login(&self, arguments: &[&str]) -> CommandOutput {
        let arguments = [&["login", "--json", "--server", self.server.base()], arguments].concat();
        let mut command = self.env.spawn(self.home.path(), &arguments);
        let mut lines = BufReader::new(command.stderr.take().unwrap()).lines();
        let page = loop {
            let line = lines.next_line().await.unwrap().expect("the address of a page");
            if line.trim().starts_with("http") {
                break line.trim().to_owned();
            }
        };
        let last = Browser::new().visit(&page).await;
        assert!(last.contains("You are logged in") || last.contains("Success"), "{last}");
        let output =
            tokio::time::timeout(DEADLINE, command.wait_with_output()).await.unwrap().unwrap();
        let mut stderr = String::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            stderr.push_str(&line);
        }
        let stdout = String::from_utf8(output.stdout).unwrap();
        CommandOutput { code: output.status.code().unwrap(), stdout, stderr }
    }

    fn file(&self) -> PathBuf {
        self.home.path().join(".config/mlsdm/logins.json")
    }

    fn logins(&self) -> Value {
        serde_json::from_slice(&fs::read(self.file()).unwrap()).unwrap()
    }

    /// Lets the token of the login have ended.
    fn expire(&self) {
        let mut logins = self.logins();
        logins[self.server.base()]["expires_at"] = 0.into();
        fs::write(self.file(), logins.to_string()).unwrap();
    }

    fn login_of_server(&self) -> Value {
        self.logins()[self.server.base()].clone()
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn with_a_browser_and_until_logged_out() {
    let rig = Rig::new().await;
    let refused = rig.server.run(&["state"]).await.exits(1);
    assert!(refused.stderr.contains("mlsdm login"), "{refused:?}");

    let me = rig.login(&[]).await.exits(0).json();
    assert_eq!((&me["subject"], &me["method"]), (&json!("ann"), &json!("oidc")));
    assert_eq!(mode(&rig.file()), 0o600);
    assert_eq!(mode(rig.file().parent().unwrap()), 0o700);
    for command in [&["state"][..], &["events"], &["engine", "list"], &["policy", "show"]] {
        rig.server.run(command).await.exits(0);
    }

    // a login counts for its server alone: another has it not, by whatever name
    let other = rig.server.base().replace("127.0.0.1", "localhost");
    rig.env.run(&["state", "--server", &other]).await.exits(1);

    let told = rig.server.run(&["logout", "--json"]).await.exits(0).json();
    assert_eq!(told["logged_out"], true);
    assert_eq!(rig.logins(), json!({}));
    rig.server.run(&["state"]).await.exits(1);
    let told = rig.server.run(&["logout", "--json"]).await.exits(0).json();
    assert_eq!(told["logged_out"], false);
    rig.server.stop().await;
}

#[tokio::test]
async fn with_a_device_code() {
    let rig = Rig::new().await;
    let me = rig.login(&["--device"]).await.exits(0).json();
    assert_eq!(me["subject"], "ann");
    rig.server.run(&["state"]).await.exits(0);
    rig.server.stop().await;
}

#[tokio::test]
async fn a_token_that_has_ended_is_renewed_as_long_as_the_provider_does() {
    let mut rig = Rig::new().await;
    rig.login(&[]).await.exits(0);
    let first = rig.login_of_server();
    rig.expire();
    // two at once: the provider takes a refresh token once
    let runs = tokio::join!(rig.server.run(&["state"]), rig.server.run(&["state"]));
    runs.0.exits(0);
    runs.1.exits(0);
    let second = rig.login_of_server();
    assert_ne!(first["token"], second["token"]);
    assert!(second["expires_at"].as_i64() > first["expires_at"].as_i64().map(|end| end - 60));

    rig.expire();
    rig.provider.kill().await;
    let ended = rig.server.run(&["state"]).await.exits(1);
    assert!(ended.stderr.contains("has ended: no answer"), "{ended:?}");
    // what nobody has to be known for goes on
    rig.server.run(&["health"]).await.exits(0);

    // it comes back and knows nothing of this login any more
    rig.provider.restart().await;
    let ended = rig.server.run(&["state"]).await.exits(1);
    assert!(ended.stderr.contains("invalid_grant"), "{ended:?}");
    for secret in [&first, &second].map(|login| login["refresh_token"].as_str().unwrap()) {
        assert!(!ended.stderr.contains(secret), "{ended:?}");
    }
    rig.server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_says_what_to_do() {
    let database = TestDatabase::sqlite();
    let home = tempfile::tempdir().unwrap();
    let env = TestEnv::new(database.url()).with("HOME", home.path().display());
    let run = env.run(&["login"]).await.exits(2);
    assert!(run.stderr.contains("MLSDM_OIDC_CLIENT_ID"), "{run:?}");
    let away = env
        .with("MLSDM__AUTH__MODE", "oidc")
        .with("MLSDM_OIDC_ISSUER", "http://127.0.0.1:1")
        .with("MLSDM_OIDC_AUDIENCE", RESOURCE)
        .with("MLSDM_OIDC_CLIENT_ID", CLI_CLIENT);
    away.run(&["login"]).await.exits(3);
    assert!(!home.path().join(".config").exists(), "nothing is kept");
}
