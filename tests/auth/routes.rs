//! Every route: without a token, with all permissions but the required one, and with only the required one.

use actix_web::{http::Method, test::TestRequest};
use mlsdm::{
    auth::Permission,
    http::{access::Access, openapi, routes::endpoints},
};
use serde_json::{Value, json};

use crate::fixture::{TestIssuer, prompt};

/// The public routes.
const PUBLIC: &[&str] = &[
    "/health",
    "/health/live",
    "/health/ready",
    "/health/detailed",
    "/status",
    "/openapi.json",
    "/docs",
    "/docs/{file}",
];

/// For each permission, a role with only it and a role with all others.
fn roles() -> String {
    let all = Permission::ALL;
    let entry = |name: String, list: Vec<&str>| format!("{name}={}", list.join("+"));
    let only = all.iter().map(|p| entry(format!("only-{p}"), vec![p.as_str()]));
    let but = all.iter().map(|p| {
        let others = all.iter().filter(|other| *other != p).map(|other| other.as_str());
        entry(format!("but-{p}"), others.collect())
    });
    only.chain(but).collect::<Vec<_>>().join(",")
}

fn request(method: &Method, path: &str) -> TestRequest {
    let uri = path.replace("{engine}", "default").replace("{position}", "1");
    let uri = uri.replace("{model}", "local-stub").replace("{file}", "index.html");
    let request = TestRequest::default().method(method.clone()).uri(&uri);
    if *method == Method::POST { request.set_json(prompt()) } else { request }
}

#[actix_web::test]
async fn every_route_requires_the_documented_permission() {
    let app =
        TestIssuer::with(jsonwebtoken::Algorithm::EdDSA, &[("MLSDM__AUTH__ROLES", &roles())]).await;
    let document = serde_json::to_value(openapi::document()).unwrap();
    let mut guarded = 0;
    for endpoint in endpoints() {
        let path = endpoint.path();
        for (method, access) in endpoint.methods() {
            let name = format!("{method} {path}");
            let nobody = app.rig.ask(request(method, &path)).await;
            let operation = &document["paths"][&path][method.as_str().to_lowercase()];
            if operation.is_object() {
                assert_eq!(operation["x-mlsdm-permission"], access.as_str(), "{name}");
                let security = operation["security"].as_array().unwrap();
                assert_eq!(security.is_empty(), *access == Access::Public, "{name}");
            } else {
                assert!(path.starts_with("/docs") || *method == Method::HEAD, "{name}");
            }
            if *access == Access::Public {
                assert!(PUBLIC.contains(&path.as_str()), "{name} is public");
                assert_ne!(nobody.status, 401, "{name}");
                continue;
            }
            guarded += 1;
            assert_eq!(nobody.status, 401, "{name}");
            assert!(nobody.headers.contains_key("www-authenticate"), "{name}");
            let Access::Permission(permission) = access else { continue };
            // the stream of events does not end
            let with = async |role: String| {
                let token = app.token(&json!({"roles": role}));
                let bearer = ("authorization", format!("Bearer {token}"));
                app.rig.head(request(method, &path).insert_header(bearer)).await.status
            };
            assert_eq!(with(format!("but-{permission}")).await, 403, "{name}");
            let allowed = with(format!("only-{permission}")).await;
            assert!(!matches!(allowed, 401 | 403), "{name}: {allowed}");
        }
    }
    assert!(guarded > 40, "{guarded}");
}

/// The body is not parsed before authentication.
#[actix_web::test]
async fn authentication_precedes_the_body() {
    let app = TestIssuer::new().await;
    let broken = || TestRequest::post().uri("/v1/generate").set_payload("{");
    assert_eq!(app.rig.ask(broken()).await.status, 401);
    let auditor = app.token(&json!({"roles": "auditor"}));
    let bearer = ("authorization", format!("Bearer {auditor}"));
    assert_eq!(app.rig.ask(broken().insert_header(bearer)).await.status, 403);
}

/// Authentication errors use the format of the route's API.
#[actix_web::test]
async fn refusals_have_the_format_that_clients_expect() {
    let app = TestIssuer::new().await;
    let post = |uri: &str| TestRequest::post().uri(uri).set_json(json!({}));
    let openai = app.rig.ask(post("/v1/chat/completions")).await.json();
    assert_eq!(openai["error"]["type"], "authentication_error");
    let anthropic: Value = app.rig.ask(post("/v1/messages")).await.json();
    assert_eq!(anthropic["error"]["type"], "authentication_error");
    let auditor = app.token(&json!({"roles": "auditor"}));
    let bearer = ("authorization", format!("Bearer {auditor}"));
    let openai = app.rig.ask(post("/v1/chat/completions").insert_header(bearer)).await.json();
    assert_eq!(openai["error"]["type"], "permission_error");
}
