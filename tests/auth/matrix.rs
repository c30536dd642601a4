//! Every operation of the OpenAPI document, for every kind of caller.
//!
//! The operations and their permissions come from `deploy/openapi.json`. The permissions of roles are in the
//! table below, deliberately written a second time. [`operation`] has a valid request for each operation; the
//! test fails for a new operation until it is added there.

use std::{cell::Cell, collections::BTreeMap, path::Path};

use actix_web::{http::Method, test::TestRequest};
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::fixture::{Answer, TestIssuer, changed, post, prompt};

/// The permissions of the built-in roles; `admin` has all of them.
const ROLES: [(&str, &[&str]); 5] = [
    ("user", &["generate", "history:read", "state:read", "memory:read", "memory:write"]),
    (
        "service",
        &[
            "generate",
            "history:read",
            "state:read",
            "memory:read",
            "memory:write",
            "subject:delegate",
        ],
    ),
    (
        "trusted",
        &[
            "generate",
            "history:read",
            "state:read",
            "memory:read",
            "memory:write",
            "subject:delegate",
            "moral:assert",
        ],
    ),
    ("operator", &["state:read", "audit:read", "admin:shutdown", "replay:run", "policy:read"]),
    ("auditor", &["state:read", "audit:read", "content:read", "replay:run", "policy:read"]),
];

fn has_permission(role: &str, permission: &str) -> bool {
    let listed = ROLES.iter().find(|(name, _)| *name == role);
    role == "admin" || listed.is_some_and(|(_, list)| list.contains(&permission))
}

/// The resource of an operation.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Resource {
    /// An engine: it does not exist for callers without access.
    Engine,
    /// The server: the response does not depend on the engine.
    Server,
    /// The caller: the response contains only the caller's own resources.
    Caller,
    /// A new engine, or a key for one: requires access to it.
    NewEngine,
}

/// An operation with a valid request and the status of its response.
struct Operation {
    method: Method,
    path: String,
    permission: String,
    body: Option<Value>,
    good: u16,
    resource: Resource,
}

/// The facts about a route that the document lacks: body, success status, resource.
fn operation(method: &str, path: &str) -> (Option<Value>, u16, Resource) {
    use Resource::{Caller, Engine, Server};
    let messages = json!([{"role": "user", "content": "Hello"}]);
    let input = json!({"input": "Hello"});
    let route = path.replace("/v1/engines/{engine}/", "/v1/");
    match (method, route.as_str()) {
        ("post", "/generate" | "/v1/generate") => (Some(prompt()), 200, Engine),
        ("post", "/v1/chat/completions") => (Some(json!({"messages": messages})), 200, Engine),
        ("post", "/v1/messages" | "/v1/messages/count_tokens") => {
            let body = json!({"model": "default", "max_tokens": 9, "messages": messages});
            (Some(body), 200, Engine)
        }
        ("post", "/v1/completions") => (Some(json!({"prompt": "Hello"})), 200, Engine),
        // of an unknown response
        ("get", "/v1/responses/{id}" | "/v1/responses/{id}/input_items") => (None, 404, Engine),
        ("post", "/v1/responses" | "/v1/embeddings" | "/v1/moderations") => {
            (Some(input), 200, Engine)
        }
        ("get", "/v1/state" | "/v1/events" | "/v1/events/stream" | "/v1/events/{position}") => {
            (None, 200, Engine)
        }
        ("post", "/admin/shutdown" | "/v1/admin/shutdown" | "/v1/admin/resume") => {
            (Some(json!({"reason": "a drill"})), 200, Engine)
        }
        ("put", "/v1/admin/log-level") => (Some(json!({"level": "INFO"})), 200, Caller),
        ("get", "/v1/engines" | "/me" | "/v1/me" | "/v1/keys" | "/v1/admin/log-level") => {
            (None, 200, Caller)
        }
        // of an unknown key: existing keys have their own tests
        ("delete", "/v1/keys/{id}") => (None, 404, Caller),
        ("post", "/v1/keys/{id}/rotate") => (Some(json!({})), 404, Caller),
        // for the default engine
        ("post", "/v1/keys") => {
            (Some(json!({"name": "bot", "roles": ["user"]})), 201, Resource::NewEngine)
        }
        ("post", "/v1/engines") => (Some(json!({"engine_id": "NEW"})), 201, Resource::NewEngine),
        (
            "get",
            "/v1/models" | "/v1/models/{model}" | "/health" | "/health/live" | "/health/ready"
            | "/health/detailed" | "/status" | "/openapi.json",
        ) => (None, 200, Server),
        _ => panic!("{method} {path} is new: say here what a good request of it is, and whose"),
    }
}

