//! `GET /v1/events/stream`: the event log of an engine as server-sent events.
//!
//! The connection pulls the events, so a slow client costs one page of memory. The stream ends when the
//! server stops, when the engine is unloaded, and when the log cannot be read. A client continues with
//! `Last-Event-ID`, which browsers send by themselves, and misses no event.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header,
    web::{Bytes, Data, Query},
};
use futures_util::stream::unfold;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, watch};
use utoipa::IntoParams;

use crate::{
    domain::ids::Position,
    engine::{Engine, EngineError, EventFilter, EventReport},
    http::{
        AppState, Code, Problem, access::permission, engine::EngineCall,
        problem::responses::EventStreamProblems, state::STREAMS_MAX,
    },
    lifecycle::Stop,
    store::writer::View,
};

/// Events read at once.
const PAGE: usize = 100;
/// Idle time after which a comment is sent, so that proxies keep the connection open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The header with the position of the last event that the client has read.
const LAST_EVENT_ID: &str = "last-event-id";

/// The start of the stream.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct From {
    /// Only events after this position. The header `Last-Event-ID` has priority.
    #[serde(default)]
    after: Position,
}

/// Stream events.
///
/// Sends the engine's events after a position, then new events as they are appended, without prompts and
/// answers.
#[utoipa::path(
    get,
    path = "/v1/events/stream",
    tag = "audit",
    params(From, ("Last-Event-ID" = Option<u64>, Header, description = "Position of the last event that the client has read")),
    responses(
        (status = 200, description = "Server-sent events: `id` is the position, `data` is the event as one line of JSON", body = crate::http::stream::StreamEvent, content_type = "text/event-stream"),
        EventStreamProblems,
    )
)]
pub async fn get(
    call: EngineCall<permission::AuditRead>,
    state: Data<AppState>,
    request: HttpRequest,
    from: Query<From>,
) -> Result<HttpResponse, Problem> {
    let after = last_event_id(&request)?.unwrap_or(from.after);
    let Ok(permit) = Arc::clone(&state.streams).try_acquire_owned() else {
        let detail =
            format!("{STREAMS_MAX} event streams are open; close one, or use GET /v1/events");
        return Err(Problem::new(Code::OverConcurrency, detail));
    };
    let reader = Reader {
        engine: Arc::downgrade(&call.engine),
        views: call.engine.views(),
        stop: state.stop.clone(),
        after,
        _permit: permit,
    };
    let chunks = unfold(reader, |mut reader| async {
        let chunk = reader.next().await?;
        Some((Ok::<_, actix_web::Error>(chunk), reader))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header(("X-Accel-Buffering", "no"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .streaming(chunks))
}

fn last_event_id(request: &HttpRequest) -> Result<Option<Position>, Problem> {
    let Some(value) = request.headers().get(LAST_EVENT_ID) else { return Ok(None) };
    let position = value.to_str().ok().and_then(|text| text.parse().ok());
    let bad = || Problem::new(Code::BadHeader, "Last-Event-ID must be a position in the event log");
    position.map(Some).ok_or_else(bad)
}

/// The state of one stream.
struct Reader {
    /// Weak, so that a stream does not keep its engine loaded.
    engine: Weak<Engine>,
    views: watch::Receiver<Arc<View>>,
    stop: Stop,
    after: Position,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    /// The next bytes; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            // before the read, so that an event published during it is not missed
            self.views.mark_unchanged();
            match self.page().await? {
                Ok(events) if events.is_empty() => {}
                Ok(events) => {
                    let frames = events.iter().map(frame).collect::<Option<String>>()?;
                    self.after = events.last()?.position;
                    return Some(frames.into());
                }
                Err(error) => {
                    tracing::warn!(%error, "the event stream ends because the event log cannot be read");
                    return None;
                }
            }
            tokio::select! {
                changed = self.views.changed() => changed.ok()?,
                () = self.stop.soft() => return None,
                () = tokio::time::sleep(KEEP_ALIVE) => return Some(Bytes::from_static(b":\n\n")),
            }
        }
    }

    async fn page(&self) -> Option<Result<Vec<EventReport>, EngineError>> {
        if self.stop.is_soft() {
            return None;
        }
        let engine = self.engine.upgrade()?;
        let page = engine.events(&EventFilter::default(), self.after, PAGE).await;
        Some(page.map(|page| page.events))
    }
}

/// An event of the stream. Line breaks in the JSON are white space, but would end the field `data`.
fn frame(event: &EventReport) -> Option<String> {
    let data = serde_json::to_string(event).ok()?.replace(['\r', '\n'], " ");
    Some(format!("id: {}\ndata: {data}\n\n", event.position))
}
