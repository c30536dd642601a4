//! The keys of the provider over time: rotation, outage, and floods of unknown keys.

use jsonwebtoken::Algorithm;
use mlsdm::testkit::issuer::IssuerKey;
use serde_json::json;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use crate::fixture::{AUDIENCE, TestApi, TestIssuer, claims, get, metadata, publish};

#[actix_web::test]
async fn a_flood_of_unknown_keys_causes_one_fetch_in_ten_seconds() {
    let app = TestIssuer::new().await;
    assert_eq!(app.fetches().await, 1, "at startup");
    app.rig.pass(10);
    let stranger = IssuerKey::new("nobody", Algorithm::EdDSA);
    let good = app.token(&json!({}));
    for second in 0..30 {
        // twenty concurrent requests, each with another key id
        let asked = (0..20).map(|n| {
            let header = json!({"alg": "EdDSA", "kid": format!("{second}-{n}")}).to_string();
            let token = stranger.sign_text(&header, &app.claims().to_string());
            let rig = &app.rig;
            async move { rig.me(&token).await.status }
        });
        let answers = futures_util::future::join_all(asked).await;
        assert!(answers.iter().all(|status| *status == 401), "{answers:?}");
        assert_eq!(app.rig.me(&good).await.status, 200, "other callers do not wait");
        app.rig.pass(1);
    }
    assert_eq!(app.fetches().await, 1 + 3);
}

#[actix_web::test]
async fn a_rotated_key_is_found_and_a_removed_one_refused() {
    let app = TestIssuer::new().await;
    let old = app.token(&json!({}));
    assert_eq!(app.rig.me(&old).await.status, 200);
    let new = IssuerKey::new("key-2", Algorithm::ES256);
    app.provider.reset().await;
    publish(&app.provider, &[&new]).await;
    app.rig.pass(10);
    assert_eq!(app.rig.me(&old).await.status, 200, "not fetched again yet");
    assert_eq!(app.rig.me(&new.sign(&app.claims())).await.status, 200);
    assert_eq!(
        app.rig.me(&old).await.status,
        401,
        "its key was removed, even if the token is cached"
    );
}

#[actix_web::test]
async fn known_keys_are_used_during_an_outage_of_the_provider() {
    let app = TestIssuer::new().await;
    let unknown = IssuerKey::new("key-2", Algorithm::ES256);
    app.provider.reset().await;
    let broken = ResponseTemplate::new(503);
    Mock::given(any()).respond_with(broken).mount(&app.provider).await;
    for _ in 0..4 {
        app.rig.pass(900);
        assert_eq!(app.rig.me(&app.token(&json!({}))).await.status, 200);
        assert_eq!(app.rig.me(&unknown.sign(&app.claims())).await.status, 401);
    }
    let detailed = app.rig.ask(get("/health/detailed", "")).await.json();
    assert_eq!(detailed["auth"]["provider_keys"]["age_seconds"], 3600);
    assert_eq!(detailed["auth"]["provider_keys"]["status"], "ok");
    assert_eq!(app.rig.ask(get("/health/ready", "")).await.status, 200);

    // the provider returns: it gets one request, however many callers
    app.provider.reset().await;
    publish(&app.provider, &[&unknown, &app.key]).await;
    app.rig.pass(10);
    let asked = (0..50).map(|n| {
        let token =
            unknown.sign(&crate::fixture::changed(app.claims(), &json!({"sub": format!("u{n}")})));
        let rig = &app.rig;
        async move { rig.me(&token).await.status }
    });
    let answers = futures_util::future::join_all(asked).await;
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
    assert_eq!(app.fetches().await, 1);
}

#[actix_web::test]
async fn keys_expire_during_a_long_outage() {
    let app = TestIssuer::new().await;
    app.provider.reset().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(503)).mount(&app.provider).await;
    app.rig.pass(24 * 3600);
    assert_eq!(app.rig.me(&app.token(&json!({}))).await.status, 200);
    app.rig.pass(1);
    assert_eq!(app.rig.me(&app.token(&json!({}))).await.status, 401);
    let ready = app.rig.ask(get("/health/ready", "")).await;
    assert_eq!((ready.status, ready.code().as_str()), (503, "E705"));
}

#[actix_web::test]
async fn a_server_starts_during_an_outage_of_the_provider() {
    let provider = MockServer::start().await;
    let uri = provider.uri();
    let env = [("MLSDM_OIDC_ISSUER", uri.as_str()), ("MLSDM_OIDC_AUDIENCE", AUDIENCE)];
    let rig = TestApi::new(&env).await;
    let key = IssuerKey::new("key-1", Algorithm::EdDSA);
    let token = key.sign(&claims(&uri, rig.now()));
    assert_eq!(rig.me(&token).await.status, 401);
    let ready = rig.ask(get("/health/ready", "")).await;
    assert_eq!((ready.status, ready.code().as_str()), (503, "E705"));
    publish(&provider, &[&key]).await;
    rig.pass(10);
    assert_eq!(rig.me(&token).await.status, 200);
    assert_eq!(rig.ask(get("/health/ready", "")).await.status, 200);
}

/// Redirects, other issuers and endless bodies are refused.
#[actix_web::test]
async fn keys_are_accepted_only_from_the_provider_itself() {
    let key = IssuerKey::new("key-1", Algorithm::EdDSA);
    let real = MockServer::start().await;
    publish(&real, &[&key]).await;
    let there = format!("{}/.well-known/openid-configuration", real.uri());
    let answers = [
        ("a redirect", ResponseTemplate::new(302).insert_header("location", there.as_str())),
        ("another issuer", {
            let body = metadata(&real.uri());
            ResponseTemplate::new(200).set_body_json(body)
        }),
        ("too much", ResponseTemplate::new(200).set_body_string(" ".repeat(300 * 1024))),
        ("no JSON", ResponseTemplate::new(200).set_body_string("<html>")),
    ];
    for (name, answer) in answers {
        let provider = MockServer::start().await;
        Mock::given(any()).respond_with(answer).mount(&provider).await;
        let uri = provider.uri();
        let env = [("MLSDM_OIDC_ISSUER", uri.as_str()), ("MLSDM_OIDC_AUDIENCE", AUDIENCE)];
        let rig = TestApi::new(&env).await;
        assert_eq!(rig.me(&key.sign(&claims(&uri, rig.now()))).await.status, 401, "{name}");
    }
}

#[actix_web::test]
async fn the_url_of_the_keys_can_be_configured() {
    let key = IssuerKey::new("key-1", Algorithm::EdDSA);
    let provider = MockServer::start().await;
    publish(&provider, &[&key]).await;
    let keys = format!("{}/keys", provider.uri());
    let rig = TestApi::new(&[
        ("MLSDM_OIDC_ISSUER", "https://issuer.example/"),
        ("MLSDM_OIDC_AUDIENCE", AUDIENCE),
        ("MLSDM_OIDC_JWKS_URI", &keys),
    ])
    .await;
    let token = key.sign(&claims("https://issuer.example/", rig.now()));
    assert_eq!(rig.me(&token).await.status, 200);
    assert_eq!(provider.received_requests().await.unwrap().len(), 1);
}
