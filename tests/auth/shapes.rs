//! Tokens in the format of the providers in `deploy/OIDC.md`, with the documented settings.

use jsonwebtoken::Algorithm;
use mlsdm::testkit::issuer::{IssuerKey, jwks};
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use crate::fixture::{AUDIENCE, TestApi};

/// A provider: its issuer, the documented settings, and the claims of its tokens except times.
struct Provider {
    name: &'static str,
    issuer: &'static str,
    settings: &'static [(&'static str, &'static str)],
    claims: Value,
    subject: &'static str,
    roles: Value,
}

const TENANT: &str = "5ca1ab1e-0000-4000-8000-000000000000";

fn providers() -> Vec<Provider> {
    vec![
        Provider {
            name: "Auth0",
            issuer: "https://tenant.eu.auth0.com/",
            settings: &[("MLSDM_OIDC_ROLES_CLAIM", "https://mlsdm.example/roles")],
            claims: json!({
                "sub": "auth0|5f7c8ec7c33c6c004bbafe82", "azp": "client", "scope": "openid",
                "aud": [AUDIENCE, "https://tenant.eu.auth0.com/userinfo"],
                "https://mlsdm.example/roles": ["user"],
            }),
            subject: "auth0|5f7c8ec7c33c6c004bbafe82",
            roles: json!(["user"]),
        },
        Provider {
            name: "Okta",
            issuer: "https://dev-1.okta.com/oauth2/default",
            settings: &[("MLSDM_OIDC_ROLES_CLAIM", "groups")],
            claims: json!({
                "ver": 1, "jti": "AT.1", "aud": AUDIENCE, "cid": "0oa1", "uid": "00u1",
                "scp": ["openid"], "sub": "ann@example.com", "groups": ["Everyone", "auditor"],
            }),
            subject: "ann@example.com",
            roles: json!(["auditor"]),
        },
        Provider {
            name: "Keycloak",
            issuer: "https://keycloak.example/realms/mlsdm",
            settings: &[("MLSDM_OIDC_ROLES_CLAIM", "realm_access.roles")],
            claims: json!({
                "typ": "Bearer", "azp": "app", "aud": [AUDIENCE, "account"],
                "sub": "f:1:ann", "preferred_username": "ann",
                "realm_access": {"roles": ["offline_access", "operator"]},
                "resource_access": {"account": {"roles": ["view-profile"]}},
            }),
            subject: "f:1:ann",
            roles: json!(["operator"]),
        },
        Provider {
            name: "Google",
            issuer: "https://accounts.google.com",
            settings: &[("MLSDM__AUTH__OIDC__DEFAULT_ROLES", "user")],
            claims: json!({
                "aud": AUDIENCE, "azp": "1.apps.googleusercontent.com", "hd": "example.com",
                "sub": "110169484474386276334", "email": "ann@example.com", "name": "Ann",
            }),
            subject: "110169484474386276334",
            roles: json!(["user"]),
        },
    ]
}

fn azure() -> Vec<Provider> {
    vec![
        Provider {
            name: "Azure AD v1",
            issuer: "https://sts.windows.net/5ca1ab1e-0000-4000-8000-000000000000/",
            settings: &[],
            claims: json!({
                "ver": "1.0", "aud": AUDIENCE, "tid": TENANT, "appid": "a", "oid": "o",
                "sub": "pairwise-v1", "roles": ["admin"], "upn": "ann@example.com",
            }),
            subject: "pairwise-v1",
            roles: json!(["admin"]),
        },
        Provider {
            name: "Azure AD v2",
            issuer: "https://login.microsoftonline.com/5ca1ab1e-0000-4000-8000-000000000000/v2.0",
            settings: &[],
            claims: json!({
                "ver": "2.0", "aud": AUDIENCE, "tid": TENANT, "azp": "a", "oid": "o",
                "sub": "pairwise-v2", "roles": ["service"], "preferred_username": "ann",
            }),
            subject: "pairwise-v2",
            roles: json!(["service"]),
        },
    ]
}

#[actix_web::test]
async fn the_documented_settings_match_the_tokens_of_the_providers() {
    let document = include_str!("../../deploy/OIDC.md");
    let key = IssuerKey::new("key-1", Algorithm::RS256);
    let server = MockServer::start().await;
    let keys = ResponseTemplate::new(200).set_body_json(jwks(&[&key]));
    Mock::given(any()).respond_with(keys).mount(&server).await;
    let uri = server.uri();
    for provider in providers().into_iter().chain(azure()) {
        let name = provider.name;
        let own = [
            ("MLSDM_OIDC_ISSUER", provider.issuer),
            ("MLSDM_OIDC_AUDIENCE", AUDIENCE),
            ("MLSDM_OIDC_JWKS_URI", &*uri),
        ];
        let rig = TestApi::new(&[&own[..], provider.settings].concat()).await;
        let mut claims = provider.claims;
        claims["iss"] = provider.issuer.into();
        claims["iat"] = rig.now().into();
        claims["nbf"] = rig.now().into();
        claims["exp"] = (rig.now() + 3600).into();
        let me = rig.me(&key.sign(&claims)).await;
        assert_eq!(me.status, 200, "{name}: {me:?}");
        let me = me.json();
        assert_eq!((&me["subject"], &me["roles"]), (&json!(provider.subject), &provider.roles));
        assert!(document.contains(name), "{name} is documented");
        for (variable, value) in provider.settings {
            assert!(document.contains(&format!("{variable}={value}")), "{name}: {variable}");
        }
    }
}
