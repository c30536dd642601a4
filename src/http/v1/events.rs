//! `GET /v1/events` and `/v1/events/{position}`: reads the event log of an engine.

pub mod stream;

use actix_web::{
    HttpRequest,
    web::{Json, Query},
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    domain::ids::Position,
    engine::{EventFilter, EventPage, EventReport, PAGE_MAX},
    http::{
        Problem,
        access::permission,
        engine::EngineCall,
        parameters::{bad, micros},
        problem::responses::{EventListProblems, EventProblems},
    },
};

/// Default of `limit`.
const PAGE_DEFAULT: usize = 100;

/// A filter of events.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct EventQuery {
    /// Only events after this position.
    #[serde(default)]
    #[param(example = 0)]
    after: Position,
    /// Upper bound of the events of the page, 1 to 500; default 100.
    #[param(example = 100)]
    limit: Option<usize>,
    /// Only events of this type, such as `step.admitted`.
    #[param(example = "step.admitted")]
    r#type: Option<String>,
    /// Only events of the data subject with this name.
    subject: Option<String>,
    /// Only events of this step.
    #[param(example = 1)]
    step: Option<u64>,
    /// Only events of the request with this id: the `id` of its answer. The id that a client gave in
    /// `X-Request-ID` finds only events that version 0.1 recorded; later ones have it sealed.
    request_id: Option<String>,
    /// Only events of the trace with this id, 32 hexadecimal digits.
    #[param(example = "4bf92f3577b34da6a3ce929d0e0e4736")]
    trace_id: Option<String>,
    /// Only events recorded at or after this time, RFC 3339.
    #[param(example = "2026-01-31T12:00:00Z")]
    from: Option<String>,
    /// Only events recorded before this time, RFC 3339.
    #[param(example = "2030-01-31T12:00:00Z")]
    to: Option<String>,
}

/// List events.
///
/// Returns a page of the engine's event log, without prompts and answers. A page may be shorter than
/// `limit` although more events match; `next` is the value of `after` for the next page, or null at the
/// end.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "audit",
    params(EventQuery),
    responses(
        (status = 200, description = "A page of events", body = EventPage),
        EventListProblems,
    )
)]
pub async fn list(
    call: EngineCall<permission::AuditRead>,
    query: Query<EventQuery>,
) -> Result<Json<EventPage>, Problem> {
    let query = query.into_inner();
    let limit = query.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(bad("limit", &format!("between 1 and {PAGE_MAX}")));
    }
    let after = query.after;
    let filter = query.filter()?;
    Ok(Json(call.engine.events(&filter, after, limit).await?))
}

/// Get an event.
///
/// Returns the event at a position of the engine's event log, without prompts and answers.
#[utoipa::path(
    get,
    path = "/v1/events/{position}",
    tag = "audit",
    params(("position" = u64, Path, description = "Position in the event log, from 1")),
    responses(
        (status = 200, description = "The event", body = EventReport),
        EventProblems,
    )
)]
pub async fn get(
    call: EngineCall<permission::AuditRead>,
    request: HttpRequest,
) -> Result<Json<EventReport>, Problem> {
    let position = request.match_info().query("position").parse();
    let position: i64 = position.map_err(|_| bad("position", "an integer"))?;
    let position = u64::try_from(position).map_err(|_| bad("position", "an integer"))?;
    Ok(Json(call.engine.event(position).await?))
}

impl EventQuery {
    fn filter(self) -> Result<EventFilter, Problem> {
        let trace_id = self.trace_id.map(|text| {
            let mut id = [0; 16];
            hex::decode_to_slice(&text, &mut id)
                .map(|()| id)
                .map_err(|_| bad("trace_id", "32 hexadecimal digits"))
        });
        Ok(EventFilter {
            kind: self.r#type,
            subject: self.subject,
            step: self.step,
            request_id: self.request_id,
            trace_id: trace_id.transpose()?,
            from: self.from.map(|text| micros("from", &text)).transpose()?,
            to: self.to.map(|text| micros("to", &text)).transpose()?,
        })
    }
}
