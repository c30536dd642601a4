//! Verifies the credential of a request, before its body is read.
//!
//! Inserts an [`Identity`] into the request's extensions. A bad credential does not end the request
//! here: public routes answer it, and the guards of [`access`](crate::http::access) reject it.

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

use crate::{
    auth::{Authenticator, Credential, Principal, Reason, metrics::Scheme},
    http::{
        AppState,
        identity::{API_KEY, Identity},
        paths::is_probe,
    },
    telemetry::traces::TARGET,
    tls::ClientCertificate,
};

/// The scheme of tokens and API keys in `Authorization`.
const SCHEME: &str = "Bearer";

/// Authenticates a request. Skips health probes, whose answers do not depend on the caller.
pub(in crate::http) async fn authentication<B: MessageBody + 'static>(
    state: web::Data<AppState>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    if !is_probe(request.path()) {
        let began = Instant::now();
        let span = info_span!(
            target: TARGET, "mlsdm.authenticate", mlsdm.auth.outcome = Empty, mlsdm.auth.reason = Empty
        );
        let identity = identify(&state.auth, &request).instrument(span.clone()).await;
        record(&span, &identity);
        drop(span);
        state.engines.parts().metrics.steps.overhead.authn.observe_time(began.elapsed());
        if let Identity::Rejected(reason) = &identity {
            state.metrics.auth.refused(scheme(request.headers()), *reason);
            tracing::info!(event_type = "auth.refused", %reason, "authentication failed");
        }
        request.extensions_mut().insert(identity);
    }
    next.call(request).await
}

/// Adds the outcome to the span, but not the caller's name.
fn record(span: &Span, identity: &Identity) {
    let outcome = match identity {
        Identity::Authenticated(_) => "known",
        Identity::Anonymous => "nobody",
        Identity::Rejected(reason) => {
            span.record("mlsdm.auth.reason", tracing::field::display(reason));
            "refused"
        }
    };
    span.record("mlsdm.auth.outcome", outcome);
}

/// The metrics label for the kind of a credential.
fn scheme(headers: &HeaderMap) -> Scheme {
    match (headers.get(header::AUTHORIZATION), headers.get(API_KEY)) {
        (Some(_), None) => Scheme::Bearer,
        (None, Some(_)) => Scheme::ApiKey,
        (Some(_), Some(_)) | (None, None) => Scheme::Other,
    }
}

async fn identify(auth: &Authenticator, request: &ServiceRequest) -> Identity {
    if let Some(anonymous) = auth.anonymous() {
        return Identity::Authenticated(Arc::clone(anonymous));
    }
    let credential = match credential(request.headers()) {
        Ok(Some(credential)) => credential,
        Ok(None) => {
            let principal = certificate_principal(auth, request);
            return principal.map_or(Identity::Anonymous, Identity::Authenticated);
        }
        Err(reason) => return Identity::Rejected(reason),
    };
    match auth.authenticate(credential).await {
        Ok(principal) => Identity::Authenticated(principal),
        Err(reason) => Identity::Rejected(reason),
    }
}

/// The principal of the connection's client certificate. A credential in the request has priority.
fn certificate_principal(auth: &Authenticator, request: &ServiceRequest) -> Option<Arc<Principal>> {
    auth.by_certificate(request.conn_data::<ClientCertificate>()?)
}

/// The one credential of a request. Never read from the query, because URLs end up in logs.
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
