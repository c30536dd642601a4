//! Which other origins' pages may call the API: those of `api.cors_origins`, exactly.
//!
//! Cookies and client certificates are never allowed along (no `Access-Control-Allow-Credentials`): a
//! page that may call must send a token of its own, so that a visitor's browser lends it nothing. A
//! page that is not listed gets an answer its browser does not show it.

use actix_cors::{Cors, CorsError};
use actix_web::{HttpResponse, http::Method, middleware::Condition};

use super::{Code, Problem};

/// Every origin, where that is spelled out.
const ANY: &str = "*";

/// How long a browser may remember a permission, in seconds.
const MAX_AGE: usize = 600;

/// The middleware for these origins; none for none.
pub(super) fn cors(origins: &[String]) -> Condition<Cors> {
    let methods =
        [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let cors = Cors::default()
        .allowed_methods(methods)
        // clients send headers of their own; without credentials none of them is a privilege
        .allow_any_header()
        .expose_any_header()
        .max_age(MAX_AGE);
    let cors = if origins.iter().any(|origin| origin == ANY) {
        cors.allow_any_origin().send_wildcard()
    } else {
        origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
    };
    Condition::new(!origins.is_empty(), cors)
}

/// The problem that a refusal of the middleware is.
pub(super) fn refusal<B>(response: &HttpResponse<B>) -> Option<Problem> {
    response.error()?.as_error::<CorsError>()?;
    let detail = "pages of this origin may not call this way; api.cors_origins lists who may";
    Some(Problem::new(Code::OriginNotAllowed, detail))
}
