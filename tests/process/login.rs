//! `mlsdm login` with a third-party identity provider, with a browser and by device code.

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

/// An identity provider, a server that trusts it, and a home directory.
struct TestLogin {
    provider: Provider,
    server: TestServer,
    env: TestEnv,
    home: TempDir,
    _database: TestDatabase,
}

impl TestLogin {
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

    /// Runs `mlsdm login` and opens the page that it prints in a browser.
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

    /// Sets the expiry of the stored token to the past.
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
async fn a_login_by_browser_lasts_until_the_logout() {
    let login = TestLogin::new().await;
    let refused = login.server.run(&["state"]).await.exits(1);
    assert!(refused.stderr.contains("mlsdm login"), "{refused:?}");

    let me = login.login(&[]).await.exits(0).json();
    assert_eq!((&me["subject"], &me["method"]), (&json!("ann"), &json!("oidc")));
    assert_eq!(mode(&login.file()), 0o600);
    assert_eq!(mode(login.file().parent().unwrap()), 0o700);
    for command in [&["state"][..], &["events"], &["engine", "list"], &["policy", "show"]] {
        login.server.run(command).await.exits(0);
    }

    // a login is valid for the URL of its server only
    let other = login.server.base().replace("127.0.0.1", "localhost");
    login.env.run(&["state", "--server", &other]).await.exits(1);

    let output = login.server.run(&["logout", "--json"]).await.exits(0).json();
    assert_eq!(output["logged_out"], true);
    assert_eq!(login.logins(), json!({}));
    login.server.run(&["state"]).await.exits(1);
    let output = login.server.run(&["logout", "--json"]).await.exits(0).json();
    assert_eq!(output["logged_out"], false);
    login.server.stop().await;
}

#[tokio::test]
async fn a_device_code_logs_in() {
    let login = TestLogin::new().await;
    let me = login.login(&["--device"]).await.exits(0).json();
    assert_eq!(me["subject"], "ann");
    login.server.run(&["state"]).await.exits(0);
    login.server.stop().await;
}

#[tokio::test]
async fn an_expired_token_is_refreshed_while_the_provider_allows_it() {
    let mut login = TestLogin::new().await;
    login.login(&[]).await.exits(0);
    let first = login.login_of_server();
    login.expire();
    // two at the same time: the provider accepts a refresh token only once
    let runs = tokio::join!(login.server.run(&["state"]), login.server.run(&["state"]));
    runs.0.exits(0);
    runs.1.exits(0);
    let second = login.login_of_server();
    assert_ne!(first["token"], second["token"]);
    assert!(second["expires_at"].as_i64() > first["expires_at"].as_i64().map(|end| end - 60));

    login.expire();
    login.provider.kill().await;
    let ended = login.server.run(&["state"]).await.exits(1);
    assert!(ended.stderr.contains("has expired: no response"), "{ended:?}");
    // a command without authentication works
    login.server.run(&["health"]).await.exits(0);

    // after its restart the provider does not know the login
    login.provider.restart().await;
    let ended = login.server.run(&["state"]).await.exits(1);
    assert!(ended.stderr.contains("invalid_grant"), "{ended:?}");
    for secret in [&first, &second].map(|login| login["refresh_token"].as_str().unwrap()) {
        assert!(!ended.stderr.contains(secret), "{ended:?}");
    }
    login.server.stop().await;
}

#[tokio::test]
async fn a_login_that_cannot_work_names_the_remedy() {
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
    assert!(!home.path().join(".config").exists(), "nothing is stored");
}
