//! A repeated request: waits for the ending of the step that the first request ran, on any replica,
//! and builds the same answer from its events.

use std::sync::Arc;

use tokio::time::timeout_at;

use super::{
    answer::{Answer, AnswerIds, Ending, StepResponse},
    error::{FailedCall, StepError},
    request::Step,
};
use crate::{
    domain::{
        event::{Event, ModelCall, StepCompleted, StepFailed},
        ids::Position,
    },
    engine::{
        Engine,
        content::{self, StoredAnswer},
    },
    store::{
        Record, codec,
        writer::{Earlier, View, WriteError},
    },
};

/// Returns the answer of the earlier step with the same idempotency key.
pub(super) async fn replay(step: Step<'_>, first: &Earlier) -> Result<StepResponse, StepError> {
    let engine = step.engine;
    if first.ended.is_none() {
        let ended = await_first(engine, first.step);
        timeout_at(step.deadline().total, ended).await.map_err(|_| StepError::StillRunning)??;
    }
    let store = &engine.parts.store;
    let admission = store.record(&engine.id, first.position).await?.ok_or_else(missing)?;
    let ending = match first.ended {
        Some(position) => store.record(&engine.id, position).await?,
        None => store.ending_of(&engine.id, first.step, first.position).await?,
    };
    let ending = ending.ok_or_else(missing)?;
    check_step(engine, first, [&admission, &ending])?;
    let ids = AnswerIds {
        id: admission.request_id.as_deref().unwrap_or_default(),
        request_id: step.caller.request_id(),
    };
    let answer = replay_answer(engine, ids, &admission, &ending).await?;
    Ok(StepResponse { answer, replayed: true })
}

/// Checks that the events are those of the step and of the data subject that the key was used for, and
/// that this process has folded them. Unlike events, the row of a key is not authenticated: an edited row
/// must not give one person the answer of another.
fn check_step(engine: &Engine, first: &Earlier, events: [&Record; 2]) -> Result<(), StepError> {
    let folded = engine.view().state.position;
    let is_of_step = |event: &Record| {
        event.step == Some(first.step)
            && event.subject_ref == Some(first.subject.subject_ref)
            && event.position <= folded
    };
    if events.into_iter().all(is_of_step) {
        return Ok(());
    }
    Err(StepError::defect("an idempotency key belongs to events of another step"))
}

/// Waits until the published view contains the ending of a step. Endings by other replicas are
/// published by the follower.
async fn await_first(engine: &Engine, step: u64) -> Result<(), StepError> {
    let has_ended =
        |view: &Arc<View>| view.state.step >= step && !view.state.open.contains_key(&step);
    engine.writer.watch().wait_for(has_ended).await.map_err(|_| WriteError::Closed)?;
    Ok(())
}

pub(super) async fn replay_answer(
    engine: &Engine,
    ids: AnswerIds<'_>,
    admission: &Record,
    ending: &Record,
) -> Result<Answer, StepError> {
    let envelope = ending.envelope();
    match (event(admission)?, event(ending)?) {
        (_, Event::StepRejected(rejected)) => {
            Ok(Answer::rejected(ids, &envelope, ending.chain_hash, &rejected))
        }
        (Event::StepAdmitted(admitted), Event::StepCompleted(completed)) => {
            let answer = stored_answer(engine, ending.position, &completed).await?;
            let ending = Ending { envelope: &envelope, chain_hash: ending.chain_hash };
            Ok(Answer::completed(ids, &admitted, &ending, &completed, answer))
        }
        (_, Event::StepFailed(failed)) => Err(StepError::Failed {
            step: ending.step.unwrap_or_default(),
            stage: failed.stage,
            code: failed.code.clone(),
            retry_after: None,
            call: deciding_call(&failed).map(|call| Box::new(FailedCall::recorded(call))),
        }),
        _ => Err(StepError::defect("an idempotency key belongs to events that are not a step's")),
    }
}

/// The call whose failure ended the step: a refusal stays the cause when a fallback fails as well.
fn deciding_call(failed: &StepFailed) -> Option<&ModelCall> {
    let is_cause = |call: &&ModelCall| call.code == failed.code;
    let is_refusal = |call: &&ModelCall| matches!(call.status, Some(400 | 404 | 413 | 422));
    // the first answer named the first of them
    let refused = failed.calls.iter().find(|call| is_cause(call) && is_refusal(call));
    refused.or_else(|| failed.calls.iter().rfind(is_cause)).or_else(|| failed.calls.last())
}

async fn stored_answer(
    engine: &Engine,
    position: Position,
    completed: &StepCompleted,
) -> Result<StoredAnswer, StepError> {
    if completed.withheld {
        return Ok(StoredAnswer::default());
    }
    let contents = content::open(engine, &[position]).await?;
    let content = contents.get(&position).ok_or(StepError::Erased)?;
    Ok(content::parse(content)?)
}

fn event(record: &Record) -> Result<Event, StepError> {
    codec::decode(&record.kind, record.schema_version, &record.payload)
        .map_err(|e| StepError::defect(&format!("position {}: {e}", record.position)))
}

fn missing() -> StepError {
    StepError::defect("an idempotency key belongs to an event that is missing")
}
