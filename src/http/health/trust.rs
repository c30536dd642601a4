//! The logs that cannot be trusted, as health reports show them.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{engine::Engine, http::AppState};

/// The trust in the logs of the loaded engines.
#[derive(Debug, Serialize, ToSchema)]
pub struct Trust {
    /// The log of the default engine; null while that engine is not loaded.
    pub default: Option<LogTrust>,
    /// The server's own log, which has the API keys; null while it is not loaded.
    pub system: Option<LogTrust>,
    /// Number of loaded engines whose logs cannot be trusted.
    pub untrusted: usize,
}

/// The trust in a log.
#[derive(Debug, Serialize, ToSchema)]
pub struct LogTrust {
    /// `trusted`, or `untrusted`: an event is edited, missing or unreadable, and no command is accepted.
    pub status: &'static str,
    /// Position of that event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// `missing`, `unreadable`, `chain`, `mac`, `mac_missing`, `mac_key`, `mac_key_retired`, `event`, `contradiction`,
    /// `vector`, `rules`, `format`, `removed`, `replaced` or `audit`; the log line `engine.untrusted` has the details.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

impl Trust {
    /// True if no fault concerns the default engine or the server's own log.
    pub(super) fn is_trusted(&self) -> bool {
        let is_bad = |log: &LogTrust| log.position.is_some();
        !self.default.iter().chain(&self.system).any(is_bad)
    }
}

impl LogTrust {
    fn of(engine: &Engine) -> Self {
        match engine.damage() {
            None => Self { status: "trusted", position: None, reason: None },
            Some(damage) => Self {
                status: "untrusted",
                position: Some(damage.position),
                reason: Some(damage.cause.code()),
            },
        }
    }
}

/// The trust of the loaded engines. Names no engine but the default one and the server's own log: the
/// report is public.
pub(super) fn trust(state: &AppState) -> Trust {
    let loaded = state.engines.in_memory();
    let default = &state.engines.settings().default;
    Trust {
        default: loaded.iter().find(|e| e.id() == default).map(|e| LogTrust::of(e)),
        system: loaded.iter().find(|e| e.id().is_system()).map(|e| LogTrust::of(e)),
        untrusted: loaded.iter().filter(|engine| engine.damage().is_some()).count(),
    }
}