/// All operations that `deploy/openapi.json` names.
fn operations() -> Vec<Operation> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/openapi.json");
    let document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let paths: BTreeMap<String, BTreeMap<String, Value>> =
        serde_json::from_value(document["paths"].clone()).unwrap();
    let of_path = |(path, methods): (String, BTreeMap<String, Value>)| {
        methods.into_iter().map(move |(method, metadata)| {
            let (body, good, resource) = operation(&method, &path);
            Operation {
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                permission: metadata["x-mlsdm-permission"].as_str().unwrap().to_owned(),
                body,
                good,
                resource,
            }
        })
    };
    paths.into_iter().flat_map(of_path).collect()
}

impl Operation {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The request for an engine, if the path names one.
    fn on(&self, engine: &str, made: &Cell<u32>) -> TestRequest {
        let uri = self.path.replace("{engine}", engine).replace("{position}", "1");
        let uri = uri.replace("{model}", "local-stub").replace("{id}", &"0".repeat(32));
        let request = TestRequest::default().method(self.method.clone()).uri(&uri);
        let Some(body) = &self.body else { return request };
        made.set(made.get() + 1);
        let body = body.to_string().replace("NEW", &format!("new-{}", made.get()));
        request.set_json(serde_json::from_str::<Value>(&body).unwrap())
    }

    fn names_engine(&self) -> bool {
        self.path.contains("{engine}")
    }

    /// The status for a caller with this role and access to the engine.
    fn for_role(&self, role: &str) -> u16 {
        match self.permission.as_str() {
            "none" | "authenticated" => self.good,
            permission if has_permission(role, permission) => self.good,
            _ => 403,
        }
    }

    /// The status for a caller with this role and no access to the engine.
    fn for_tenant(&self, role: &str) -> u16 {
        match (self.for_role(role), self.resource) {
            (403, _) | (_, Resource::NewEngine) => 403,
            (_, Resource::Engine) => 404,
            (_, Resource::Server) if self.names_engine() => 404,
            (good, Resource::Server | Resource::Caller) => good,
        }
    }

    /// The status for a caller with this role who acts for another end user.
    fn for_delegate(&self, role: &str) -> u16 {
        match self.for_role(role) {
            good if self.permission == "none" || has_permission(role, "subject:delegate") => good,
            _ => 403,
        }
    }
}

/// The app with the engine `theirs`.
struct TestMatrix {
    app: TestIssuer,
    made: Cell<u32>,
    cells: Cell<usize>,
}

impl TestMatrix {
    async fn new() -> Self {
        let app = TestIssuer::with(Algorithm::RS256, &[("MLSDM__AUTH__MODE", "oidc+keys")]).await;
        let matrix = Self { app, made: Cell::new(0), cells: Cell::new(0) };
        let admin = matrix.token("admin", &json!({}));
        let engine = post("/v1/engines", &admin, &json!({"engine_id": "theirs"}));
        assert_eq!(matrix.app.rig.ask(engine).await.status, 201);
        matrix
    }

    /// A token with this role and all engines of the test, with some claims changed.
    fn token(&self, role: &str, changes: &Value) -> String {
        let claims = json!({"roles": [role], "mlsdm_engines": ["*"]});
        self.app.token(&changed(claims, changes))
    }

