//! The credential of a stored login, and its renewal.

use std::io::{self, Write as _};

use super::{
    provider::{self, TokenSet},
    stored::{Login, Logins},
};
use crate::{cli::credential::Credential, clock};

/// A token that expires within this time, in seconds, is renewed before use.
const RENEW_BEFORE: i64 = 30;

/// The token of the login for a server, renewed if it expires soon. A login that cannot be renewed counts
/// as none, with a message on standard error.
pub(in crate::cli) async fn credential(server: &str) -> anyhow::Result<Option<Credential>> {
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

pub(super) fn now() -> i64 {
    clock::now_micros() / 1_000_000
}

/// Writes to the user on standard error.
pub(super) fn prompt(text: &str) {
    // a closed standard error is the choice of the user
    drop(io::stderr().lock().write_all(text.as_bytes()));
}
