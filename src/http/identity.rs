//! Who is asking: found out once a request, before its body is read.
//!
//! The outcome waits in the request's extensions. A bad credential is no error here: public routes
//! answer all the same, and what is to be said of it is said by the routes that demand somebody
//! ([`access`](super::access)).

use std::{sync::Arc, time::Instant};

use actix_web::{
    Error, HttpMessage,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::header::{self, HeaderMap, HeaderName},
    middleware::Next,
    web,
};
use tracing::{Instrument as _, Span, field::Empty, info_span};

use super::{AppState, Code, Problem, request::is_probe};
use crate::{
    auth::{Authenticator, Credential, Principal, Reason, metrics::Scheme},
    telemetry::traces::TARGET,
    tls::ClientCertificate,
};

/// The header of API keys.
pub const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The scheme of tokens and keys in `Authorization`.
const SCHEME: &str = "Bearer";

/// What every caller is told who is not let in, whatever the reason.
const DETAIL: &str = "send a valid `Authorization: Bearer` token, or an API key as `X-API-Key`, as \
     this server's operator gives out; on a server of your own in mode dev, `mlsdm token` makes one";

/// Who a request is from.
#[derive(Clone, Debug)]
pub enum Identity {
    /// Somebody known.
    Known(Arc<Principal>),
    /// Somebody who offers nothing to tell by.
    Nobody,
    /// Somebody who offers what does not count.
    Refused(Reason),
}

impl Identity {
    /// Who a request is from.
    pub fn of(request: &impl HttpMessage) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or(Self::Nobody)
    }

    /// Tells a span what was found out, but not who it is.
    fn tell(&self, span: &Span) {
        let outcome = match self {
            Self::Known(_) => "known",
            Self::Nobody => "nobody",
            Self::Refused(reason) => {
                span.record("mlsdm.auth.reason", tracing::field::display(reason));
                "refused"
            }
        };
        span.record("mlsdm.auth.outcome", outcome);
    }

    /// The principal, or the one answer there is for everybody else.
    pub fn known(self) -> Result<Arc<Principal>, Problem> {
        let challenge = match self {
            Self::Known(principal) => return Ok(principal),
            Self::Nobody => "Bearer realm=\"mlsdm\"",
            Self::Refused(_) => "Bearer realm=\"mlsdm\", error=\"invalid_token\"",
        };
        Err(Problem::new(Code::Unauthenticated, DETAIL).challenge(challenge))
    }
}

/// Finds out who is asking. Probes are not asked: they are answered whatever they offer.
pub async fn identify<B: MessageBody + 'static>(
    state: web::Data<AppState>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    if !is_probe(request.path()) {
        let began = Instant::now();
        let span = info_span!(
            target: TARGET, "mlsdm.authenticate", mlsdm.auth.outcome = Empty, mlsdm.auth.reason = Empty
        );
        let identity = identity(&state.auth, &request).instrument(span.clone()).await;
        identity.tell(&span);
        drop(span);
        state.engines.parts().metrics.steps.overhead.authn.observe_time(began.elapsed());
        if let Identity::Refused(reason) = &identity {
            state.metrics.auth.refused(scheme(request.headers()), *reason);
            tracing::info!(event_type = "auth.refused", %reason, "a credential is refused");
        }
        request.extensions_mut().insert(identity);
    }
    next.call(request).await
}

/// By what a credential is offered, for metrics.
fn scheme(headers: &HeaderMap) -> Scheme {
    match (headers.get(header::AUTHORIZATION), headers.get(API_KEY)) {
        (Some(_), None) => Scheme::Bearer,
        (None, Some(_)) => Scheme::ApiKey,
        (Some(_), Some(_)) | (None, None) => Scheme::Other,
    }
}

async fn identity(auth: &Authenticator, request: &ServiceRequest) -> Identity {
    if let Some(anonymous) = auth.anonymous() {
        return Identity::Known(Arc::clone(anonymous));
    }
    let credential = match credential(request.headers()) {
        Ok(Some(credential)) => credential,
        Ok(None) => return certified(auth, request).map_or(Identity::Nobody, Identity::Known),
        Err(reason) => return Identity::Refused(reason),
    };
    match auth.authenticate(credential).await {
        Ok(principal) => Identity::Known(principal),
        Err(reason) => Identity::Refused(reason),
    }
}

/// Who a connection's certificate says it is: what a request itself says comes before it.
fn certified(auth: &Authenticator, request: &ServiceRequest) -> Option<Arc<Principal>> {
    auth.certified(request.conn_data::<ClientCertificate>()?)
}

/// The one credential of a request. Never the query's: addresses end up in logs.
fn credential(headers: &HeaderMap) -> Result<Option<Credential<'_>>, Reason> {
    let text = |name: &HeaderName| {
        let mut values = headers.get_all(name);
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Reason::TwoCredentials);
        }
        value.to_str().map(Some).map_err(|_| Reason::Scheme)
    };
    match (text(&header::AUTHORIZATION)?, text(&API_KEY)?) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(Reason::TwoCredentials),
        (None, Some(key)) => Ok(Some(Credential::ApiKey(key.trim()))),
        (Some(value), None) => {
            let (scheme, rest) = value.trim().split_once(' ').ok_or(Reason::Scheme)?;
            let bearer = scheme.eq_ignore_ascii_case(SCHEME);
            bearer.then(|| Some(Credential::Bearer(rest.trim()))).ok_or(Reason::Scheme)
        }
    }
}
