//! GET /v1/events, GET /v1/events/{position}

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
        access::{Allowed, may},
        caller::Loaded,
        parameters::{bad, micros},
        problem::ProblemBody,
    },
};

/// Events of a page, when the caller names no number.
const PAGE_DEFAULT: usize = 100;

/// Which events.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Only events after this position.
    #[serde(default)]
    after: Position,
    /// At most this many, 1 to 500; 100 without.
    limit: Option<usize>,
    /// Of this type, e.g. `step.admitted`.
    r#type: Option<String>,
    /// Of this data subject, by name.
    subject: Option<String>,
    /// Of this step.
    step: Option<u64>,
    /// Of this request.
    request_id: Option<String>,
    /// Of this trace, 32 hexadecimal digits.
    trace_id: Option<String>,
    /// Recorded at or after this time, RFC 3339.
    from: Option<String>,
    /// Recorded before this time, RFC 3339.
    to: Option<String>,
}

/// A page of an engine's log, without contents. A rare filter may give a short page with a `next`.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "audit",
    params(Wanted),
    responses(
        (status = 200, description = "The page", body = EventPage),
        (status = 400, description = "Bad query (E110)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "No such engine (E408)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The log is unavailable or damaged (E4xx)", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    _: Allowed<may::AuditRead>,
    wanted: Query<Wanted>,
    engine: Loaded<may::AuditRead>,
) -> Result<Json<EventPage>, Problem> {
    let wanted = wanted.into_inner();
    let limit = wanted.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(bad("limit", &format!("between 1 and {PAGE_MAX}")));
    }
    let after = wanted.after;
    let filter = wanted.filter()?;
    Ok(Json(engine.0.events(&filter, after, limit).await?))
}

/// One event.
#[utoipa::path(
    get,
    path = "/v1/events/{position}",
    tag = "audit",
    params(("position" = u64, Path, description = "Its place in the log, from 1")),
    responses(
        (status = 200, description = "The event", body = EventReport),
        (status = 400, description = "Not a position (E110)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "No such engine or event (E408, E410)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The log is unavailable or damaged (E4xx)", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    _: Allowed<may::AuditRead>,
    request: HttpRequest,
    engine: Loaded<may::AuditRead>,
) -> Result<Json<EventReport>, Problem> {
    let position = request.match_info().query("position").parse();
    let position: i64 = position.map_err(|_| bad("position", "a whole number"))?;
    let position = u64::try_from(position).map_err(|_| bad("position", "a whole number"))?;
    Ok(Json(engine.0.event(position).await?))
}

impl Wanted {
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
