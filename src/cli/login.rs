//! `mlsdm login` and `mlsdm logout`: a token of the identity provider for a person, kept for the
//! commands that ask a server.
//!
//! The provider is that of the configuration (`auth.oidc`), so the settings of the server serve its
//! users too. A login counts for the server it was made for, and is sent to no other.

mod provider;
mod redirect;
mod stored;

use std::io::{self, Write as _};

use serde_json::json;

use super::{Context, credential::Credential, output};
use crate::clock;
use provider::{Granted, Provider};
pub(super) use provider::{LoginError, reach};
use stored::{Login, Logins};

/// A token that ends so soon, in seconds, is renewed before it is sent.
const RENEW_BEFORE: i64 = 30;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show an address and a code to be entered on any device, for machines without a browser.
    #[arg(long)]
    device: bool,
}

/// Lets somebody log in, keeps what came of it, and shows who they are to the server.
pub(super) async fn run(context: &Context, args: &Args) -> anyhow::Result<()> {
    let oidc = &context.loaded()?.config.auth.oidc;
    let server = context.base()?;
    let provider = Provider::discover(oidc).await?;
    let granted = if args.device {
        provider.by_device(|address, code| say(&device_text(address, code))).await?
    } else {
        provider.by_browser(|address| say(&browser_text(address))).await?
    };
    let login = provider.login(granted, now());
    let credential = Credential::token(&login.token)?;
    let logins = Logins::open().await?;
    logins.keep(&server, Some(login))?;
    let me = context.speak(server, Some(credential))?.get("/v1/me", &[]).await?;
    context.print(&me, output::fields)
}

/// Forgets the login of the server.
pub(super) async fn forget(context: &Context) -> anyhow::Result<()> {
    let server = context.base()?;
    let known = Logins::open().await?.keep(&server, None)?;
    let told = json!({ "server": server, "logged_out": known });
    context.print(&told, |_| {
        let was = if known { "logged out of" } else { "there was no login for" };
        format!("{was} {server}\n")
    })
}

/// The token of the login for a server, renewed if it ends soon. A login that cannot be renewed is
/// as good as none; that is said once.
pub(super) async fn credential(server: &str) -> anyhow::Result<Option<Credential>> {
    if !Logins::read()?.contains_key(server) {
        return Ok(None);
    }
    // others may renew it at the same time, and many providers take a refresh token only once
    let logins = Logins::open().await?;
    let Some(mut login) = logins.get(server)? else { return Ok(None) };
    if login.expires_at.is_some_and(|end| end - RENEW_BEFORE <= now()) {
        match provider::renew(&login).await {
            Ok(granted) => {
                login.renewed(granted, now());
                logins.keep(server, Some(login.clone()))?;
            }
            Err(error) => {
                say(&format!("mlsdm: the login for {server} has ended: {error}\n"));
                return Ok(None);
            }
        }
    }
    Credential::token(&login.token).map(Some)
}

impl Login {
    /// Takes what a renewal brought; a refresh token stays if no new one came.
    fn renewed(&mut self, granted: Granted, now: i64) {
        self.token = granted.token;
        self.expires_at = granted.lives_seconds.map(|seconds| now + seconds);
        self.refresh_token = granted.refresh_token.or_else(|| self.refresh_token.take());
    }
}

fn now() -> i64 {
    clock::now_micros() / 1_000_000
}

fn browser_text(address: &str) -> String {
    format!(
        "Log in with a browser of this machine (without one: mlsdm login --device):\n\n  {address}\n\n"
    )
}

fn device_text(address: &str, code: &str) -> String {
    format!("Log in with any browser, and compare the code there with {code}:\n\n  {address}\n\n")
}

/// To the person, beside the output.
fn say(text: &str) {
    // who closed standard error does not want to know
    drop(io::stderr().lock().write_all(text.as_bytes()));
}
