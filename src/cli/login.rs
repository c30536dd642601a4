//! `mlsdm login` and `mlsdm logout`: a token of the identity provider for a user, stored for the commands
//! that call a server.
//!
//! The provider is the configured one (`auth.oidc`): users need the same settings as the server. A login is
//! valid for one server and sent to no other.

mod error;
mod provider;
mod redirect;
mod stored;

use std::io::{self, Write as _};

use serde_json::json;

use super::{Context, credential::Credential, output};
use crate::clock;
pub(super) use error::LoginError;
pub(super) use provider::check_metadata;
use provider::{Provider, TokenSet};
use stored::{Login, Logins};

/// A token that expires within this time, in seconds, is renewed before use.
const RENEW_BEFORE: i64 = 30;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print an address and a code to enter on any device, for machines without a browser.
    #[arg(long)]
    device: bool,
}

/// Logs the user in, stores the login, and prints the principal that the server sees.
pub(super) async fn run(context: &Context, args: &Args) -> anyhow::Result<()> {
    let oidc = &context.loaded()?.config.auth.oidc;
    let server = context.base()?;
    let provider = Provider::discover(oidc).await?;
    let tokens = if args.device {
        provider.by_device(|address, code| prompt(&device_text(address, code))).await?
    } else {
        provider.by_browser(|address| prompt(&browser_text(address))).await?
    };
    let login = provider.login(tokens, now());
    let credential = Credential::token(&login.token)?;
    let logins = Logins::open().await?;
    logins.store(&server, Some(login))?;
    let me = context.client_with(server, Some(credential))?.get("/v1/me", &[]).await?;
    context.print(&me, output::fields)
}

/// Removes the login for the server.
pub(super) async fn forget(context: &Context) -> anyhow::Result<()> {
    let server = context.base()?;
    let known = Logins::open().await?.store(&server, None)?;
    let outcome = json!({ "server": server, "logged_out": known });
    context.print(&outcome, |_| {
        let text = if known { "logged out of" } else { "no login for" };
        format!("{text} {server}\n")
    })
}

/// The token of the login for a server, renewed if it expires soon. A login that cannot be renewed counts
/// as none, with a message on standard error.
pub(super) async fn credential(server: &str) -> anyhow::Result<Option<Credential>> {
    if !Logins::read()?.contains_key(server) {
        return Ok(None);
    }
    // locked, because many providers accept a refresh token only once
    let logins = Logins::open().await?;
    let Some(mut login) = logins.get(server)? else { return Ok(None) };
    if login.expires_at.is_some_and(|end| end - RENEW_BEFORE <= now()) {
        match provider::renew(&login).await {
            Ok(tokens) => {
                login.renew(tokens, now());
                logins.store(server, Some(login.clone()))?;
            }
            Err(error) => {
                prompt(&format!("mlsdm: the login for {server} has expired: {error}\n"));
                return Ok(None);
            }
        }
    }
    Credential::token(&login.token).map(Some)
}

impl Login {
    /// Stores renewed tokens. Without a new refresh token the old one stays.
    fn renew(&mut self, tokens: TokenSet, now: i64) {
        self.token = tokens.token;
        self.expires_at = tokens.expires_in.map(|seconds| now + seconds);
        self.refresh_token = tokens.refresh_token.or_else(|| self.refresh_token.take());
    }
}

fn now() -> i64 {
    clock::now_micros() / 1_000_000
}

fn browser_text(address: &str) -> String {
    format!(
        "Log in with a browser on this machine (without a browser: mlsdm login --device):\n\n  {address}\n\n"
    )
}

fn device_text(address: &str, code: &str) -> String {
    format!("Log in with any browser, and compare the code there with {code}:\n\n  {address}\n\n")
}

/// Writes to the user on standard error.
fn prompt(text: &str) {
    // a closed standard error is the choice of the user
    drop(io::stderr().lock().write_all(text.as_bytes()));
}