    /// Calls an operation; reads no body if it is endless.
    async fn ask(&self, operation: &Operation, engine: &str, token: Option<&str>) -> Answer {
        self.ask_for(operation, engine, token, None).await
    }

    async fn ask_for(
        &self,
        operation: &Operation,
        engine: &str,
        token: Option<&str>,
        end_user: Option<&str>,
    ) -> Answer {
        let mut request = operation.on(engine, &self.made);
        if let Some(token) = token {
            request = request.insert_header(("authorization", format!("Bearer {token}")));
        }
        if let Some(end_user) = end_user {
            request = request.insert_header(("x-mlsdm-end-user", end_user));
        }
        self.cells.set(self.cells.get() + 1);
        let rig = &self.app.rig;
        let answer = if operation.path.ends_with("/stream") {
            rig.head(request).await
        } else {
            rig.ask(request).await
        };
        if operation.path.ends_with("/shutdown") && answer.status == 200 {
            self.resume().await;
        }
        answer
    }

    /// Resumes engines that an operation has shut down.
    async fn resume(&self) {
        let admin = self.token("admin", &json!({}));
        let resume = post("/v1/admin/resume?all=true", &admin, &json!({}));
        assert_eq!(self.app.rig.ask(resume).await.status, 200);
    }
}

#[track_caller]
fn is(answer: &Answer, status: u16, operation: &Operation, who: &str) {
    assert_eq!(answer.status, status, "{} as {who}: {answer:?}", operation.name());
    let codes: &[&str] = match status {
        401 => &["E201"],
        403 if who.ends_with("speaking") => &["E20"],
        403 => &["E202"],
        404 if operation.path.starts_with("/v1/keys") => &["E204"],
        // the engine, or the response
        404 if operation.path.contains("/responses/") => &["E408", "E901"],
        404 => &["E408"],
        _ => return,
    };
    // the body of a stream was not read
    let is_named = codes.iter().any(|code| answer.text.contains(code));
    assert!(answer.text.is_empty() || is_named, "{who}: {answer:?}");
}

fn roles() -> impl Iterator<Item = &'static str> {
    ROLES.iter().map(|(name, _)| *name).chain(["admin"])
}

#[actix_web::test]
async fn anonymous_callers_and_every_role_get_the_documented_status() {
    let matrix = TestMatrix::new().await;
    let operations = operations();
    for operation in &operations {
        let nobody = matrix.ask(operation, "theirs", None).await;
        let expected = if operation.permission == "none" { operation.good } else { 401 };
        is(&nobody, expected, operation, "nobody");
        let none = matrix.ask(operation, "theirs", Some(&matrix.token("guest", &json!({})))).await;
        is(&none, operation.for_role("guest"), operation, "a caller without a role");
        for role in roles() {
            let token = matrix.token(role, &json!({}));
            let answer = matrix.ask(operation, "theirs", Some(&token)).await;
            is(&answer, operation.for_role(role), operation, role);
        }
    }
    assert_eq!(matrix.cells.get(), operations.len() * 8);
}

/// The text without engine name, request id and trace id.
fn anonymous(answer: &Answer, engine: &str) -> String {
    let id = answer.headers.get("x-request-id").unwrap().to_str().unwrap();
    let mut text = answer.text.replace(engine, "ENGINE").replace(id, "ID");
    if let Some(id) = answer.json()["trace_id"].as_str() {
        text = text.replace(id, "ID");
    }
    text
}

