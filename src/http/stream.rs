//! A step's answer as server-sent events, whatever dialect they are written in.
//!
//! Nothing is sent before there is something to say: a request that is refused or fails before the
//! first piece gets a plain error with its own status. After that a failure is an event of the stream.
//! The closing event is made of the recorded outcome, so it is sent only after the step's ending is in
//! the log; without it the answer is incomplete. The connection pulls: a slow reader slows the model
//! down, a reader who goes away cancels the step.

use std::time::Duration;

use actix_web::{
    HttpResponse,
    http::header,
    web::{Bytes, Data},
};
use futures_util::{StreamExt as _, stream::unfold};
use tokio::{sync::mpsc, time::timeout};
use utoipa::ToSchema;

use super::{
    AppState, Problem, governance,
    line::{self, Ending},
};
use crate::{
    engine::{Answer, Caller, Engine, StepError, StepHandle, StepRequest, StepResponse},
    llm::{DELTAS_MAX, Delta},
};

/// One server-sent event.
#[derive(ToSchema)]
pub struct StreamEvent {
    /// The position of an event of the log.
    pub id: Option<String>,
    /// Its name, in dialects whose events have one.
    pub event: Option<String>,
    /// One line: JSON, or `[DONE]` where the dialect ends with it.
    pub data: String,
}

/// A comment is sent after so long a silence, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How a dialect writes a stream. Each function gives whole frames.
pub trait Dialect: 'static {
    /// What comes before everything else.
    fn begin(&mut self) -> String;
    /// A piece of the answer.
    fn piece(&mut self, piece: &Delta) -> String;
    /// The recorded answer; its text has been sent.
    fn end(&mut self, answer: &Answer) -> String;
    /// The error a refused request gets, where a refusal is no answer.
    fn refused(&self, _answer: &Answer) -> Option<Problem> {
        None
    }
    /// A failure after the stream had begun.
    fn fail(&mut self, problem: &Problem) -> String;
}

/// Runs a step and streams its answer.
pub async fn step(
    state: &Data<AppState>,
    engine: std::sync::Arc<Engine>,
    caller: Caller,
    request: StepRequest,
    dialect: impl Dialect,
) -> Result<HttpResponse, Problem> {
    let (sender, pieces) = mpsc::channel(DELTAS_MAX);
    let started = engine.start(&state.tasks, caller, request, Some(sender));
    let mut live = Live { started, pieces };
    match live.next().await {
        Moment::Pieces(first) => Ok(streamed(live, &first, dialect)),
        Moment::Told(told) => {
            let told = (*told)?;
            dialect.refused(&told.answer).map_or_else(|| Ok(at_once(&told, dialect)), Err)
        }
    }
}

/// A step under way.
struct Live {
    started: StepHandle,
    pieces: mpsc::Receiver<Delta>,
}

enum Moment {
    /// One or more.
    Pieces(Vec<Delta>),
    Told(Box<Result<StepResponse, StepError>>),
}

impl Live {
    /// The pieces that are there, or after the last one the outcome: pieces that came faster than
    /// they could be sent go together. May be dropped and called again.
    async fn next(&mut self) -> Moment {
        let mut pieces = Vec::new();
        match self.pieces.recv_many(&mut pieces, DELTAS_MAX).await {
            0 => Moment::Told(Box::new(self.started.response().await)),
            _ => Moment::Pieces(pieces),
        }
    }
}

fn response() -> actix_web::HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        .content_type("text/event-stream")
        .insert_header(("X-Accel-Buffering", "no"))
        .insert_header((header::CACHE_CONTROL, "no-store"));
    response
}

/// An answer without pieces: the request was refused, or is told what it was told before.
fn at_once(told: &StepResponse, mut dialect: impl Dialect) -> HttpResponse {
    let mut body = dialect.begin();
    body.push_str(&written(&pieces(&told.answer), &mut dialect));
    body.push_str(&dialect.end(&told.answer));
    let mut response = response();
    governance::replayed(&mut response, told);
    let mut response = response.body(body);
    line::note(&mut response, &told.answer);
    response
}

/// A whole answer as pieces.
fn pieces(answer: &Answer) -> Vec<Delta> {
    let text = Some(&answer.response).filter(|text| !text.is_empty());
    let text = text.map(|text| Delta::Text(text.clone()));
    let calls = answer.tool_calls.iter().enumerate().map(|(index, call)| Delta::ToolCall {
        index,
        id: Some(call.id.clone()),
        name: Some(call.name.clone()),
        arguments: call.arguments.clone(),
    });
    text.into_iter().chain(calls).collect()
}

fn written(pieces: &[Delta], dialect: &mut impl Dialect) -> String {
    pieces.iter().map(|piece| dialect.piece(piece)).collect()
}

fn streamed(live: Live, first: &[Delta], mut dialect: impl Dialect) -> HttpResponse {
    let begin = dialect.begin() + &written(first, &mut dialect);
    let opening = futures_util::stream::once(std::future::ready(Ok(Bytes::from(begin))));
    let ending = Ending::default();
    let rest = unfold(Some((live, dialect, ending.clone())), |open| async {
        let (mut live, mut dialect, ending) = open?;
        let (frame, goes_on) = match timeout(KEEP_ALIVE, live.next()).await {
            Err(_) => (":\n\n".to_owned(), true),
            Ok(Moment::Pieces(pieces)) => (written(&pieces, &mut dialect), true),
            Ok(Moment::Told(told)) => (last(*told, &mut dialect, &ending), false),
        };
        let next = goes_on.then_some((live, dialect, ending));
        Some((Ok::<_, actix_web::Error>(Bytes::from(frame)), next))
    });
    let mut response = response().streaming(opening.chain(rest));
    response.extensions_mut().insert(ending);
    response
}

fn last(
    told: Result<StepResponse, StepError>,
    dialect: &mut impl Dialect,
    ending: &Ending,
) -> String {
    match told {
        Ok(told) => {
            ending.set(Ok((&told.answer).into()));
            dialect.end(&told.answer)
        }
        Err(error) => {
            let problem = Problem::from(error);
            let frame = dialect.fail(&problem);
            ending.set(Err(problem));
            frame
        }
    }
}

/// A frame with a name.
pub fn named(event: &str, data: &impl serde::Serialize) -> String {
    format!("event: {event}\n{}", data_only(data))
}

/// A frame without a name.
pub fn data_only(data: &impl serde::Serialize) -> String {
    // plain structures always have a JSON form, and it has no line breaks
    format!("data: {}\n\n", serde_json::to_string(data).unwrap_or_default())
}
