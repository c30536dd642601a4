//! Closes open steps that nobody will end: their process is gone, or their time is over.
//!
//! The log's clock decides whether a deadline is over, and it follows the clock of the database, which
//! can be set ahead. So a step must also have had its time by the monotonic clock of this process.

mod deadlines;

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use self::deadlines::Deadlines;
use super::{Engine, EngineError, append::commit};
use crate::{
    domain::{
        command::{Abandon, AbandonCause, Command},
        ids::{Micros, StepNumber},
    },
    store::writer::{Actor, Proposal, WriteError},
};

/// Steps that are abandoned at once: the writer takes them into one batch.
const AT_ONCE: usize = 64;

/// What this process knows of the open steps of an engine.
#[derive(Default)]
pub(super) struct OpenSteps {
    deadlines: Mutex<Deadlines>,
    /// True once it was logged that steps wait until the engine is trusted.
    is_reported: AtomicBool,
}

impl Engine {
    /// Abandons all open steps. Only for an engine whose log has no other writer: the steps were
    /// left open by an earlier process.
    pub(super) async fn abandon_orphans(&self) -> Result<(), EngineError> {
        let open: Vec<StepNumber> = self.view().state.open.keys().copied().collect();
        let abandoned = open.into_iter().map(|step| self.abandon(step, AbandonCause::SoleOwner));
        stream::iter(abandoned).buffered(AT_ONCE).try_collect().await
    }

    /// Abandons the steps whose time is over.
    pub(super) async fn abandon_expired(&self) {
        let expired = self.expired_steps();
        self.abandon_each(expired.into_iter().map(|step| (step, AbandonCause::Deadline))).await;
    }

    fn expired_steps(&self) -> Vec<StepNumber> {
        let allowed = self.settings.total_timeout + self.settings.grace;
        let (view, log_time) = (self.view(), self.log_time());
        let mut deadlines =
            self.open_steps.deadlines.lock().unwrap_or_else(PoisonError::into_inner);
        deadlines.observe(
            view.state.open.iter().map(|(step, open)| (*step, open.deadline)),
            log_time,
            self.parts.store.monotonic(),
            Micros::try_from(allowed.as_micros()).unwrap_or(Micros::MAX),
        );
        let expired = view.state.expired(log_time);
        expired.filter(|step| deadlines.is_over(*step, self.parts.store.monotonic())).collect()
    }

    /// Abandons steps; if one cannot be abandoned, the others all the same. An untrusted engine refuses
    /// every command, so its steps stay open until it is trusted.
    pub(super) async fn abandon_each(
        &self,
        steps: impl ExactSizeIterator<Item = (StepNumber, AbandonCause)>,
    ) {
        let count = steps.len();
        if count > 0 && self.damage().is_some() {
            if !self.open_steps.is_reported.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    engine = %self.id,
                    steps = count,
                    "steps whose time is over or whose process is gone stay open until the engine is trusted"
                );
            }
            return;
        }
        self.open_steps.is_reported.store(false, Ordering::Relaxed);
        let abandoned = stream::iter(steps)
            .map(async |(step, cause)| Some((step, self.abandon(step, cause).await.err()?)))
            .buffered(AT_ONCE);
        let failed: Vec<(StepNumber, EngineError)> =
            abandoned.filter_map(std::future::ready).collect().await;
        if let Some((step, error)) = failed.first() {
            tracing::warn!(
                engine = %self.id,
                step,
                failed = failed.len(),
                %error,
                "could not close open steps; they are tried again"
            );
        }
    }

    /// Abandons a step, unless it has ended or its deadline is not over.
    async fn abandon(&self, step: StepNumber, cause: AbandonCause) -> Result<(), EngineError> {
        let command = Command::Abandon(Abandon { step, cause });
        let mut proposal = Proposal::of_engine(crate::ids::command_id(), command, Actor::Server);
        proposal.ends_claim = true;
        match commit(self, proposal).await {
            Ok(_) => Ok(()),
            Err(WriteError::Refused(refusal)) => {
                tracing::debug!(engine = %self.id, step, %refusal, "the step is not abandoned");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}
