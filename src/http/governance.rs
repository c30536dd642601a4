//! The governance of a step, next to its answer in the dialect of OpenAI or Anthropic: `X-MLSDM-*`
//! headers and the object `mlsdm` in the body, with the names of `POST /v1/generate`.

use std::sync::Arc;

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::header::{ContentType, HeaderName, HeaderValue},
    web::Data,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{AppState, Code, Problem, access_log, draining};
use crate::{
    config::MoralRefusal,
    domain::event::RejectReason,
    engine::{Answer, Caller, Engine, StepRequest, StepResponse},
};

/// Governance of a step.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Governance {
    /// False if the moral filter or the sleep phase rejected the request.
    pub accepted: bool,
    /// `completed` or `rejected`.
    pub outcome: &'static str,
    /// `processed`, `morally rejected` or `sleep phase - consolidating`.
    pub note: &'static str,
    /// Step number.
    pub step: u64,
    /// Phase of the step: `wake` or `sleep`.
    pub phase: &'static str,
    /// Moral score that was compared with the threshold.
    pub moral_score: f64,
    /// Moral threshold at the time of the step.
    pub moral_threshold: f64,
    /// Memories in the model's context.
    pub context_items: usize,
    /// What lowered the limit of the answer: `sleep` or `budget`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limited_by: Option<&'static str>,
    /// Position of the step's outcome in the event log.
    pub position: u64,
    /// Chain hash at that position, hexadecimal.
    pub chain_hash: String,
    /// Fields of the request or the answer that a translation between dialects left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
    /// Id of the step's events in the log (UUID version 7), the same in an idempotent repetition.
    pub id: String,
    /// Id of this request, equal to the header `X-Request-ID`.
    pub request_id: String,
}

impl From<&Answer> for Governance {
    fn from(answer: &Answer) -> Self {
        Self {
            accepted: answer.accepted,
            outcome: answer.outcome,
            note: answer.note,
            step: answer.step,
            phase: answer.phase,
            moral_score: answer.moral_score,
            moral_threshold: answer.moral_threshold,
            context_items: answer.context_items,
            limited_by: answer.limited_by,
            position: answer.position,
            chain_hash: answer.chain_hash.clone(),
            dropped: answer.dropped.clone(),
            id: answer.id.clone(),
            request_id: answer.request_id.clone(),
        }
    }
}

/// Runs a step and answers with the body of a dialect and the governance headers.
pub async fn answer(
    state: &Data<AppState>,
    engine: Arc<Engine>,
    caller: Caller,
    request: StepRequest,
    body: impl FnOnce(&Answer) -> String,
) -> Result<HttpResponse, Problem> {
    let step = engine.start(&state.tasks, caller, request, None);
    let step = draining::outcome(&state.stop, step).await?;
    if let Some(problem) = rejection(&step.answer, state.refusal) {
        return Err(problem);
    }
    let mut response = HttpResponse::Ok();
    set_headers(&mut response, &step);
    let mut response = response.content_type(ContentType::json()).body(body(&step.answer));
    access_log::record_step(&mut response, &step.answer);
    Ok(response)
}

fn set_headers(response: &mut HttpResponseBuilder, step: &StepResponse) {
    let answer = &step.answer;
    let values = [
        ("x-mlsdm-accepted", answer.accepted.to_string()),
        ("x-mlsdm-step", answer.step.to_string()),
        ("x-mlsdm-phase", answer.phase.to_owned()),
        ("x-mlsdm-moral-score", answer.moral_score.to_string()),
        ("x-mlsdm-moral-threshold", answer.moral_threshold.to_string()),
        ("x-mlsdm-context-items", answer.context_items.to_string()),
        ("x-mlsdm-position", answer.position.to_string()),
        ("x-mlsdm-chain-hash", answer.chain_hash.clone()),
    ];
    for (name, value) in values {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.insert_header((HeaderName::from_static(name), value));
        }
    }
    set_replayed(response, step);
}

/// Sets `Idempotency-Replayed` if an earlier request with the same idempotency key ran the step.
pub fn set_replayed(response: &mut HttpResponseBuilder, step: &StepResponse) {
    if step.replayed {
        response.insert_header(("Idempotency-Replayed", "true"));
    }
}

/// The error for a rejected request in the dialects of OpenAI and Anthropic. A moral rejection is an
/// answer unless it is configured as an error; in the sleep phase the client should retry.
pub fn rejection(answer: &Answer, moral: MoralRefusal) -> Option<Problem> {
    match (answer.refusal()?, moral) {
        (RejectReason::Moral, MoralRefusal::Answer) => None,
        (RejectReason::Moral, MoralRefusal::Error) => {
            let detail = "the moral score of the prompt is below the threshold; sending it again \
                          does not help";
            Some(Problem::new(Code::ContentFilter, detail))
        }
        (RejectReason::Sleep, _) => {
            let detail = "the engine is in its sleep phase; send the request again, each request \
                          shortens the phase";
            Some(Problem::new(Code::Asleep, detail))
        }
    }
}
