//! `api`: the HTTP server.

use std::{net::IpAddr, num::NonZeroUsize, thread, time::Duration};

use ipnet::IpNet;
use serde::Deserialize;

use super::error::{Fault, check};

/// Upper bound of the names of client blocks.
const CLIENT_BLOCKS_MAX: usize = 32;

/// The response to a moral refusal on the routes compatible with provider APIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MoralRefusal {
    /// Status 200 and `finish_reason` `content_filter`.
    Answer,
    /// Status 400 and code `content_filter`.
    Error,
}

/// The names of end users that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndUserNames {
    /// The name in the header or in the body, as it is.
    AsGiven,
    /// Like `as_given`, but a name by Claude Code stands for its account.
    ClaudeCodeAccount,
    /// The name in the header only.
    HeaderOnly,
    /// None: every caller acts for itself.
    Ignore,
}

/// The header in which trusted proxies send the client address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239)
    Forwarded,
}

/// The HTTP server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// Address to listen on.
    pub host: IpAddr,
    /// Port to listen on.
    pub port: u16,
    workers: usize,
    timeout: u64,
    stream_headers_after: u64,
    drain_seconds: u64,
    /// Networks of trusted proxies, whose forwarded client addresses are accepted.
    pub trusted_proxies: Vec<IpNet>,
    /// The header with the client address.
    pub forwarded_header: ForwardedHeader,
    /// Origins whose pages may call the API.
    pub cors_origins: Vec<String>,
    /// The response to a moral refusal on the routes compatible with provider APIs.
    pub refusal: MoralRefusal,
    /// The names of end users that count.
    pub end_user: EndUserNames,
    /// Names of the blocks that clients add to the messages of their users.
    pub client_blocks: Vec<String>,
    /// Serves `/docs` and `/openapi.json`.
    pub docs: bool,
}

impl Api {
    /// Number of HTTP worker threads.
    pub fn workers(&self) -> usize {
        if self.workers > 0 {
            return self.workers;
        }
        thread::available_parallelism().map_or(1, NonZeroUsize::get)
    }

    /// Time until the first byte of a model's answer, and between two bytes.
    pub const fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// Time after which the head of a streamed response is sent, even if the model has not begun to
    /// answer.
    pub const fn stream_headers_after(&self) -> Duration {
        Duration::from_secs(self.stream_headers_after)
    }

    /// Time for which a stopping server still serves requests after it reports that it is not ready.
    pub const fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }

    pub(super) fn validate(&self) -> Result<(), Fault> {
        check(self.port != 0, "api.port", "between 1 and 65535")?;
        check(self.workers <= 256, "api.workers", "between 0 and 256")?;
        check((1..=600).contains(&self.timeout), "api.timeout", "between 1 and 600 seconds")?;
        let headers = (1..=600).contains(&self.stream_headers_after);
        check(headers, "api.stream_headers_after", "between 1 and 600 seconds")?;
        check(self.drain_seconds <= 300, "api.drain_seconds", "between 0 and 300")?;
        let is_name = |name: &String| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        let named =
            self.client_blocks.len() <= CLIENT_BLOCKS_MAX && self.client_blocks.iter().all(is_name);
        let must = "a list of at most 32 names of a-z, A-Z, 0-9, - and _";
        check(named, "api.client_blocks", must)?;
        let any = self.cors_origins.iter().any(|origin| origin == "*");
        let exact = self.cors_origins.iter().all(|origin| is_origin(origin));
        let fits = if any { self.cors_origins.len() == 1 } else { exact };
        let must = "a list of origins as browsers write them (https://app.example.com, without a \
                    path or a final slash), or \"*\" alone for every origin";
        check(fits, "api.cors_origins", must)
    }
}

/// Returns true for a value that a browser can send as `Origin`; false for patterns.
fn is_origin(text: &str) -> bool {
    !text.contains('*')
        && reqwest::Url::parse(text).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text
        })
}
