//! Every operation of the API document × everybody who may ask.
//!
//! The operations and what they demand come from `deploy/openapi.json`, what roles may from the
//! table below, written down a second time on purpose. What a good request of an operation is has to
//! be said in [`operation`]: one that is new has no row there, and the test fails until it has.

use std::{cell::Cell, collections::BTreeMap, path::Path};

use actix_web::{http::Method, test::TestRequest};
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::fixture::{Answer, TestIssuer, changed, post, prompt};

/// What the built-in roles may; `admin` may everything.
const ROLES: [(&str, &[&str]); 4] = [
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
    ("operator", &["state:read", "audit:read", "admin:shutdown", "replay:run", "policy:read"]),
    ("auditor", &["state:read", "audit:read", "content:read", "replay:run", "policy:read"]),
];

fn may(role: &str, permission: &str) -> bool {
    let listed = ROLES.iter().find(|(name, _)| *name == role);
    role == "admin" || listed.is_some_and(|(_, list)| list.contains(&permission))
}

/// Whose an operation's answer is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Belongs {
    /// To an engine: for who has not got it, it does not exist.
    Engine,
    /// To nobody: whoever may ask gets the same, whatever engine of theirs is named.
    Nobody,
    /// To the caller: the answer is made of what is theirs.
    Caller,
    /// It makes an engine, or a key to one, which takes the right to have it.
    NewEngine,
}

/// An operation: what a good request is, and what it answers.
struct Operation {
    method: Method,
    path: String,
    permission: String,
    body: Option<Value>,
    good: u16,
    belongs: Belongs,
}

/// What is known about a route beyond the document: body, good status, whose it is.
fn operation(method: &str, path: &str) -> (Option<Value>, u16, Belongs) {
    use Belongs::{Caller, Engine, Nobody};
    let messages = json!([{"role": "user", "content": "Hello"}]);
    let input = json!({"input": "Hello"});
    let route = path.replace("/v1/engines/{engine}/", "/v1/");
    match (method, route.as_str()) {
        ("post", "/generate" | "/v1/generate") => (Some(prompt()), 200, Engine),
        ("post", "/v1/chat/completions") => (Some(json!({"messages": messages})), 200, Engine),
        ("post", "/v1/messages") => {
            let body = json!({"model": "default", "max_tokens": 9, "messages": messages});
            (Some(body), 200, Engine)
        }
        ("post", "/v1/embeddings" | "/v1/moderations") => (Some(input), 200, Engine),
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
        // of a key that there is not: the others are asked for at their own tests
        ("delete", "/v1/keys/{id}") => (None, 404, Caller),
        ("post", "/v1/keys/{id}/rotate") => (Some(json!({})), 404, Caller),
        // for the default engine
        ("post", "/v1/keys") => {
            (Some(json!({"name": "bot", "roles": ["user"]})), 201, Belongs::NewEngine)
        }
        ("post", "/v1/engines") => (Some(json!({"engine_id": "NEW"})), 201, Belongs::NewEngine),
        (
            "get",
            "/v1/models" | "/v1/models/{model}" | "/health" | "/health/live" | "/health/ready"
            | "/health/detailed" | "/status" | "/openapi.json",
        ) => (None, 200, Nobody),
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
        methods.into_iter().map(move |(method, described)| {
            let (body, good, belongs) = operation(&method, &path);
            Operation {
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                permission: described["x-mlsdm-permission"].as_str().unwrap().to_owned(),
                body,
                good,
                belongs,
            }
        })
    };
    paths.into_iter().flat_map(of_path).collect()
}

impl Operation {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The same on another engine, if the path names one.
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

    /// What somebody gets who has this role and every right to the engine.
    fn for_role(&self, role: &str) -> u16 {
        match self.permission.as_str() {
            "none" | "authenticated" => self.good,
            permission if may(role, permission) => self.good,
            _ => 403,
        }
    }

