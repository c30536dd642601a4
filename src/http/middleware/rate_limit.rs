//! Limits the rate of requests per caller. Health probes are exempt.
//!
//! Every limited response has `RateLimit-*` headers. Deliberately not here: the token buckets
//! ([`crate::rates`]).

use actix_web::{
    Error, HttpMessage as _, ResponseError as _,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header::{HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
    web,
};

use crate::{
    auth::Method,
    http::{
        AppState, Code, Problem, client::Proxies, identity::Identity, paths::is_probe,
        problem::whole_seconds,
    },
    rates::{Allowance, BucketKey, Rate, Rates},
};

/// Size of the bucket: the most requests that can be granted at once.
const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
/// Requests that would be granted now.
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
/// Seconds until the bucket is full again.
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
/// The sustained rate: `100;w=60;burst=20`.
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Takes a token from the caller's bucket, or rejects the request with 429.
pub(in crate::http) async fn rate_limit<B: MessageBody + 'static>(
    state: web::Data<AppState>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let rates = state.rates.as_ref().filter(|_| !is_probe(request.path()));
    let Some(rates) = rates else {
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    };
    let (key, rate) = bucket(&request, &state.proxies, rates);
    let (mut response, allowance) = match rates.take(&key, rate) {
        Ok(allowance) => {
            request.extensions_mut().insert(allowance);
            (next.call(request).await?.map_into_boxed_body(), allowance)
        }
        Err(rejected) => {
            state.metrics.rate_limited.inc();
            let detail = "the rate limit is exceeded; wait for the seconds in Retry-After, or ask \
                          the operator for a higher limit";
            let problem = Problem::new(Code::TooManyRequests, detail);
            let problem = problem.retry_after(whole_seconds(rejected.retry_after));
            (request.into_response(problem.error_response()), rejected.allowance)
        }
    };
    set_headers(response.headers_mut(), &allowance);
    Ok(response)
}

/// The bucket of a request and its rate. Callers without a valid credential share the bucket of
/// their address.
fn bucket(request: &ServiceRequest, proxies: &Proxies, rates: &Rates) -> (BucketKey, Rate) {
    match Identity::of(request) {
        Identity::Authenticated(principal) if principal.method != Method::None => {
            let of_roles = || rates.for_roles(principal.roles.iter().map(String::as_str));
            let rate = principal.rate.unwrap_or_else(of_roles);
            (BucketKey::Actor(principal.subject.clone()), rate)
        }
        Identity::Authenticated(_) | Identity::Anonymous | Identity::Rejected(_) => {
            (BucketKey::address(proxies.client(request.head())), rates.for_roles([]))
        }
    }
}

fn set_headers(headers: &mut HeaderMap, allowance: &Allowance) {
    let (rate, burst) = (&allowance.rate, allowance.rate.burst);
    let reset = if allowance.reset.is_zero() { 0 } else { whole_seconds(allowance.reset) };
    headers.insert(LIMIT, burst.get().into());
    headers.insert(REMAINING, allowance.remaining.into());
    headers.insert(RESET, reset.into());
    let policy = format!("{};w={};burst={burst}", rate.requests, rate.window.as_secs());
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(POLICY, policy);
    }
}
