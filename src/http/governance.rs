//! What governed a step, beside an answer in the dialect of a model's API: headers `X-MLSDM-*` and an
//! object `mlsdm` in the body. The names are those of `POST /v1/generate`.

use std::sync::Arc;

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::header::{HeaderName, HeaderValue},
    web::Data,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{AppState, Code, Problem, line};
use crate::{
    config::MoralRefusal,
    domain::event::RejectReason,
    engine::{Answer, Caller, Engine, StepRequest, StepResponse},
};

/// What governed a step.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Governance {
    /// Whether the request passed the filter and the rhythm.
    pub accepted: bool,
    /// `completed` or `rejected`.
    pub outcome: &'static str,
    /// `processed`, `morally rejected` or `sleep phase - consolidating`.
    pub note: &'static str,
    /// The step's number.
    pub step: u64,
    /// The phase of the step: `wake` or `sleep`.
    pub phase: &'static str,
    /// The score that decided.
    pub moral_score: f64,
    /// The threshold the verdict used.
    pub moral_threshold: f64,
    /// Memories whose text reached the model.
    pub context_items: usize,
    /// Where the step's ending stands in the log.
    pub position: u64,
    /// Receipt: the chain hash at that position, hexadecimal.
    pub chain_hash: String,
    /// The id of the request that ran the step.
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
            position: answer.position,
            chain_hash: answer.chain_hash.clone(),
            request_id: answer.request_id.clone(),
        }
    }
}

/// Runs a step and answers in a dialect, with headers that say what governed it.
pub async fn answer<T>(
    state: &Data<AppState>,
    engine: Arc<Engine>,
    caller: Caller,
    request: StepRequest,
) -> Result<HttpResponse, Problem>
where
    T: for<'a> From<&'a Answer> + Serialize,
{
    let told = engine.start(&state.tasks, caller, request, None).response().await?;
    if let Some(refused) = refusal_as_error(&told.answer, state.refusal) {
        return Err(refused);
    }
    let mut response = HttpResponse::Ok();
    headers(&mut response, &told);
    let mut response = response.json(T::from(&told.answer));
    line::note(&mut response, &told.answer);
    Ok(response)
}

fn headers(response: &mut HttpResponseBuilder, told: &StepResponse) {
    let answer = &told.answer;
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
    replayed(response, told);
}

/// Says so when an earlier request with the same idempotency key ran the step.
pub fn replayed(response: &mut HttpResponseBuilder, told: &StepResponse) {
    if told.replayed {
        response.insert_header(("Idempotency-Replayed", "true"));
    }
}

/// The error a refusal is in the dialects of models' APIs: none for a moral one, which is an answer,
/// unless it is set so; a client may try again once the engine is awake.
pub fn refusal_as_error(answer: &Answer, refusal: MoralRefusal) -> Option<Problem> {
    match (answer.refusal()?, refusal) {
        (RejectReason::Moral, MoralRefusal::Answer) => None,
        (RejectReason::Moral, MoralRefusal::Error) => {
            let detail = "the prompt's score is under the moral threshold; do not send it again";
            Some(Problem::new(Code::ContentFilter, detail))
        }
        (RejectReason::Sleep, _) => Some(Problem::new(
            Code::Asleep,
            "send it again; each request brings it nearer to waking",
        )),
    }
}
