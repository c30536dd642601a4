//! Invalid credentials: each gets status 401, all with the same body.

use actix_web::test::TestRequest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use jsonwebtoken::Algorithm;
use mlsdm::testkit::issuer::{IssuerKey, message};
use serde_json::{Value, json};

use crate::fixture::{Answer, TestIssuer, changed, get};

/// Sends a request that must be refused, and checks the response.
async fn refuses(app: &TestIssuer, name: &str, request: TestRequest) -> Answer {
    let nothing = app.rig.ask(TestRequest::get().uri("/v1/me")).await;
    let answer = app.rig.ask(request).await;
    assert_eq!((answer.status, answer.code().as_str()), (401, "E201"), "{name}: {answer:?}");
    assert_eq!(answer.bare(), nothing.bare(), "{name}");
    let challenge = answer.headers.get("www-authenticate").unwrap().to_str().unwrap();
    assert!(challenge.starts_with("Bearer"), "{name}");
    answer
}

/// A token with a changed header, valid claims and a valid signature.
fn with_header(app: &TestIssuer, changes: &Value) -> String {
    let header = changed(app.key.header(), changes);
    app.key.sign_text(&header.to_string(), &app.claims().to_string())
}

#[actix_web::test]
async fn a_valid_token_is_accepted() {
    for algorithm in [
        Algorithm::RS256,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
    ] {
        let app = TestIssuer::with(algorithm, &[]).await;
        let me = app.rig.me(&app.token(&json!({"name": "Ann"}))).await;
        assert_eq!(me.status, 200, "{algorithm:?}: {me:?}");
        let me = me.json();
        assert_eq!((&me["subject"], &me["method"]), (&json!("ann"), &json!("oidc")));
        assert_eq!((&me["name"], &me["engines"]), (&json!("Ann"), &json!(["default"])));
        assert!(me["permissions"].as_array().unwrap().contains(&json!("generate")));
    }
}

#[actix_web::test]
async fn a_signature_must_be_made_with_a_key_of_the_provider() {
    let app = TestIssuer::new().await;
    let claims = app.claims().to_string();
    let unsigned = |alg: &str| message(&json!({"alg": alg, "kid": "key-1"}).to_string(), &claims);
    // the public key as a shared secret
    let hs256 = unsigned("HS256");
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(app.key.jwk()["n"].to_string().as_bytes());
    let mac = mac.as_mut().unwrap();
    mac.update(hs256.as_bytes());
    let mac = URL_SAFE_NO_PAD.encode(mac.clone().finalize().into_bytes());
    let stranger = IssuerKey::new("key-1", Algorithm::RS256);
    let curve = IssuerKey::new("key-1", Algorithm::ES256);
    let good = app.token(&json!({}));
    let (head, signature) = good.rsplit_once('.').unwrap();
    let cases = [
        ("alg none", format!("{}.", unsigned("none"))),
        ("alg None", format!("{}.", unsigned("None"))),
        ("alg none, signed", format!("{}.{signature}", unsigned("none"))),
        ("HS256 with the public key", format!("{hs256}.{mac}")),
        ("a stranger's key", stranger.sign(&app.claims())),
        ("wrong key type for alg", curve.sign(&app.claims())),
        ("zero ES256 signature", {
            let header = json!({"alg": "ES256", "kid": "key-1"}).to_string();
            format!("{}.{}", message(&header, &claims), URL_SAFE_NO_PAD.encode([0; 64]))
        }),
        ("no signature", format!("{head}.")),
        ("half a signature", format!("{head}.{}", &signature[..signature.len() / 2])),
        ("truncated base64", good[..good.len() - 1].to_owned()),
        ("another's payload", {
            let other = changed(app.claims(), &json!({"sub": "bob", "roles": "admin"}));
            format!("{}.{signature}", message(&app.key.header().to_string(), &other.to_string()))
        }),
        ("another algorithm than was signed", { with_header(&app, &json!({"alg": "RS384"})) }),
    ];
    for (name, token) in cases {
        refuses(&app, name, get("/v1/me", &token)).await;
    }
    assert_eq!(app.rig.me(&good).await.status, 200);
}

