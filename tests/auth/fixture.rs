//! The HTTP API in the process of the test, with an emulated identity provider and a clock that the
//! test advances.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use actix_web::{
    Error,
    body::MessageBody,
    dev::{Service, ServiceResponse},
    http::header::HeaderMap,
    test::{self, TestRequest},
    web,
};
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use jsonwebtoken::Algorithm;
use mlsdm::{
    http::create_app,
    testkit::{
        TestDatabase, guarded_app_state,
        issuer::{IssuerKey, jwks},
    },
};
use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{method, path},
};

/// The time at which the clock of a test starts, in seconds.
pub(crate) const START: i64 = mlsdm::testkit::START / 1_000_000;
/// The audience of the tokens.
pub(crate) const AUDIENCE: &str = "mlsdm-test";

/// A response of the app.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The body without request id and trace id.
    pub(crate) fn bare(&self) -> Value {
        let mut body = self.json();
        for id in ["request_id", "trace_id"] {
            body.as_object_mut().unwrap().remove(id);
        }
        body
    }
}

type Ask = dyn Fn(TestRequest, bool) -> LocalBoxFuture<'static, Answer>;

/// The HTTP API without a network, its database and its clock.
pub(crate) struct TestApi {
    ask: Box<Ask>,
    clock: Arc<AtomicI64>,
    pub(crate) database: TestDatabase,
}

impl TestApi {
    /// The app with these environment variables.
    pub(crate) async fn new(env: &[(&str, &str)]) -> Self {
        Self::at(START, env).await
    }

    /// The same, with a clock that starts at this second.
    pub(crate) async fn at(start: i64, env: &[(&str, &str)]) -> Self {
        let clock = Arc::new(AtomicI64::new(start));
        let shared = Arc::clone(&clock);
        let time = Arc::new(move || shared.load(Ordering::SeqCst) * 1_000_000);
        let (state, database) = guarded_app_state(env, time).await;
        let app = Rc::new(test::init_service(create_app(web::Data::new(state))).await);
        let ask = move |request: TestRequest, whole| {
            let app = Rc::clone(&app);
            async move { answer(&*app, request.to_request(), whole).await }.boxed_local()
        };
        Self { ask: Box::new(ask), clock, database }
    }

    pub(crate) async fn ask(&self, request: TestRequest) -> Answer {
        (self.ask)(request, true).await
    }

    /// The response without its body: a stream of events does not end.
    pub(crate) async fn head(&self, request: TestRequest) -> Answer {
        (self.ask)(request, false).await
    }

    /// GET /v1/me with a token.
    pub(crate) async fn me(&self, token: &str) -> Answer {
        self.ask(get("/v1/me", token)).await
    }

    pub(crate) fn pass(&self, seconds: i64) {
        self.clock.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.load(Ordering::SeqCst)
    }
}

async fn answer<R, S, B>(app: &S, request: R, whole: bool) -> Answer
where
    S: Service<R, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    match app.call(request).await {
        Ok(response) => {
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let body = if whole { test::read_body(response).await } else { web::Bytes::new() };
            Answer { status, headers, text: String::from_utf8(body.to_vec()).unwrap() }
        }
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn get(uri: &str, token: &str) -> TestRequest {
    TestRequest::get().uri(uri).insert_header(("authorization", format!("Bearer {token}")))
}

pub(crate) fn post(uri: &str, token: &str, body: &Value) -> TestRequest {
    let request = TestRequest::post().uri(uri).set_json(body);
    request.insert_header(("authorization", format!("Bearer {token}")))
}

pub(crate) fn prompt() -> Value {
    json!({"prompt": "My dog is called Rex", "moral_value": 0.9})
}

/// An identity provider with one signing key, and an API that trusts it.
pub(crate) struct TestIssuer {
    pub(crate) provider: MockServer,
    pub(crate) key: IssuerKey,
    pub(crate) rig: TestApi,
}

impl TestIssuer {
    pub(crate) async fn new() -> Self {
        Self::with(Algorithm::RS256, &[]).await
    }

    pub(crate) async fn with(algorithm: Algorithm, env: &[(&str, &str)]) -> Self {
        let key = IssuerKey::new("key-1", algorithm);
        let provider = MockServer::start().await;
        publish(&provider, &[&key]).await;
        let issuer = provider.uri();
        let own = [("MLSDM_OIDC_ISSUER", issuer.as_str()), ("MLSDM_OIDC_AUDIENCE", AUDIENCE)];
        let rig = TestApi::new(&[&own[..], env].concat()).await;
        Self { provider, key, rig }
    }

    /// The claims of a valid token.
    pub(crate) fn claims(&self) -> Value {
        claims(&self.provider.uri(), self.rig.now())
    }

    /// A valid token with some claims changed; null removes a claim.
    pub(crate) fn token(&self, changes: &Value) -> String {
        self.key.sign(&changed(self.claims(), changes))
    }

    /// Number of requests for the keys.
    pub(crate) async fn fetches(&self) -> usize {
        let requests = self.provider.received_requests().await.unwrap();
        requests.iter().filter(|request| request.url.path() == "/keys").count()
    }
}

pub(crate) fn claims(issuer: &str, now: i64) -> Value {
    json!({
        "iss": issuer, "aud": AUDIENCE, "sub": "ann", "iat": now, "exp": now + 300,
        "roles": ["user"],
    })
}

pub(crate) fn changed(mut claims: Value, changes: &Value) -> Value {
    let members = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    claims
}

/// Serves the metadata and the keys of a provider.
pub(crate) async fn publish(provider: &MockServer, keys: &[&IssuerKey]) {
    let answers =
        [("/.well-known/openid-configuration", metadata(&provider.uri())), ("/keys", jwks(keys))];
    for (place, body) in answers {
        let answer = ResponseTemplate::new(200).set_body_json(body);
        Mock::given(method("GET")).and(path(place)).respond_with(answer).mount(provider).await;
    }
}

/// The metadata of a provider.
pub(crate) fn metadata(uri: &str) -> Value {
    json!({
        "issuer": uri, "jwks_uri": format!("{uri}/keys"),
        "authorization_endpoint": format!("{uri}/authorize"),
        "response_types_supported": ["code"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ML-DSA-44"],
    })
}
