//! `mlsdm token`: a token for development mode, signed with the key that the server stores beside its
//! database. Read access to that file gives all permissions.

use std::{
    io::{self, Write as _},
    str::FromStr,
};

use secrecy::{ExposeSecret as _, SecretString};

use super::{Context, duration};
use crate::{
    auth::{
        dev::{DevKey, TokenRequest, key_path},
        role::{ADMIN, USER},
    },
    clock,
    config::{AuthMode, Config},
    startup::store_options,
};

/// Maximum lifetime of a token in seconds: 30 days.
const TTL_MAX: i64 = 30 * 24 * 3600;

/// The error if the server does not accept development tokens (exit code 2).
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NoToken(String);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A role. Can be given several times. Default: admin and user.
    #[arg(long, value_name = "ROLE")]
    role: Vec<String>,
    /// The subject, recorded as the actor of requests.
    #[arg(long, value_name = "NAME", default_value = "dev")]
    subject: String,
    /// An engine that the token can access, `*` for all. Can be given several times. Default: all engines
    /// with the permission engine:admin, else the default engine.
    #[arg(long, value_name = "ENGINE")]
    engine: Vec<String>,
    /// Lifetime, such as 90s, 15m, 1h or 7d; at most 30 days.
    #[arg(long, value_name = "TIME", default_value = "1h")]
    ttl: Ttl,
}

impl Default for Args {
    fn default() -> Self {
        Self { role: Vec::new(), subject: "dev".to_owned(), engine: Vec::new(), ttl: Ttl(3600) }
    }
}

/// A lifetime in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ttl(i64);

impl FromStr for Ttl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let ttl = i64::from(duration::seconds(text)?);
        let bad = "must be between 1s and 30d";
        if (1..=TTL_MAX).contains(&ttl) { Ok(Self(ttl)) } else { Err(bad) }
    }
}

pub(super) fn run(context: &Context, args: &Args) -> anyhow::Result<()> {
    let token = mint(&context.loaded()?.config, args)?;
    // only the token, also with --json, for use in `$(…)`
    Ok(writeln!(io::stdout().lock(), "{}", token.expose_secret())?)
}

/// Signs a token for a server with this configuration.
pub(super) fn mint(config: &Config, args: &Args) -> anyhow::Result<SecretString> {
    let mode = config.auth.mode(config.api.host);
    if mode != AuthMode::Dev {
        let why =
            format!("auth.mode is {}; this server signs tokens only in mode dev", mode.as_str());
        return Err(NoToken(why).into());
    }
    let roles = config.auth.known_roles();
    if let Some(unknown) = args.role.iter().find(|role| !roles.has(role)) {
        let why = format!("there is no role {unknown}; auth.roles can define it");
        return Err(NoToken(why).into());
    }
    let sqlite = store_options(&config.database).sqlite_file()?;
    let key = DevKey::load(&key_path(sqlite.as_deref()))?;
    let named = if args.role.is_empty() {
        vec![ADMIN.to_owned(), USER.to_owned()]
    } else {
        args.role.clone()
    };
    let request = TokenRequest {
        subject: args.subject.clone(),
        roles: named,
        engines: args.engine.clone(),
        ttl_seconds: args.ttl.0,
    };
    Ok(key.mint(&request, clock::now_micros() / 1_000_000)?)
}

#[cfg(test)]
mod tests {
    use super::Ttl;

    #[test]
    fn a_lifetime_is_a_number_with_a_unit() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("1h", 3600), ("30d", 2_592_000)] {
            assert_eq!(text.parse(), Ok(Ttl(seconds)));
        }
        for bad in ["", "h", "1", "0s", "-1h", "31d", "1h30m", "1ä", "99999999999d"] {
            assert!(bad.parse::<Ttl>().is_err(), "{bad}");
        }
    }
}