/// The zero signature against a key of the same curve, whose type is not a reason for refusal.
#[actix_web::test]
async fn a_zero_signature_is_refused() {
    let app = TestIssuer::with(Algorithm::ES256, &[]).await;
    let message = message(&app.key.header().to_string(), &app.claims().to_string());
    let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode([0; 64]));
    refuses(&app, "zero", get("/v1/me", &token)).await;
}

#[actix_web::test]
async fn a_token_cannot_contain_a_key_or_critical_extensions() {
    let app = TestIssuer::new().await;
    let own = IssuerKey::new("key-1", Algorithm::RS256);
    let mut header = own.header();
    header["jwk"] = own.jwk();
    let embedded = own.sign_text(&header.to_string(), &app.claims().to_string());
    refuses(&app, "embedded jwk", get("/v1/me", &embedded)).await;
    for (name, changes) in [
        ("jwk beside a good signature", json!({"jwk": app.key.jwk()})),
        ("jku", json!({"jku": "https://evil.example/keys"})),
        ("x5u", json!({"x5u": "https://evil.example/cert"})),
        ("x5c", json!({"x5c": ["MIIB"]})),
        ("crit", json!({"crit": ["exp"]})),
        ("kid with a path", json!({"kid": "../../../../etc/passwd"})),
        ("kid with SQL", json!({"kid": "x' UNION SELECT 'key' --"})),
        ("kid that is no text", json!({"kid": 1})),
        ("kid that is null", json!({"kid": [null]})),
        ("no alg", json!({"alg": null})),
        ("alg in lower case", json!({"alg": "rs256"})),
        ("alg in a list", json!({"alg": ["RS256"]})),
        ("another type of token", json!({"typ": "logout+jwt"})),
    ] {
        refuses(&app, name, get("/v1/me", &with_header(&app, &changes))).await;
    }
}

#[actix_web::test]
async fn every_claim_is_checked() {
    let app = TestIssuer::new().await;
    let now = app.rig.now();
    let upper = app.provider.uri().to_uppercase();
    for (name, changes) in [
        ("expired", json!({"exp": now - 31})),
        ("not yet valid", json!({"nbf": now + 31})),
        ("issued in the future", json!({"iat": now + 31})),
        ("no exp", json!({"exp": null})),
        ("no aud", json!({"aud": null})),
        ("no iss", json!({"iss": null})),
        ("no sub", json!({"sub": null})),
        ("no iat", json!({"iat": null})),
        ("empty sub", json!({"sub": ""})),
        ("a subject of the server's own", json!({"sub": "key:admin"})),
        ("other audiences", json!({"aud": ["a", "b"]})),
        ("lookalike audience", json!({"aud": "mlsdm-test2"})),
        ("empty audience", json!({"aud": ""})),
        ("no audience in a list", json!({"aud": []})),
        ("audience as an object", json!({"aud": {"mlsdm-test": 1}})),
        ("issuer with a slash", json!({"iss": format!("{}/", app.provider.uri())})),
        ("issuer in upper case", json!({"iss": upper})),
    ] {
        refuses(&app, name, get("/v1/me", &app.token(&changes))).await;
    }
    let listed = app.token(&json!({"aud": ["other", "mlsdm-test"]}));
    assert_eq!(app.rig.me(&listed).await.status, 200);
}

