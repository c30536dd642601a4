//! `auth`: who may call.

use std::net::IpAddr;

use serde::Deserialize;

use super::error::{Fault, check};

/// How callers prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    /// Not at all.
    None,
    /// Keys of the development mode; not built yet.
    Dev,
    /// API keys; not built yet.
    Keys,
    /// Tokens of an identity provider; not built yet.
    Oidc,
}

/// Who may call.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// How callers prove who they are.
    pub mode: AuthMode,
    /// Whether `none` is meant on an address that others can reach.
    pub insecure: bool,
}

impl Auth {
    pub(super) fn validate(&self, host: IpAddr) -> Result<(), Fault> {
        let closed = self.mode != AuthMode::None || host.is_loopback() || self.insecure;
        let must = "a loopback address (127.0.0.1 or ::1) as long as auth.mode is `none`, since \
                    everybody could call it; set MLSDM_INSECURE=1 to serve it openly all the same";
        check(closed, "api.host", must)
    }
}
