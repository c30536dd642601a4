//! How often somebody may ask, on the way of each request.
//!
//! Every limited answer says what is left; a request too many gets 429 in the shape of its route and
//! costs nothing further. Probes are not limited. Deliberately not here: the buckets
//! ([`crate::rates`]).

use actix_web::{
    Error, HttpMessage as _, ResponseError as _,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header::{HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
    web,
};

use super::{
    AppState, Code, Identity, Problem, client::Proxies, failures::whole_seconds, request::is_probe,
};
use crate::{
    auth::Method,
    rates::{Holder, Left, Rate, Rates},
};

/// Most requests that can be granted at once.
const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
/// Requests that would be granted now.
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
/// Seconds until as many as the limit would be granted.
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
/// The rate in the long run: `100;w=60;burst=20`.
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Whose bucket a request takes from, and how fast it fills: the one place that decides it. Who has
/// not proven anything shares the bucket of an address, whatever they claim.
fn holder(request: &ServiceRequest, proxies: &Proxies, rates: &Rates) -> (Holder, Rate) {
    match Identity::of(request) {
        Identity::Known(principal) if principal.method != Method::None => {
            let of_roles = || rates.of_roles(principal.roles.iter().map(String::as_str));
            let rate = principal.rate.unwrap_or_else(of_roles);
            (Holder::Actor(principal.subject.clone()), rate)
        }
        Identity::Known(_) | Identity::Nobody | Identity::Refused(_) => {
            (Holder::at(proxies.client(request.head())), rates.of_roles([]))
        }
    }
}

/// Refuses a request that is one too many of its holder.
pub async fn limit<B: MessageBody + 'static>(
    state: web::Data<AppState>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let rates = state.rates.as_ref().filter(|_| !is_probe(request.path()));
    let Some(rates) = rates else {
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    };
    let (holder, rate) = holder(&request, &state.proxies, rates);
    let (mut response, left) = match rates.take(&holder, rate) {
        Ok(left) => {
            request.extensions_mut().insert(left);
            (next.call(request).await?.map_into_boxed_body(), left)
        }
        Err(too_many) => {
            state.metrics.rate_limited.inc();
            let detail = "wait as long as Retry-After says, or ask for a higher rate";
            let problem = Problem::new(Code::TooManyRequests, detail);
            let problem = problem.retry_after(whole_seconds(too_many.retry_after));
            (request.into_response(problem.error_response()), too_many.left)
        }
    };
    tell(response.headers_mut(), &left);
    Ok(response)
}

fn tell(headers: &mut HeaderMap, left: &Left) {
    let (rate, burst) = (&left.rate, left.rate.burst);
    let reset = if left.reset.is_zero() { 0 } else { whole_seconds(left.reset) };
    headers.insert(LIMIT, burst.get().into());
    headers.insert(REMAINING, left.remaining.into());
    headers.insert(RESET, reset.into());
    let policy = format!("{};w={};burst={burst}", rate.requests, rate.window.as_secs());
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(POLICY, policy);
    }
}
