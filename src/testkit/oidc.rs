//! Identity providers of other people's, as processes: the package `oidc-provider` for Node, and
//! `oidc-provider-mock` for Python. `.ci/test` installs both; `tests/oidc` says which.
#![expect(clippy::expect_used, clippy::panic, reason = "test support: a panic is the report")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use reqwest::{Client, Response};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use super::postgres::free_port;

/// Whom the tokens of [`Provider::node`] are for.
pub const RESOURCE: &str = "https://mlsdm.example";
/// Its clients, each of which gets tokens signed with another algorithm.
pub const CLIENTS: [&str; 4] = ["rs256", "es256", "ps256", "eddsa"];
/// Its client for people, without a secret.
pub const CLI_CLIENT: &str = "mlsdm-cli";

/// Longest wait until one listens.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Clone, Copy)]
enum Kind {
    Node,
    Python,
}

/// A running provider; killed when dropped.
pub struct Provider {
    kind: Kind,
    child: Child,
    port: u16,
    folder: TempDir,
    http: Client,
}

impl Provider {
    /// `oidc-provider`: keys of four algorithms, machines and people, PKCE, device codes.
    pub async fn node() -> Self {
        Self::start(Kind::Node).await
    }

    /// `oidc-provider-mock`, made of `authlib`: whoever asks is who they say they are.
    pub async fn python() -> Self {
        Self::start(Kind::Python).await
    }

    async fn start(kind: Kind) -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let http = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let http = http.build().expect("an HTTP client");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let child = spawn(kind, port, folder.path());
        let mut provider = Self { kind, child, port, folder, http };
        provider.until_it_listens().await;
        provider
    }

    /// Its issuer URL.
    pub fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Kills it.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// Starts it again, with the keys it had.
    pub async fn restart(&mut self) {
        self.child = spawn(self.kind, self.port, self.folder.path());
        self.until_it_listens().await;
    }

    /// A token for one of [`CLIENTS`].
    pub async fn token(&self, client: &str) -> String {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", client),
            ("client_secret", "of-a-test"),
            ("resource", RESOURCE),
        ];
        let answer = json(self.post("/token", &form).await).await;
        answer["access_token"].as_str().expect("a token").to_owned()
    }

    /// The ID token of somebody, for a client: what the Python one has that is a JWT.
    pub async fn id_token(&self, client: &str, subject: &str) -> String {
        let redirect = "http://127.0.0.1/callback";
        let ask = format!(
            "/oauth2/authorize?response_type=code&scope=openid&client_id={client}\
             &redirect_uri={redirect}"
        );
        let answer = self.post(&ask, &[("sub", subject)]).await;
        let location = answer.headers().get("location").expect("a redirect");
        let location = location.to_str().expect("a URL");
        let code = location.split_once("code=").expect("a code").1;
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", client),
            ("client_secret", "any"),
            ("code", code.split('&').next().unwrap_or(code)),
            ("redirect_uri", redirect),
        ];
        let answer = json(self.post("/oauth2/token", &form).await).await;
        answer["id_token"].as_str().expect("an ID token").to_owned()
    }

    /// Makes new keys, which sign from now on; those before stay published until the next time.
    pub async fn rotate(&self) {
        self.post("/rotate", &[]).await.error_for_status().expect("new keys");
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Response {
        let request = self.http.post(format!("{}{path}", self.issuer())).form(form);
        request.send().await.expect("an answer of the provider")
    }

    async fn until_it_listens(&mut self) {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            let ended = self.child.try_wait().expect("its process");
            if ended.is_some() || start.elapsed() > START_TIMEOUT {
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                panic!("the identity provider does not start: {log}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

async fn json(response: Response) -> Value {
    let response = response.error_for_status().expect("a good answer of the provider");
    response.json().await.expect("JSON of the provider")
}

/// Where `.ci/test` installs them.
fn installed(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/ci/oidc").join(path);
    assert!(path.exists(), "{} is missing: `.ci/test` installs it", path.display());
    path
}

fn spawn(kind: Kind, port: u16, folder: &Path) -> Child {
    let mut command = match kind {
        Kind::Node => {
            let mut node = Command::new("node");
            node.arg(script(port)).arg(port.to_string()).arg(folder.join("keys.json"));
            node
        }
        Kind::Python => {
            let mut python = Command::new(installed("venv/bin/oidc-provider-mock"));
            let ann = r#"{"sub": "ann", "roles": ["user"]}"#;
            python.args(["--port", &port.to_string(), "--user-claims", ann]);
            python
        }
    };
    let log = fs::File::create(folder.join("log")).expect("a log");
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
    command.kill_on_drop(true).spawn().expect("node, and Python")
}

/// Node finds packages beside the script it runs, so that is copied there: whole or not at all, since
/// other tests do the same.
fn script(port: u16) -> PathBuf {
    let script = installed("node/node_modules").with_file_name("provider.mjs");
    let copy = script.with_file_name(format!("provider-{port}.mjs"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oidc/provider.mjs");
    fs::copy(source, &copy).expect("the script can be copied");
    fs::rename(&copy, &script).expect("the script can be renamed");
    script
}
