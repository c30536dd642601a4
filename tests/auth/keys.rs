//! API keys, alone and together with tokens.

use actix_web::test::TestRequest;
use jsonwebtoken::Algorithm;
use serde_json::json;

use crate::fixture::{TestApi, TestIssuer, get, post, prompt};

const USER: (&str, &str) = ("API_KEY", "geheim-user-key-4711");
const ADMIN: (&str, &str) = ("ADMIN_API_KEY", "geheim-admin-key-4711");

fn with_key(uri: &str, key: &str) -> TestRequest {
    TestRequest::get().uri(uri).insert_header(("x-api-key", key))
}

#[actix_web::test]
async fn each_key_has_its_role_in_either_header() {
    let rig = TestApi::new(&[USER, ADMIN]).await;
    for (key, subject, lists) in [(USER.1, "key:user", 403), (ADMIN.1, "key:admin", 200)] {
        for request in [with_key("/v1/me", key), get("/v1/me", key)] {
            let me = rig.ask(request).await.json();
            assert_eq!((&me["subject"], &me["method"]), (&json!(subject), &json!("key")));
        }
        assert_eq!(rig.ask(with_key("/v1/engines", key)).await.status, lists);
        assert_eq!(rig.ask(post("/v1/generate", key, &prompt())).await.status, 200);
    }
    let nobody = rig.ask(TestRequest::get().uri("/v1/me")).await;
    for bad in ["", "geheim", "geheim-user-key-4712", "ey.a.b"] {
        let refused = rig.ask(with_key("/v1/me", bad)).await;
        assert_eq!((refused.status, refused.bare()), (401, nobody.bare()), "{bad}");
        let refused = rig.ask(get("/v1/me", bad)).await;
        assert_eq!((refused.status, refused.bare()), (401, nobody.bare()), "{bad}");
    }
}

#[actix_web::test]
async fn tokens_and_keys_are_accepted_together() {
    let app = TestIssuer::with(Algorithm::EdDSA, &[USER]).await;
    let token = app.token(&json!({}));
    assert_eq!(app.rig.me(&token).await.json()["subject"], "ann");
    assert_eq!(app.rig.me(USER.1).await.json()["subject"], "key:user");
    let detailed = app.rig.ask(TestRequest::get().uri("/health/detailed")).await.json();
    assert_eq!(detailed["auth"]["mode"], "oidc+keys");
}

#[actix_web::test]
async fn the_user_key_can_access_the_configured_engines() {
    let rig = TestApi::new(&[USER, ADMIN, ("MLSDM__AUTH__KEYS__ENGINES", "support")]).await;
    let create = post("/v1/engines", ADMIN.1, &json!({"engine_id": "support"}));
    assert_eq!(rig.ask(create).await.status, 201);
    assert_eq!(rig.ask(with_key("/v1/state", USER.1)).await.status, 404);
    assert_eq!(rig.ask(with_key("/v1/engines/support/state", USER.1)).await.status, 200);
}

#[actix_web::test]
async fn no_token_or_key_is_in_the_event_log() {
    let rig = TestApi::new(&[USER, ADMIN]).await;
    assert_eq!(rig.ask(post("/v1/generate", USER.1, &prompt())).await.status, 200);
    assert_eq!(rig.ask(post("/v1/admin/shutdown", ADMIN.1, &json!({}))).await.status, 200);
    let events = rig.ask(with_key("/v1/events", ADMIN.1)).await;
    assert_eq!(events.status, 200);
    assert!(events.text.contains("key:admin") && !events.text.contains("geheim"));
}