#[actix_web::test]
async fn an_ambiguous_token_is_refused() {
    let app = TestIssuer::new().await;
    let (header, claims) = (app.key.header().to_string(), app.claims().to_string());
    let twice = |text: &str, more: &str| format!("{{{more},{}", &text[1..]);
    let good = app.token(&json!({}));
    let large = app.token(&json!({"more": "x".repeat(1_000_000)}));
    let padded = good.replacen('.', "=.", 1);
    for (name, token) in [
        ("duplicate claims", app.key.sign_text(&header, &twice(&claims, "\"sub\":\"bob\""))),
        ("duplicate header", app.key.sign_text(&twice(&header, "\"alg\":\"RS256\""), &claims)),
        ("nested duplicates", app.key.sign_text(&header, &twice(&claims, r#""a":{"b":1,"b":2}"#))),
        ("claims that are no object", app.key.sign_text(&header, "[]")),
        ("claims that are not JSON", app.key.sign_text(&header, "ann")),
        ("1 MB", large),
        ("more than 16 KiB", app.token(&json!({"more": "x".repeat(16 * 1024)}))),
        ("not a JWT", "ey.a.b".to_owned()),
        ("an opaque token", "2YotnFZFEjr1zCsicMWpAA".to_owned()),
        ("JWE", format!("{good}.a.b")),
        ("padding", padded),
        ("nothing", String::new()),
        ("a space inside", good.replacen('.', " .", 1)),
    ] {
        refuses(&app, name, get("/v1/me", &token)).await;
    }
}

#[actix_web::test]
async fn a_credential_is_accepted_once_and_in_its_header() {
    let app = TestIssuer::new().await;
    let token = app.token(&json!({}));
    let bearer = ("authorization", format!("Bearer {token}"));
    let plain = || TestRequest::get().uri("/v1/me");
    let query = format!("/v1/me?access_token={token}&token={token}");
    for (name, request) in [
        ("two headers", plain().append_header(bearer.clone()).append_header(bearer.clone())),
        ("token and key", get("/v1/me", &token).insert_header(("x-api-key", "k".repeat(32)))),
        ("in the query", TestRequest::get().uri(&query)),
        ("Basic", plain().insert_header(("authorization", "Basic YTpi"))),
        ("no scheme", plain().insert_header(("authorization", token.clone()))),
        ("in a list", plain().insert_header(("authorization", format!("Bearer {token}, {token}")))),
        ("as a key", plain().insert_header(("x-api-key", token.clone()))),
        ("in a cookie", plain().insert_header(("cookie", format!("token={token}")))),
    ] {
        refuses(&app, name, request).await;
    }
    let lower = plain().insert_header(("authorization", format!("bearer {token}")));
    assert_eq!(app.rig.ask(lower).await.status, 200, "the scheme is case-insensitive");
}

#[actix_web::test]
async fn roles_must_match_exactly() {
    let app = TestIssuer::new().await;
    for roles in [
        json!("admin "),
        json!("Admin"),
        json!(["admin ", "user "]),
        json!([["admin"]]),
        json!({"admin": true}),
        json!(7),
        json!([true]),
        json!(["stranger"]),
    ] {
        let token = app.token(&json!({"roles": roles}));
        let refused = app.rig.ask(get("/v1/state", &token)).await;
        assert_eq!((refused.status, refused.code().as_str()), (403, "E202"), "{roles}");
        assert_eq!(app.rig.me(&token).await.json()["permissions"], json!([]));
    }
}

/// A cached token expires like any other.
#[actix_web::test]
async fn a_repeated_token_is_refused_after_its_expiry() {
    let app = TestIssuer::new().await;
    let token = app.token(&json!({}));
    assert_eq!(app.rig.me(&token).await.status, 200);
    assert_eq!(app.rig.me(&token).await.status, 200);
    app.rig.pass(300 + 30);
    refuses(&app, "expired meanwhile", get("/v1/me", &token)).await;
}

#[actix_web::test]
async fn an_invalid_token_is_ignored_on_public_routes() {
    let app = TestIssuer::new().await;
    for uri in ["/health/live", "/health/detailed", "/openapi.json"] {
        assert_eq!(app.rig.ask(get(uri, "nonsense")).await.status, 200, "{uri}");
    }
}
