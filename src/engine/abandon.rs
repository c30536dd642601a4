//! Closes open steps that nobody will end: their process is gone, or their time is over.
//!
//! The log's clock decides whether a deadline is over, and it follows the clock of the database, which
//! can be set ahead. So a step must also have had its time by the monotonic clock of this process.

use std::sync::{PoisonError, atomic::Ordering};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

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

/// Abandons all open steps. Only for an engine whose log has no other writer: the steps were
/// left open by an earlier process.
pub(super) async fn abandon_orphans(engine: &Engine) -> Result<(), EngineError> {
    let open: Vec<StepNumber> = engine.view().state.open.keys().copied().collect();
    let abandoned = open.into_iter().map(|step| abandon(engine, step, AbandonCause::SoleOwner));
    stream::iter(abandoned).buffered(AT_ONCE).try_collect().await
}

/// Abandons the steps whose time is over.
pub(super) async fn abandon_expired(engine: &Engine) {
    let expired = expired_steps(engine);
    abandon_each(engine, expired.into_iter().map(|step| (step, AbandonCause::Deadline))).await;
}

fn expired_steps(engine: &Engine) -> Vec<StepNumber> {
    let allowed = engine.settings.total_timeout + engine.settings.grace;
    let (view, log_time) = (engine.view(), engine.log_time());
    let mut deadlines = engine.open_steps.deadlines.lock().unwrap_or_else(PoisonError::into_inner);
    deadlines.observe(
        view.state.open.iter().map(|(step, open)| (*step, open.deadline)),
        log_time,
        engine.parts.store.monotonic(),
        Micros::try_from(allowed.as_micros()).unwrap_or(Micros::MAX),
    );
    let expired = view.state.expired(log_time);
    expired.filter(|step| deadlines.is_over(*step, engine.parts.store.monotonic())).collect()
}

/// Abandons steps; if one cannot be abandoned, the others all the same. An untrusted engine refuses
/// every command, so its steps stay open until it is trusted.
pub(super) async fn abandon_each(
    engine: &Engine,
    steps: impl ExactSizeIterator<Item = (StepNumber, AbandonCause)>,
) {
    let count = steps.len();
    if count > 0 && engine.damage().is_some() {
        if !engine.open_steps.is_reported.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                engine = %engine.id,
                steps = count,
                "steps whose time is over or whose process is gone stay open until the engine is trusted"
            );
        }
        return;
    }
    engine.open_steps.is_reported.store(false, Ordering::Relaxed);
    let abandoned = stream::iter(steps)
        .map(async |(step, cause)| Some((step, abandon(engine, step, cause).await.err()?)))
        .buffered(AT_ONCE);
    let failed: Vec<(StepNumber, EngineError)> =
        abandoned.filter_map(std::future::ready).collect().await;
    if let Some((step, error)) = failed.first() {
        tracing::warn!(
            engine = %engine.id,
            step,
            failed = failed.len(),
            %error,
            "could not close open steps; they are tried again"
        );
    }
}

/// Abandons a step, unless it has ended or its deadline is not over.
async fn abandon(
    engine: &Engine,
    step: StepNumber,
    cause: AbandonCause,
) -> Result<(), EngineError> {
    let command = Command::Abandon(Abandon { step, cause });
    let mut proposal = Proposal::of_engine(crate::ids::command_id(), command, Actor::Server);
    proposal.ends_claim = true;
    match commit(engine, proposal).await {
        Ok(_) => Ok(()),
        Err(WriteError::Refused(refusal)) => {
            tracing::debug!(engine = %engine.id, step, %refusal, "the step is not abandoned");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
