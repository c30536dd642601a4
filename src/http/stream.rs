//! The answer of a step as server-sent events, in the dialect of the route.
//!
//! The response head is sent with the first piece of the answer: a request that is rejected or fails
//! earlier gets a plain error with its own status. A later failure is an event of the stream. The
//! closing event is sent only after the step's outcome is in the event log; without it the answer is
//! incomplete. The connection pulls the pieces, so a slow client slows down the model, and a client that
//! disconnects cancels the step.

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::header,
    web::{Bytes, Data},
};
use futures_util::{StreamExt as _, stream::unfold};
use tokio::{sync::mpsc, time::timeout};
use utoipa::ToSchema;

use super::{
    AppState, Problem,
    access_log::{self, StreamOutcome},
    governance,
};
use crate::{
    engine::{Answer, Caller, Engine, StepError, StepHandle, StepRequest, StepResponse},
    llm::{self, DELTAS_MAX, Delta},
};

/// A server-sent event.
#[derive(ToSchema)]
pub struct StreamEvent {
    /// The position of an event of the event log.
    pub id: Option<String>,
    /// The name of the event, in dialects with named events.
    pub event: Option<String>,
    /// One line: JSON, or `[DONE]` at the end of a stream in the dialect of `OpenAI`.
    pub data: String,
}

/// Idle time after which a comment is sent, so that proxies keep the connection open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Writes a stream in the dialect of a route. Each function returns complete frames.
pub trait Dialect: 'static {
    /// Called before everything else; `id` is the server's id of the request that runs the step.
    fn begin(&mut self, id: &str);
    /// A piece of the answer. The first one comes with the frames that begin a stream.
    fn piece(&mut self, piece: &Delta) -> String;
    /// The frames after the last piece, from the recorded answer.
    fn end(&mut self, answer: &Answer) -> String;
    /// The dialect, if it is one of those that providers have.
    fn dialect(&self) -> Option<llm::Dialect> {
        None
    }
    /// The error for a rejected request, if the dialect does not answer a rejection with 200.
    fn rejection(&self, _answer: &Answer) -> Option<Problem> {
        None
    }
    /// A failure after the first piece.
    fn fail(&mut self, problem: &Problem) -> String;
}

/// Runs a step and streams its answer.
pub async fn step(
    state: &Data<AppState>,
    engine: Arc<Engine>,
    caller: Caller,
    request: StepRequest,
    dialect: impl Dialect,
) -> Result<HttpResponse, Problem> {
    let (sender, pieces) = mpsc::channel(DELTAS_MAX);
    let id = caller.id.clone();
    let step = engine.start(&state.tasks, caller, request, Some(sender));
    let mut running = RunningStep { step, pieces };
    match running.next().await {
        Progress::Pieces(first) => Ok(streamed(running, &id, &first, dialect)),
        Progress::Finished(response) => {
            let response = (*response)?;
            let rejection = dialect.rejection(&response.answer);
            rejection.map_or_else(|| Ok(unstreamed(&response, dialect)), Err)
        }
    }
}

/// A running step and the pieces of its answer.
struct RunningStep {
    step: StepHandle,
    pieces: mpsc::Receiver<Delta>,
}

enum Progress {
    /// At least one piece.
    Pieces(Vec<Delta>),
    Finished(Box<Result<StepResponse, StepError>>),
}

impl RunningStep {
    /// All pieces that have arrived, or the outcome after the last piece. Cancel safe.
    async fn next(&mut self) -> Progress {
        let mut pieces = Vec::new();
        match self.pieces.recv_many(&mut pieces, DELTAS_MAX).await {
            0 => Progress::Finished(Box::new(self.step.response().await)),
            _ => Progress::Pieces(pieces),
        }
    }
}

fn event_stream() -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        .content_type("text/event-stream")
        .insert_header(("X-Accel-Buffering", "no"))
        .insert_header((header::CACHE_CONTROL, "no-store"));
    response
}

/// The stream of an answer that is already complete: a rejection, or an idempotent replay.
fn unstreamed(step: &StepResponse, mut dialect: impl Dialect) -> HttpResponse {
    dialect.begin(&step.answer.id);
    let mut body = frames(&pieces(&step.answer, &dialect), &mut dialect);
    body.push_str(&dialect.end(&step.answer));
    let mut response = event_stream();
    governance::set_replayed(&mut response, step);
    let mut response = response.body(body);
    access_log::record_step(&mut response, &step.answer);
    response
}

/// A complete answer as pieces: the provider's events if the client has the same dialect.
fn pieces(answer: &Answer, dialect: &impl Dialect) -> Vec<Delta> {
    let native = answer.native.as_ref();
    if let Some(native) = native.filter(|native| Some(native.dialect) == dialect.dialect()) {
        return native.events().into_iter().map(Delta::Native).collect();
    }
    let reasoning = Some(&answer.reasoning).filter(|text| !text.is_empty());
    let reasoning = reasoning.map(|text| Delta::Reasoning(text.clone()));
    let text = Some(&answer.response).filter(|text| !text.is_empty());
    let text = text.map(|text| Delta::Text(text.clone()));
    let calls = answer.tool_calls.iter().enumerate().map(|(index, call)| Delta::ToolCall {
        index,
        id: Some(call.id.clone()),
        name: Some(call.name.clone()),
        arguments: call.arguments.clone(),
    });
    reasoning.into_iter().chain(text).chain(calls).collect()
}

fn frames(pieces: &[Delta], dialect: &mut impl Dialect) -> String {
    pieces.iter().map(|piece| dialect.piece(piece)).collect()
}

fn streamed(
    running: RunningStep,
    id: &str,
    first: &[Delta],
    mut dialect: impl Dialect,
) -> HttpResponse {
    dialect.begin(id);
    let begin = frames(first, &mut dialect);
    let opening = futures_util::stream::once(std::future::ready(Ok(Bytes::from(begin))));
    let outcome = StreamOutcome::default();
    let rest = unfold(Some((running, dialect, outcome.clone())), |open| async {
        let (mut running, mut dialect, outcome) = open?;
        let (frame, is_open) = match timeout(KEEP_ALIVE, running.next()).await {
            Err(_) => (":\n\n".to_owned(), true),
            Ok(Progress::Pieces(pieces)) => (frames(&pieces, &mut dialect), true),
            Ok(Progress::Finished(result)) => (last_frame(*result, &mut dialect, &outcome), false),
        };
        let next = is_open.then_some((running, dialect, outcome));
        Some((Ok::<_, actix_web::Error>(Bytes::from(frame)), next))
    });
    let mut response = event_stream().streaming(opening.chain(rest));
    response.extensions_mut().insert(outcome);
    response
}

fn last_frame(
    result: Result<StepResponse, StepError>,
    dialect: &mut impl Dialect,
    outcome: &StreamOutcome,
) -> String {
    match result {
        Ok(step) => {
            outcome.set(Ok((&step.answer).into()));
            dialect.end(&step.answer)
        }
        Err(error) => {
            let problem = Problem::from(error);
            let frame = dialect.fail(&problem);
            outcome.set(Err(problem));
            frame
        }
    }
}

/// A frame with an event name.
pub fn named(event: &str, data: &impl serde::Serialize) -> String {
    format!("event: {event}\n{}", data_only(data))
}

/// A frame without an event name.
pub fn data_only(data: &impl serde::Serialize) -> String {
    // plain structs always serialise, and serde_json writes no line breaks
    format!("data: {}\n\n", serde_json::to_string(data).unwrap_or_default())
}
