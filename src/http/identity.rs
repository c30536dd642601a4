//! The identity of a request's caller, as the middleware
//! `authentication` has established it.

use std::sync::Arc;

use actix_web::{HttpMessage, http::header::HeaderName};

use super::{Code, Problem};
use crate::auth::{Principal, Reason};

/// The header of API keys.
pub const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// One detail for every reason: an attacker must not learn how close a guess was.
const DETAIL: &str = "no valid credential; send `Authorization: Bearer <token>` or `X-API-Key: \
     <key>` from this server's operator (if the server runs in mode dev, `mlsdm token` creates a \
     token)";

/// The identity of a caller.
#[derive(Clone, Debug)]
pub enum Identity {
    /// The credential is valid, or the server needs none.
    Authenticated(Arc<Principal>),
    /// The request has no credential.
    Anonymous,
    /// The credential is not valid.
    Rejected(Reason),
}

impl Identity {
    /// The identity in the extensions of a request.
    pub fn of(request: &impl HttpMessage) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or(Self::Anonymous)
    }

    /// The principal, or a 401.
    pub fn authenticated(self) -> Result<Arc<Principal>, Problem> {
        let challenge = match self {
            Self::Authenticated(principal) => return Ok(principal),
            Self::Anonymous => "Bearer realm=\"mlsdm\"",
            Self::Rejected(_) => "Bearer realm=\"mlsdm\", error=\"invalid_token\"",
        };
        Err(Problem::new(Code::Unauthenticated, DETAIL).challenge(challenge))
    }
}
