//! Records why an engine's log cannot be trusted.
//!
//! An untrusted engine keeps its last state, which can be read, and refuses every command: a state from
//! a log that somebody edited must not decide anything. There are two sources of damage. The writer finds
//! an event that it cannot fold, or a log that lost what it had folded; it becomes trusted again when the
//! log folds on. The background audit finds an edit among the events before; its next round without a
//! finding withdraws that.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::store::state_fold::LogDamage;

/// The damage of one engine's log, if any. The writer and the auditor set it, everybody reads it.
#[derive(Debug, Default)]
pub(super) struct Trust {
    fold: ArcSwapOption<LogDamage>,
    audit: ArcSwapOption<LogDamage>,
}

impl Trust {
    /// The damage, if the engine is untrusted.
    pub(super) fn damage(&self) -> Option<Arc<LogDamage>> {
        self.fold.load_full().or_else(|| self.audit.load_full())
    }

    /// Records that the log could not be folded up to its head; returns the damage.
    pub(super) fn fold_failed(&self, damage: Box<LogDamage>) -> Arc<LogDamage> {
        let damage = Arc::from(damage);
        self.set(&self.fold, Some(Arc::clone(&damage)));
        damage
    }

    /// Records that the log was folded up to its head.
    pub(super) fn fold_succeeded(&self) {
        self.set(&self.fold, None);
    }

    /// Records the result of the newest audit.
    pub(super) fn audited(&self, damage: Option<Box<LogDamage>>) {
        self.set(&self.audit, damage.map(Arc::from));
    }

    fn set(&self, source: &ArcSwapOption<LogDamage>, damage: Option<Arc<LogDamage>>) {
        let before = self.damage();
        if before.is_none() && damage.is_none() {
            return;
        }
        source.store(damage);
        match (before, self.damage()) {
            (None, Some(damage)) => tracing::error!(
                event_type = "engine.untrusted",
                engine = %damage.engine,
                position = damage.position,
                reason = %damage.cause,
                "the log of the engine cannot be trusted: the engine refuses all commands until the log \
                 is repaired"
            ),
            (Some(damage), None) => tracing::warn!(
                event_type = "engine.trusted",
                engine = %damage.engine,
                "the log of the engine was folded up to its end: the engine accepts commands again"
            ),
            _ => {}
        }
    }
}