    /// What they get who have this role, and the engine is another's.
    fn for_tenant(&self, role: &str) -> u16 {
        match (self.for_role(role), self.belongs) {
            (403, _) | (_, Belongs::NewEngine) => 403,
            (_, Belongs::Engine) => 404,
            (_, Belongs::Nobody) if self.names_engine() => 404,
            (good, Belongs::Nobody | Belongs::Caller) => good,
        }
    }

    /// What they get who have this role and speak for somebody else.
    fn for_speaker(&self, role: &str) -> u16 {
        match self.for_role(role) {
            good if self.permission == "none" || may(role, "subject:delegate") => good,
            _ => 403,
        }
    }
}

/// The app with the engine `theirs`, and how an operation is asked.
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

    /// A token of a role that has all engines of the test, unless the changes say otherwise.
    fn token(&self, role: &str, changes: &Value) -> String {
        let claims = json!({"roles": [role], "mlsdm_engines": ["*"]});
        self.app.token(&changed(claims, changes))
    }

    /// The answer to an operation; without its body where that has no end.
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

    /// Wakes what an operation has shut down, for those that follow.
    async fn resume(&self) {
        let admin = self.token("admin", &json!({}));
        let resume = post("/v1/admin/resume?all=true", &admin, &json!({}));
        assert_eq!(self.app.rig.ask(resume).await.status, 200);
    }
}

#[track_caller]
fn is(answer: &Answer, status: u16, operation: &Operation, who: &str) {
    assert_eq!(answer.status, status, "{} as {who}: {answer:?}", operation.name());
    let code = match status {
        401 => "E201",
        403 if who.ends_with("speaking") => "E20",
        403 => "E202",
        404 if operation.path.starts_with("/v1/keys") => "E204",
        404 => "E408",
        _ => return,
    };
    // the body of a stream is not read
    assert!(answer.text.is_empty() || answer.text.contains(code), "{who}: {answer:?}");
}

fn roles() -> impl Iterator<Item = &'static str> {
    ROLES.iter().map(|(name, _)| *name).chain(["admin"])
}

#[actix_web::test]
async fn nobody_and_each_role_get_what_is_documented() {
    let matrix = TestMatrix::new().await;
    let operations = operations();
    for operation in &operations {
        let nobody = matrix.ask(operation, "theirs", None).await;
        let expected = if operation.permission == "none" { operation.good } else { 401 };
        is(&nobody, expected, operation, "nobody");
        let none = matrix.ask(operation, "theirs", Some(&matrix.token("guest", &json!({})))).await;
        is(&none, operation.for_role("guest"), operation, "somebody without a role");
        for role in roles() {
            let token = matrix.token(role, &json!({}));
            let answer = matrix.ask(operation, "theirs", Some(&token)).await;
            is(&answer, operation.for_role(role), operation, role);
        }
    }
    assert_eq!(matrix.cells.get(), operations.len() * 7);
}

/// The text without what differs by name alone: the engine, and the ids of the request.
fn anonymous(answer: &Answer, engine: &str) -> String {
    let id = answer.headers.get("x-request-id").unwrap().to_str().unwrap();
    let mut text = answer.text.replace(engine, "ENGINE").replace(id, "ID");
    if let Some(id) = answer.json()["trace_id"].as_str() {
        text = text.replace(id, "ID");
    }
    text
}

#[actix_web::test]
async fn the_engines_of_others_are_as_missing_as_none() {
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
async fn others_are_spoken_for_by_who_may() {
    let matrix = TestMatrix::new().await;
    for operation in operations() {
        for role in roles() {
            let token = matrix.token(role, &json!({"sub": "ann"}));
            let answer = matrix.ask_for(&operation, "theirs", Some(&token), Some("bob")).await;
            is(&answer, operation.for_speaker(role), &operation, &format!("{role} speaking"));
            let own = matrix.ask_for(&operation, "theirs", Some(&token), Some("ann")).await;
            is(&own, operation.for_role(role), &operation, role);
        }
    }
}
