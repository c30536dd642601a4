//! A repeated request: waits for the first one's ending, wherever it runs, and is told the same.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::{Answer, AnswerText, Recorded, StepError, defect};
use crate::{
    domain::{
        event::{Event, StepCompleted},
        ids::Position,
    },
    engine::Engine,
    store::{
        Record, codec,
        writer::{Earlier, WriteError},
    },
};

impl Engine {
    /// The answer of an earlier step with the same idempotency key.
    pub(super) async fn wait_for(
        &self,
        earlier: &Earlier,
        started: Instant,
    ) -> Result<Answer, StepError> {
        if earlier.ended.is_none() {
            let closed = self.until_closed(earlier.step);
            let in_time = timeout_at(started + self.settings.timeout, closed).await;
            in_time.map_err(|_| StepError::StillRunning)??;
        }
        let store = &self.parts.store;
        let first = store.record(&self.id, earlier.position).await?.ok_or_else(missing)?;
        let ending = match earlier.ended {
            Some(position) => store.record(&self.id, position).await?,
            None => store.ending_of(&self.id, earlier.step, earlier.position).await?,
        };
        self.retell(&first, &ending.ok_or_else(missing)?).await
    }

    /// Resolves when the step has an ending in the published view. Another replica's arrive with
    /// the follower.
    async fn until_closed(&self, step: u64) -> Result<(), StepError> {
        let mut views = self.writer.watch();
        let closed = |view: &Arc<crate::store::writer::View>| {
            view.state.step >= step && !view.state.open.contains_key(&step)
        };
        views.wait_for(closed).await.map_err(|_| WriteError::Closed)?;
        Ok(())
    }

    async fn retell(&self, first: &Record, ending: &Record) -> Result<Answer, StepError> {
        let request_id = first.request_id.as_deref().unwrap_or_default();
        let envelope = ending.envelope();
        match (event(first)?, event(ending)?) {
            (_, Event::StepRejected(rejected)) => {
                Ok(Answer::rejected(request_id, &envelope, ending.chain_hash, &rejected))
            }
            (Event::StepAdmitted(admitted), Event::StepCompleted(completed)) => {
                let text = self.answer_text(ending.position, &completed).await?;
                let recorded = Recorded { envelope: &envelope, chain_hash: ending.chain_hash };
                Ok(Answer::completed(request_id, &admitted, &recorded, &completed, text))
            }
            (_, Event::StepFailed(failed)) => Err(StepError::Failed {
                step: ending.step.unwrap_or_default(),
                stage: failed.stage,
                code: failed.code,
                retry_after: None,
            }),
            _ => Err(defect("an idempotency key that names no step")),
        }
    }

    async fn answer_text(
        &self,
        position: Position,
        completed: &StepCompleted,
    ) -> Result<AnswerText, StepError> {
        if completed.withheld {
            return Ok(AnswerText { answer: String::new(), tool_calls: Vec::new() });
        }
        let texts = self.texts(&[position]).await?;
        let text = texts.get(&position).ok_or(StepError::Erased)?;
        serde_json::from_slice(text).map_err(|_| defect("a sealed text of another shape"))
    }
}

fn event(record: &Record) -> Result<Event, StepError> {
    codec::decode(&record.kind, record.schema_version, &record.payload)
        .map_err(|e| defect(&format!("position {}: {e}", record.position)))
}

fn missing() -> StepError {
    defect("an idempotency key that names a missing event")
}
