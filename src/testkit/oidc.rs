//! Third-party identity providers as processes: the package `oidc-provider` for Node and
//! `oidc-provider-mock` for Python. `.ci/test` installs the versions that `tests/oidc` pins.
#![expect(clippy::expect_used, clippy::panic, reason = "test support: a panic is the report")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use reqwest::{Client, Response};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use super::{eventually, postgres::free_port};

/// The audience of the tokens of [`Provider::node`].
pub const RESOURCE: &str = "https://mlsdm.example";
/// The clients of [`Provider::node`]. Each gets tokens signed with a different algorithm.
pub const CLIENTS: [&str; 4] = ["rs256", "es256", "ps256", "eddsa"];
/// The public client of [`Provider::node`] for end users.
pub const CLI_CLIENT: &str = "mlsdm-cli";

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
    /// Starts `oidc-provider`, which has keys of four algorithms and supports client credentials,
    /// PKCE and device codes.
    pub async fn node() -> Self {
        Self::start(Kind::Node).await
    }

    /// Starts `oidc-provider-mock`, which is based on `authlib` and does not authenticate end
    /// users.
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

    /// The issuer URL.
    pub fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Kills the process.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("kill the identity provider");
    }

    /// Starts a killed process again, with the same keys.
    pub async fn restart(&mut self) {
        self.child = spawn(self.kind, self.port, self.folder.path());
        self.until_it_listens().await;
    }

    /// An access token for one of [`CLIENTS`].
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

    /// An ID token, which is the only kind of JWT that the Python provider issues.
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

    /// Replaces the signing keys. The previous ones stay published until the next rotation.
    pub async fn rotate(&self) {
        self.post("/rotate", &[]).await.error_for_status().expect("rotate the keys");
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Response {
        let request = self.http.post(format!("{}{path}", self.issuer())).form(form);
        request.send().await.expect("an answer of the provider")
    }

    async fn until_it_listens(&mut self) {
        eventually("the start of the identity provider", async || {
            let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            if let Some(status) = self.child.try_wait().expect("the status of the provider") {
                panic!("the identity provider exited: {status}\n{}", log());
            }
            let connected = TcpStream::connect(("127.0.0.1", self.port)).await;
            connected.map_err(|error| format!("{error}\n{}", log()))
        })
        .await;
    }
}

async fn json(response: Response) -> Value {
    let response = response.error_for_status().expect("a good answer of the provider");
    response.json().await.expect("JSON of the provider")
}

/// The path of a file that `.ci/test` installs.
fn installed(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/ci/oidc").join(path);
    assert!(path.exists(), "{} is missing: run .ci/test, which installs it", path.display());
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
    command.kill_on_drop(true).spawn().expect("start the identity provider: needs node and Python")
}

/// Copies the script next to `node_modules`, where Node looks for packages. The copy is atomic,
/// since other tests do the same at the same time.
fn script(port: u16) -> PathBuf {
    let script = installed("node/node_modules").with_file_name("provider.mjs");
    let copy = script.with_file_name(format!("provider-{port}.mjs"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oidc/provider.mjs");
    fs::copy(source, &copy).expect("the script can be copied");
    fs::rename(&copy, &script).expect("the script can be renamed");
    script
}
