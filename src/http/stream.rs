//! The answer of a step as server-sent events, in the dialect of the route.
//!
//! The response head is sent when the provider has begun to answer: a request that is rejected or fails
//! earlier gets a plain error with its own status. A provider that is silent for longer than
//! `api.stream_headers_after` gets no say in the status: the head is sent as 200. A later failure is an
//! event of the stream. The closing event is sent only after the step's outcome is in the event log;
//! without it the answer is incomplete. The connection pulls the pieces, so a slow client slows down the
//! model, and a client that disconnects cancels the step.

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::header,
    web::{Bytes, Data},
};
use futures_util::{StreamExt as _, stream::unfold};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};
use utoipa::ToSchema;

use super::{
    AppState, Problem,
    access_log::{self, StreamOutcome},
    draining::draining,
    governance, time_limit,
};
use crate::{
    engine::{Answer, Caller, Engine, StepError, StepHandle, StepRequest, StepResponse},
    lifecycle::Stop,
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
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The comment.
const COMMENT: &str = ": keep-alive\n\n";

/// The last event of a complete stream in the dialect of `OpenAI`.
pub const DONE: &str = "data: [DONE]\n\n";

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
    mut dialect: impl Dialect,
) -> Result<HttpResponse, Problem> {
    let (sender, pieces) = mpsc::channel(DELTAS_MAX);
    dialect.begin(&caller.id);
    time_limit::lift();
    let step = engine.start(&state.tasks, caller, request, Some(sender));
    let mut running = RunningStep { step, pieces, stop: state.stop.clone() };
    let opening = match timeout(state.stream_headers_after, running.next()).await {
        Err(_) => COMMENT.to_owned(),
        Ok(Progress::Pieces(first)) => frames(&first, &mut dialect),
        Ok(Progress::Finished(response)) => {
            let response = (*response)?;
            let rejection = dialect.rejection(&response.answer);
            return rejection.map_or_else(|| Ok(unstreamed(&response, dialect)), Err);
        }
        Ok(Progress::Drained) => return Err(draining()),
    };
    Ok(streamed(running, opening, dialect))
}

/// A running step and the pieces of its answer.
struct RunningStep {
    step: StepHandle,
    pieces: mpsc::Receiver<Delta>,
    stop: Stop,
}

enum Progress {
    /// At least one piece.
    Pieces(Vec<Delta>),
    Finished(Box<Result<StepResponse, StepError>>),
    /// The server stops and waits no longer.
    Drained,
}

impl RunningStep {
    /// All pieces that have arrived, or the outcome after the last piece. Cancel safe.
    async fn next(&mut self) -> Progress {
        let Self { step, pieces, stop } = self;
        let next = async {
            let mut arrived = Vec::new();
            let count = tokio::select! {
                biased;
                count = pieces.recv_many(&mut arrived, DELTAS_MAX) => count,
                error = step.overdue() => return Progress::Finished(Box::new(Err(error))),
            };
            match count {
                0 => Progress::Finished(Box::new(step.response().await)),
                _ => Progress::Pieces(arrived),
            }
        };
        tokio::select! {
            biased;
            next = next => next,
            () = stop.drained() => Progress::Drained,
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

fn streamed(running: RunningStep, opening: String, dialect: impl Dialect) -> HttpResponse {
    let opening = futures_util::stream::once(std::future::ready(Ok(Bytes::from(opening))));
    let outcome = StreamOutcome::default();
    let open = OpenStream { running, dialect, outcome: outcome.clone() };
    let rest = unfold(Some(open), |open| async {
        let mut open = open?;
        let (frames, is_open) = open.next().await;
        Some((Ok::<_, actix_web::Error>(Bytes::from(frames)), is_open.then_some(open)))
    });
    let mut response = event_stream().streaming(opening.chain(rest));
    response.extensions_mut().insert(outcome);
    response
}

/// A stream whose head was sent.
struct OpenStream<D> {
    running: RunningStep,
    dialect: D,
    outcome: StreamOutcome,
}

impl<D: Dialect> OpenStream<D> {
    /// The next frames, and whether the stream goes on. A piece without a frame does not delay the
    /// comment that keeps the connection open.
    async fn next(&mut self) -> (String, bool) {
        let silent_until = Instant::now() + KEEP_ALIVE;
        loop {
            match timeout_at(silent_until, self.running.next()).await {
                Err(_) => return (COMMENT.to_owned(), true),
                Ok(Progress::Pieces(pieces)) => {
                    let frames = frames(&pieces, &mut self.dialect);
                    if !frames.is_empty() {
                        return (frames, true);
                    }
                }
                Ok(Progress::Finished(result)) => return (self.last(*result), false),
                Ok(Progress::Drained) => return (self.fail(draining()), false),
            }
        }
    }

    fn last(&mut self, result: Result<StepResponse, StepError>) -> String {
        let step = match result {
            Ok(step) => step,
            Err(error) => return self.fail(error.into()),
        };
        if let Some(problem) = self.dialect.rejection(&step.answer) {
            return self.fail(problem);
        }
        self.outcome.set(Ok((&step.answer).into()));
        let mut last = String::new();
        // the pieces of an earlier step were not streamed to this client
        if step.replayed {
            self.dialect.begin(&step.answer.id);
            last = frames(&pieces(&step.answer, &self.dialect), &mut self.dialect);
        }
        last + &self.dialect.end(&step.answer)
    }

    fn fail(&mut self, problem: Problem) -> String {
        let frames = self.dialect.fail(&problem);
        self.outcome.set(Err(problem));
        frames
    }
}

/// A frame with an event name.
pub fn named(event: &str, data: &impl serde::Serialize) -> String {
    written(format!("event: {event}\ndata: "), data)
}

/// A frame without an event name.
pub fn data_only(data: &impl serde::Serialize) -> String {
    written("data: ".to_owned(), data)
}

fn written(start: String, data: &impl serde::Serialize) -> String {
    let mut frame = start.into_bytes();
    // plain structs always serialise, and serde_json writes UTF-8 without line breaks
    serde_json::to_writer(&mut frame, data).ok();
    frame.extend_from_slice(b"\n\n");
    String::from_utf8(frame).unwrap_or_default()
}
