//! API keys that are created, used, rotated and revoked while the server runs.

use actix_web::test::TestRequest;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::fixture::{Answer, START, TestApi, TestIssuer, get, post, prompt};

const ADMIN: (&str, &str) = ("ADMIN_API_KEY", "geheim-admin-key-4711");

/// The app with an admin key, with its clock set to the clock of the log.
async fn rig(env: &[(&str, &str)]) -> TestApi {
    let rig = TestApi::new(&[&[ADMIN], env].concat()).await;
    rig.pass(mlsdm::clock::now_micros() / 1_000_000 - START);
    rig
}

async fn create(rig: &TestApi, by: &str, body: &Value) -> Answer {
    rig.ask(post("/v1/keys", by, body)).await
}

/// Creates a key and returns its id and secret.
async fn created(rig: &TestApi, body: &Value) -> (String, String) {
    let answer = create(rig, ADMIN.1, body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let text = |field: &str| answer.json()[field].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

async fn rotated(rig: &TestApi, id: &str, body: Option<&Value>) -> String {
    let request = TestRequest::post().uri(&format!("/v1/keys/{id}/rotate"));
    let request = request.insert_header(("x-api-key", ADMIN.1));
    let request = if let Some(body) = body { request.set_json(body) } else { request };
    let answer = rig.ask(request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["key"].as_str().unwrap().to_owned()
}

fn delete(id: &str, by: &str) -> TestRequest {
    let request = TestRequest::delete().uri(&format!("/v1/keys/{id}"));
    request.insert_header(("authorization", format!("Bearer {by}")))
}

fn bot() -> Value {
    json!({"name": "bot", "roles": ["service"]})
}

#[actix_web::test]
async fn a_key_is_a_principal_until_it_is_revoked() {
    let rig = rig(&[]).await;
    let (id, key) = created(&rig, &bot()).await;
    let me = rig.me(&key).await.json();
    assert_eq!(
        (&me["subject"], &me["name"], &me["roles"], &me["engines"], &me["method"]),
        (
            &json!(format!("key:{id}")),
            &json!("bot"),
            &json!(["service"]),
            &json!(["default"]),
            &json!("key")
        )
    );
    assert_eq!(rig.ask(post("/v1/generate", &key, &prompt())).await.status, 200);
    assert_eq!(rig.ask(get("/v1/keys", &key)).await.code(), "E202");
    let list = rig.ask(get("/v1/keys", ADMIN.1)).await;
    assert_eq!(list.json()["keys"][0]["id"], id.as_str());
    assert_eq!(list.json()["keys"][0]["created_by"], "key:admin");
    let secret = key.rsplit('_').next().unwrap();
    assert!(!list.text.contains(secret), "shown once");
    assert_eq!(rig.ask(delete(&id, ADMIN.1)).await.json()["status"], "revoked");
    assert_eq!(rig.me(&key).await.code(), "E201", "immediately");
    assert_eq!(rig.ask(delete(&id, ADMIN.1)).await.code(), "E204");
    assert_eq!(rig.ask(get("/v1/keys", ADMIN.1)).await.json()["keys"], json!([]));
}

#[actix_web::test]
async fn no_secret_is_in_the_database() {
    let rig = rig(&[]).await;
    let (id, first) = created(&rig, &bot()).await;
    let second = rotated(&rig, &id, Some(&json!({}))).await;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(rig.database.folder().unwrap()).unwrap() {
        files.push(std::fs::read(entry.unwrap().path()).unwrap());
    }
    let found = |text: &str| {
        files.iter().any(|file| file.windows(text.len()).any(|bytes| bytes == text.as_bytes()))
    };
    assert!(found(&id) && found("key.rotated"), "its events are recorded");
    for secret in [&first, &second] {
        assert!(!found(secret.rsplit('_').next().unwrap()));
    }
}

#[actix_web::test]
async fn the_previous_secret_is_valid_only_for_the_grace_period() {
    let rig = rig(&[]).await;
    let (id, first) = created(&rig, &bot()).await;
    let second = rotated(&rig, &id, None).await;
    assert_eq!((rig.me(&first).await.status, rig.me(&second).await.status), (401, 200));
    let third = rotated(&rig, &id, Some(&json!({"grace_seconds": 60}))).await;
    for key in [&second, &third] {
        assert_eq!(rig.me(key).await.json()["subject"], format!("key:{id}"));
    }
    let shown = rig.ask(get("/v1/keys", ADMIN.1)).await.json()["keys"][0].clone();
    assert!(shown["previous_until"].is_string() && shown["rotated_at"].is_string());
    rig.pass(61);
    assert_eq!((rig.me(&second).await.status, rig.me(&third).await.status), (401, 200));
    for bad in [json!({"grace_seconds": 604_801}), json!({"grace_seconds": -1}), json!({"x": 1})] {
        let refused = rig.ask(post(&format!("/v1/keys/{id}/rotate"), ADMIN.1, &bad)).await;
        assert_eq!(refused.code(), "E102", "{bad}");
    }
    assert_eq!(rig.me(&third).await.status, 200, "a refused rotation changes nothing");
}

#[actix_web::test]
async fn a_key_expires() {
    let rig = rig(&[]).await;
    let end = mlsdm::clock::rfc3339((rig.now() + 600) * 1_000_000);
    let (id, key) =
        created(&rig, &json!({"name": "short", "roles": ["user"], "expires_at": end})).await;
    assert!(rig.me(&key).await.json()["expires_at"].is_string());
    rig.pass(599);
    assert_eq!(rig.me(&key).await.status, 200);
    rig.pass(1);
    assert_eq!(rig.me(&key).await.code(), "E201");
    assert_eq!(rig.ask(delete(&id, ADMIN.1)).await.status, 200);
}

#[actix_web::test]
async fn an_invalid_grant_is_refused_with_the_field() {
    let rig = rig(&[]).await;
    let refused = [
        (json!({"name": "", "roles": ["user"]}), "name"),
        (json!({"name": "x", "roles": []}), "roles"),
        (json!({"name": "x", "roles": ["root"]}), "root"),
        (json!({"name": "x", "roles": ["user"], "engines": []}), "engines"),
        (json!({"name": "x", "roles": ["user"], "engines": ["_system"]}), "engines"),
        (json!({"name": "x", "roles": ["user"], "expires_at": "tomorrow"}), "expires_at"),
        (
            json!({"name": "x", "roles": ["user"], "expires_at": "2020-01-01T00:00:00Z"}),
            "expires_at",
        ),
        (
            json!({"name": "x", "roles": ["user"], "rate": {"requests": 0, "window_seconds": 1}}),
            "rate",
        ),
        (json!({"name": "x", "roles": ["user"], "budget": {}}), "budget"),
    ];
    for (body, named) in refused {
        let answer = create(&rig, ADMIN.1, &body).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "E102"), "{body}: {answer:?}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(named), "{answer:?}");
    }
    assert_eq!(create(&rig, ADMIN.1, &json!({"name": "x"})).await.status, 400);
    assert_eq!(rig.ask(delete("no-id", ADMIN.1)).await.code(), "E110");
    assert_eq!(rig.ask(get("/v1/keys", ADMIN.1)).await.json()["keys"], json!([]));
}

/// No privilege escalation with the permission key:admin.
#[actix_web::test]
async fn a_key_cannot_exceed_the_permissions_of_its_creator() {
    let roles = ("MLSDM__AUTH__ROLES", "keeper=key:admin+state:read,reader=state:read");
    let app = TestIssuer::with(Algorithm::EdDSA, &[roles, ADMIN]).await;
    let rig = &app.rig;
    let engines = json!(["mine", "also-mine"]);
    let keeper = app.token(&json!({"roles": "keeper", "mlsdm_engines": engines}));
    let new = |role: &str, engine: &str| json!({"name": "x", "roles": [role], "engines": [engine]});
    for (role, engine) in
        [("user", "mine"), ("admin", "mine"), ("reader", "theirs"), ("reader", "*")]
    {
        let refused = create(rig, &keeper, &new(role, engine)).await;
        assert_eq!((refused.status, refused.code().as_str()), (403, "E202"), "{role} {engine}");
    }
    assert_eq!(
        create(rig, &keeper, &json!({"name": "x", "roles": ["reader"]})).await.status,
        403,
        "the default engine is not theirs"
    );
    let own = create(rig, &keeper, &new("reader", "mine")).await;
    assert_eq!(own.status, 201, "{own:?}");
    // a key of another engine is not visible; a more powerful key can be revoked but not rotated
    let (theirs, _) = created(rig, &new("reader", "theirs")).await;
    let (strong, _) = created(rig, &new("admin", "mine")).await;
    let list = rig.ask(get("/v1/keys", &keeper)).await.json();
    let listed: Vec<_> = list["keys"].as_array().unwrap().iter().map(|key| &key["id"]).collect();
    assert_eq!(listed, [&own.json()["id"], &json!(strong)]);
    let rotate = |id: &str| post(&format!("/v1/keys/{id}/rotate"), &keeper, &json!({}));
    assert_eq!(rig.ask(rotate(&theirs)).await.code(), "E204");
    assert_eq!(rig.ask(delete(&theirs, &keeper)).await.code(), "E204");
    assert_eq!(rig.ask(rotate(&strong)).await.code(), "E202");
    assert_eq!(rig.ask(delete(&strong, &keeper)).await.status, 200);
}

#[actix_web::test]
async fn without_api_keys_no_key_can_be_created() {
    let app = TestIssuer::new().await;
    let admin = app.token(&json!({"roles": "admin"}));
    assert_eq!(create(&app.rig, &admin, &bot()).await.code(), "E206");
    let list = app.rig.ask(get("/v1/keys", &admin)).await;
    assert_eq!((list.status, &list.json()["keys"]), (200, &json!([])));
}

/// With tokens, no configured key is needed to create the first key.
#[actix_web::test]
async fn a_caller_with_a_token_can_create_the_first_key() {
    let app = TestIssuer::with(Algorithm::EdDSA, &[("MLSDM__AUTH__MODE", "oidc+keys")]).await;
    let admin = app.token(&json!({"roles": "admin"}));
    let answer = create(&app.rig, &admin, &bot()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(app.rig.me(answer.json()["key"].as_str().unwrap()).await.status, 200);
}

#[actix_web::test]
async fn a_key_has_its_own_rate_limit() {
    let rig = rig(&[("RATE_LIMIT_REQUESTS", "1000")]).await;
    let mut body = bot();
    body["rate"] = json!({"requests": 10, "window_seconds": 3600});
    let (_, key) = created(&rig, &body).await;
    let statuses = [rig.me(&key).await, rig.me(&key).await, rig.me(&key).await];
    assert_eq!(statuses.each_ref().map(|answer| answer.status), [200, 200, 429]);
    assert_eq!(statuses[0].json()["limits"]["requests"], 10);
    assert_eq!(rig.me(ADMIN.1).await.status, 200, "other keys are unaffected");
}

#[actix_web::test]
async fn the_system_log_cannot_be_accessed_as_an_engine() {
    let rig = rig(&[]).await;
    created(&rig, &bot()).await;
    for path in ["state", "events", "events/1", "events/stream"] {
        let answer = rig.ask(get(&format!("/v1/engines/_system/{path}"), ADMIN.1)).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "E109"), "{path}");
    }
    for path in ["generate", "admin/shutdown", "admin/resume"] {
        let answer =
            rig.ask(post(&format!("/v1/engines/_system/{path}"), ADMIN.1, &prompt())).await;
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
    }
    let chat = json!({
        "model": "_system/default", "messages": [{"role": "user", "content": "Hello"}],
    });
    assert_eq!(rig.ask(post("/v1/chat/completions", ADMIN.1, &chat)).await.status, 400);
    let named = post("/v1/moderations", ADMIN.1, &json!({"input": "Hello"}));
    assert_eq!(rig.ask(named.insert_header(("x-mlsdm-engine", "_system"))).await.status, 400);
    let engine = post("/v1/engines", ADMIN.1, &json!({"engine_id": "_system"}));
    assert_eq!(rig.ask(engine).await.code(), "E109");
    let engines = rig.ask(get("/v1/engines", ADMIN.1)).await.json();
    assert_eq!(engines["engines"].as_array().unwrap().len(), 1);
    let all = rig.ask(post("/v1/admin/shutdown?all=true", ADMIN.1, &json!({}))).await.json();
    assert_eq!(all["engines"], json!(["default"]));
    created(&rig, &bot()).await;
    let detailed = rig.ask(TestRequest::get().uri("/health/detailed")).await.json();
    assert_eq!(detailed["engines"]["loaded"], 1);
}