#[actix_web::test]
async fn an_inaccessible_engine_is_indistinguishable_from_a_missing_one() {
    let matrix = TestMatrix::new().await;
    for operation in operations() {
        for role in roles() {
            let token = matrix.token(role, &json!({"mlsdm_engines": ["mine", "nowhere"]}));
            let theirs = matrix.ask(&operation, "theirs", Some(&token)).await;
            is(&theirs, operation.for_tenant(role), &operation, role);
            if !operation.names_engine() {
                continue;
            }
            let missing = matrix.ask(&operation, "nowhere", Some(&token)).await;
            assert_eq!(theirs.status, missing.status, "{} as {role}", operation.name());
            assert_eq!(
                anonymous(&theirs, "theirs"),
                anonymous(&missing, "nowhere"),
                "{} as {role}",
                operation.name()
            );
            let names = |answer: &Answer| {
                let names = answer.headers.keys().map(|name| name.as_str().to_owned());
                names.collect::<std::collections::BTreeSet<_>>()
            };
            assert_eq!(names(&theirs), names(&missing), "{} as {role}", operation.name());
        }
    }
}

#[actix_web::test]
async fn acting_for_another_end_user_requires_the_permission() {
    let matrix = TestMatrix::new().await;
    for operation in operations() {
        for role in roles() {
            let token = matrix.token(role, &json!({"sub": "ann"}));
            let answer = matrix.ask_for(&operation, "theirs", Some(&token), Some("bob")).await;
            is(&answer, operation.for_delegate(role), &operation, &format!("{role} speaking"));
            let own = matrix.ask_for(&operation, "theirs", Some(&token), Some("ann")).await;
            is(&own, operation.for_role(role), &operation, role);
        }
    }
}

/// The routes that take the caller's own score, each with a request that has one.
fn scored() -> [(&'static str, Value); 5] {
    let mlsdm = json!({"moral_value": 0.9});
    let messages = json!([{"role": "user", "content": "My dog is called Rex"}]);
    [
        ("/v1/generate", prompt()),
        ("/v1/chat/completions", json!({"messages": messages, "mlsdm": mlsdm})),
        ("/v1/messages", json!({"max_tokens": 9, "messages": messages, "mlsdm": mlsdm})),
        ("/v1/responses", json!({"input": "My dog is called Rex", "mlsdm": mlsdm})),
        ("/v1/completions", json!({"prompt": "My dog is called Rex", "mlsdm": mlsdm})),
    ]
}

#[actix_web::test]
async fn a_score_replaces_that_of_the_scorer_only_with_the_permission() {
    let matrix = TestMatrix::new().await;
    for role in roles().filter(|role| has_permission(role, "generate")) {
        let token = matrix.token(role, &json!({}));
        for (route, body) in scored() {
            let answer = matrix.app.rig.ask(post(route, &token, &body)).await;
            assert_eq!(answer.status, 200, "{route} as {role}: {answer:?}");
            let answer = answer.json();
            let is_native = route == "/v1/generate";
            let score =
                if is_native { &answer["moral_score"] } else { &answer["mlsdm"]["moral_score"] };
            let (expected, source) = if has_permission(role, "moral:assert") {
                (0.9, "caller")
            } else {
                (0.8, "scorer")
            };
            assert_eq!(score, expected, "{route} as {role}");
            if is_native {
                assert_eq!(answer["moral_source"], source, "{role}");
            }
        }
    }
}

#[actix_web::test]
async fn the_only_score_of_a_request_requires_the_permission_to_state_it() {
    let env = [("MLSDM__AUTH__MODE", "oidc+keys"), ("MLSDM__MLSDM__POLICY__MORAL__SCORER", "none")];
    let app = TestIssuer::with(Algorithm::RS256, &env).await;
    for role in roles().filter(|role| has_permission(role, "generate")) {
        let token = app.token(&json!({"roles": [role], "mlsdm_engines": ["*"]}));
        for (route, body) in scored() {
            let answer = app.rig.ask(post(route, &token, &body)).await;
            if has_permission(role, "moral:assert") {
                assert_eq!(answer.status, 200, "{route} as {role}: {answer:?}");
            } else {
                assert_eq!(answer.status, 403, "{route} as {role}: {answer:?}");
                assert!(answer.text.contains("E202"), "{answer:?}");
                assert!(answer.text.contains("moral:assert"), "{answer:?}");
            }
        }
    }
}
