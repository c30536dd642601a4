//! `mlsdm login` and `mlsdm logout`: a token of the identity provider for a user, stored for the commands
//! that call a server.
//!
//! The provider is the configured one (`auth.oidc`): users need the same settings as the server. A login is
//! valid for one server and sent to no other.

mod error;
mod provider;
mod redirect;
mod renewal;
mod stored;

use serde_json::json;

use super::{Context, credential::Credential, output};
pub(super) use error::LoginError;
use provider::Provider;
pub(super) use provider::check_metadata;
pub(super) use renewal::credential;
use renewal::{now, prompt};
use stored::Logins;

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

fn browser_text(address: &str) -> String {
    format!(
        "Log in with a browser on this machine (without a browser: mlsdm login --device):\n\n  {address}\n\n"
    )
}

fn device_text(address: &str, code: &str) -> String {
    format!("Log in with any browser, and compare the code there with {code}:\n\n  {address}\n\n")
}
