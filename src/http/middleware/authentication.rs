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

/// The one credential of a request. Never read from the query, because URLs end up in logs. Some clients
/// send the same secret in both headers.
fn credential(headers: &HeaderMap) -> Result<Option<Credential<'_>>, Reason> {
    let text = |name: &HeaderName| {
        let mut values = headers.get_all(name);
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Reason::TwoCredentials);
        }
        value.to_str().map(|text| Some(text.trim())).map_err(|_| Reason::Scheme)
    };
    let bearer = text(&header::AUTHORIZATION)?.map(bearer).transpose()?;
    match (bearer, text(&API_KEY)?) {
        (None, None) => Ok(None),
        (None, Some(key)) => Ok(Some(Credential::ApiKey(key))),
        (Some(bearer), key) if key.is_none_or(|key| key == bearer) => {
            Ok(Some(Credential::Bearer(bearer)))
        }
        (Some(_), _) => Err(Reason::TwoCredentials),
    }
}

/// The token or API key in a value of `Authorization`.
fn bearer(value: &str) -> Result<&str, Reason> {
    let (scheme, rest) = value.split_once(' ').ok_or(Reason::Scheme)?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| rest.trim()).ok_or(Reason::Scheme)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(HeaderName, &'static str)]) -> Result<Option<String>, Reason> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.clone(), header::HeaderValue::from_static(value));
        }
        let found = credential(&headers)?;
        Ok(found.map(|found| match found {
            Credential::Bearer(text) => format!("bearer {text}"),
            Credential::ApiKey(text) => format!("key {text}"),
        }))
    }

    #[test]
    fn the_same_secret_in_both_headers_is_one_credential() {
        let (bearer, key) = (header::AUTHORIZATION, API_KEY);
        let found = read(&[(bearer.clone(), "Bearer k"), (key.clone(), " k ")]);
        assert_eq!(found, Ok(Some("bearer k".to_owned())));
        let two = read(&[(bearer.clone(), "Bearer k"), (key.clone(), "other")]);
        assert_eq!(two, Err(Reason::TwoCredentials));
        let twice = read(&[(key.clone(), "k"), (key.clone(), "k")]);
        assert_eq!(twice, Err(Reason::TwoCredentials), "a header occurs once");
        let basic = read(&[(bearer, "Basic k"), (key.clone(), "k")]);
        assert_eq!(basic, Err(Reason::Scheme));
        assert_eq!(read(&[(key, "k")]), Ok(Some("key k".to_owned())));
        assert_eq!(read(&[]), Ok(None));
    }
}
