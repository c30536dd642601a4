//! Allows pages of the origins in `api.cors_origins` to call the API.
//!
//! `Access-Control-Allow-Credentials` is never sent: a page must send a token of its own and cannot
//! use cookies or the client certificate of its visitor. Requests from other origins are answered,
//! but browsers do not show the answer to the page.

use actix_cors::{Cors, CorsError};
use actix_web::{HttpResponse, http::Method, middleware::Condition};

use crate::http::{Code, Problem};

/// The configuration value for all origins.
const ANY: &str = "*";

/// Time for which browsers may cache a preflight response, in seconds.
const MAX_AGE: usize = 600;

/// The middleware for these origins; disabled if there are none.
pub(in crate::http) fn cors(origins: &[String]) -> Condition<Cors> {
    let methods =
        [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let cors = Cors::default()
        .allowed_methods(methods)
        // clients send headers of their own; without credentials no header grants a privilege
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

/// The problem for a preflight request that the middleware has rejected.
pub(super) fn problem<B>(response: &HttpResponse<B>) -> Option<Problem> {
    response.error()?.as_error::<CorsError>()?;
    let detail = "pages of this origin may not make this request; add the origin to \
                  api.cors_origins to allow it";
    Some(Problem::new(Code::OriginNotAllowed, detail))
}
