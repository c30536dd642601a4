//! Development mode: tokens signed with the server's own key.

use std::os::unix::fs::PermissionsExt as _;

use actix_web::test::TestRequest;
use mlsdm::auth::dev::{DevKey, TokenRequest, key_path};
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::fixture::{TestApi, get};

fn token_request(role: &str) -> TokenRequest {
    TokenRequest {
        subject: "dev".to_owned(),
        roles: vec![role.to_owned()],
        engines: Vec::new(),
        ttl_seconds: 60,
    }
}

#[actix_web::test]
async fn without_configuration_the_key_is_beside_the_database() {
    let rig = TestApi::new(&[]).await;
    assert_eq!(rig.ask(TestRequest::get().uri("/v1/me")).await.status, 401);
    let path = key_path(Some(&rig.database.folder().unwrap().join("mlsdm.db")));
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let key = DevKey::load(&path).unwrap();
    let token = key.mint(&token_request("auditor"), rig.now()).unwrap();
    let me = rig.me(token.expose_secret()).await.json();
    assert_eq!((&me["method"], &me["roles"]), (&json!("dev"), &json!(["auditor"])));
    assert_eq!(rig.ask(get("/v1/events", token.expose_secret())).await.status, 200);
    assert_eq!(rig.ask(get("/v1/engines", token.expose_secret())).await.status, 403);
    let other = tempfile::tempdir().unwrap();
    let stranger = DevKey::load_or_create(&other.path().join("x.dev-key")).unwrap();
    let forged = stranger.mint(&token_request("admin"), rig.now()).unwrap();
    assert_eq!(rig.me(forged.expose_secret()).await.status, 401);
    rig.pass(60 + 30);
    assert_eq!(rig.me(token.expose_secret()).await.status, 401, "short-lived");
    assert!(DevKey::load(&other.path().join("none")).is_err(), "loading does not create a key");
}

#[actix_web::test]
async fn without_authentication_every_caller_has_every_permission() {
    let rig = TestApi::new(&[mlsdm::testkit::NO_AUTH]).await;
    let me = rig.me("whatever an SDK has to send").await.json();
    assert_eq!((&me["subject"], &me["engines"]), (&json!("anonymous"), &json!(["*"])));
    let speaks = get("/v1/state", "").insert_header(("x-mlsdm-end-user", "ann"));
    assert_eq!(rig.ask(speaks).await.status, 200);
}
