//! Mutated tokens: a bounded, deterministic run.

use std::sync::Arc;

use jsonwebtoken::Algorithm;
use mlsdm::{
    auth::{Authenticator, Credential, Method, Principal, Rules},
    domain::ids::EngineId,
    testkit::{
        issuer::{IssuerKey, jwks},
        mutate::mutations,
    },
};
use serde_json::json;

use crate::fixture::START;

/// Number of mutations of each part.
const TIMES: usize = 3_000;

fn authenticator(key: &IssuerKey) -> Authenticator {
    let rules = Rules {
        issuer: "https://issuer".to_owned(),
        audience: "mlsdm".to_owned(),
        algorithms: vec![Algorithm::EdDSA],
        roles_claim: "roles".to_owned(),
        engines_claim: "mlsdm_engines".to_owned(),
        default_roles: Vec::new(),
        default_engine: EngineId::default(),
        method: Method::Oidc,
    };
    let jwks = jwks(&[key]).to_string();
    Authenticator::with_jwks(rules, jwks.as_bytes(), Arc::new(|| START * 1_000_000))
}

async fn offered(auth: &Authenticator, token: &[u8]) -> Option<Arc<Principal>> {
    // bytes that are not text are refused with the headers
    let token = std::str::from_utf8(token).ok()?;
    auth.authenticate(Credential::Bearer(token)).await.ok()
}

#[tokio::test]
async fn a_mutated_token_is_refused_and_mutated_claims_grant_nothing() {
    let key = IssuerKey::new("key-1", Algorithm::EdDSA);
    let auth = authenticator(&key);
    let header = key.header().to_string();
    let claims = json!({
        "iss": "https://issuer", "aud": ["mlsdm", "other"], "sub": "ann", "iat": START,
        "exp": START + 60, "roles": ["user"], "mlsdm_engines": ["default", "two"],
    })
    .to_string();
    let good = key.sign_text(&header, &claims);
    assert!(offered(&auth, good.as_bytes()).await.is_some());
    for token in mutations(good.as_bytes(), TIMES) {
        assert_eq!(offered(&auth, &token).await, None, "{}", String::from_utf8_lossy(&token));
    }
    // signed after the mutation, as by a defective provider: read literally, or refused
    for claims in mutations(claims.as_bytes(), TIMES) {
        let token = key.sign_text(&header, &String::from_utf8_lossy(&claims));
        if let Some(principal) = offered(&auth, token.as_bytes()).await {
            assert!(!principal.subject.is_empty() && principal.subject.chars().count() <= 255);
            assert!(principal.roles.iter().all(|role| role == "user"), "{principal:?}");
        }
    }
    for header in mutations(header.as_bytes(), TIMES) {
        let token = key.sign_text(&String::from_utf8_lossy(&header), &claims);
        if let Some(principal) = offered(&auth, token.as_bytes()).await {
            assert_eq!(principal.subject, "ann", "the claims are unchanged");
        }
    }
}
