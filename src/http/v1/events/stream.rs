//! GET /v1/events/stream: the log as server-sent events.
//!
//! Pulled by the connection, so a slow reader costs one page and nothing queues up. The stream ends
//! when the server stops, when the engine is unloaded and on a fault of the log: who reads on sends
//! `Last-Event-ID` (browsers do it by themselves) and misses nothing.

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
        AppState, Code, Problem,
        access::{Allowed, may},
        caller::Loaded,
        problem::ProblemBody,
    },
    lifecycle::Stop,
    store::writer::View,
};

/// Streams served at once; one more gets 503.
pub const STREAMS_MAX: usize = 64;
/// Most events sent at once.
const PAGE: usize = 100;
/// A comment is sent after so long a silence, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Where the reader stopped last time.
const LAST_EVENT_ID: &str = "last-event-id";

/// From where on.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct From {
    /// Only events after this position; the header `Last-Event-ID` counts more.
    #[serde(default)]
    after: Position,
}

/// The log from a position on, and what is appended from now on.
#[utoipa::path(
    get,
    path = "/v1/events/stream",
    tag = "audit",
    params(From, ("Last-Event-ID" = Option<u64>, Header, description = "The last position read")),
    responses(
        (status = 200, description = "Server-sent events: `id` is the position, `data` an event in one line of JSON", body = crate::http::stream::StreamEvent, content_type = "text/event-stream"),
        (status = 400, description = "Bad query or header (E110, E112)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "No such engine (E408)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Too many streams (E704), or the log is unavailable or damaged (E4xx)", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    _: Allowed<may::AuditRead>,
    state: Data<AppState>,
    request: HttpRequest,
    from: Query<From>,
    engine: Loaded<may::AuditRead>,
) -> Result<HttpResponse, Problem> {
    let after = last_event_id(&request)?.unwrap_or(from.after);
    let Ok(permit) = Arc::clone(&state.streams).try_acquire_owned() else {
        let detail = format!("{STREAMS_MAX} streams are open; close one, or read pages");
        return Err(Problem::new(Code::OverConcurrency, detail));
    };
    let reader = Reader {
        engine: Arc::downgrade(&engine.0),
        views: engine.0.views(),
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
    let bad = || Problem::new(Code::BadHeader, "Last-Event-ID must be a position of the log");
    position.map(Some).ok_or_else(bad)
}

/// One stream's place in a log.
struct Reader {
    /// Weak: a stream does not keep an engine in memory.
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
            // before the read, so that what is published during it is not missed
            self.views.mark_unchanged();
            match self.page().await? {
                Ok(events) if events.is_empty() => {}
                Ok(events) => {
                    let frames = events.iter().map(frame).collect::<Option<String>>()?;
                    self.after = events.last()?.position;
                    return Some(frames.into());
                }
                Err(error) => {
                    tracing::warn!(%error, "a stream of events ends");
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

/// One event of the stream. A line break in JSON is white space, and would end the field.
fn frame(event: &EventReport) -> Option<String> {
    let data = serde_json::to_string(event).ok()?.replace(['\r', '\n'], " ");
    Some(format!("id: {}\ndata: {data}\n\n", event.position))
}
