//! Headers of every answer that keep browsers from doing what an API never asks for.
//!
//! What is no HTTP at all (a broken request line, a head too large) is answered by the framework
//! before any of this runs, without a body.

use actix_web::{
    dev::ServiceRequest,
    http::header::{self, HeaderMap, HeaderName, HeaderValue},
};

use super::request::is_under;

/// Paths with the pages of the API documentation, which load scripts and styles.
const DOCS: &str = "/docs";

/// What the pages of the documentation may do: load what this server has.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; \
     style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
     frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// What every other answer may do: nothing.
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// A year, as is usual. Subdomains are not this server's business.
const STRICT_TRANSPORT: &str = "max-age=31536000";

/// What the answer to a request is seen as.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    docs: bool,
    tls: bool,
}

impl Kind {
    pub(super) fn of(request: &ServiceRequest) -> Self {
        let (docs, tls) = (is_under(request.path(), DOCS), request.app_config().secure());
        Self { docs, tls }
    }

    /// An error that no page of the documentation is.
    pub(super) const fn error(self) -> Self {
        Self { docs: false, ..self }
    }

    pub(super) fn set(self, headers: &mut HeaderMap) {
        let mut set =
            |name: HeaderName, value| headers.insert(name, HeaderValue::from_static(value));
        set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        set(header::X_FRAME_OPTIONS, "DENY");
        set(header::REFERRER_POLICY, "no-referrer");
        set(header::CONTENT_SECURITY_POLICY, if self.docs { DOCS_POLICY } else { POLICY });
        set(header::CACHE_CONTROL, "no-store");
        if self.tls {
            set(header::STRICT_TRANSPORT_SECURITY, STRICT_TRANSPORT);
        }
    }
}
