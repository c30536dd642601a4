//! Security headers of every response.
//!
//! Requests that are not valid HTTP (a malformed request line, an oversized head) never get here: the
//! framework answers them without a body.

use actix_web::{
    dev::ServiceRequest,
    http::header::{self, HeaderMap, HeaderName, HeaderValue},
};

use crate::http::paths::{DOCS, is_under};

/// Content security policy of the documentation pages: only resources of this server.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; \
     style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
     frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Content security policy of all other responses.
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// One year, without subdomains, which may belong to other servers.
const STRICT_TRANSPORT: &str = "max-age=31536000";

/// The properties of a request that its security headers depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct SecurityHeaders {
    docs: bool,
    tls: bool,
}

impl SecurityHeaders {
    pub(super) fn new(request: &ServiceRequest) -> Self {
        let (docs, tls) = (is_under(request.path(), DOCS), request.app_config().secure());
        Self { docs, tls }
    }

    /// The headers of an error response, which is never a documentation page.
    pub(super) const fn of_error(self) -> Self {
        Self { docs: false, ..self }
    }

    pub(super) fn insert_into(self, headers: &mut HeaderMap) {
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
