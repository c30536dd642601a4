//! Verification of tokens, for the first time (compared with the bare signature) and repeated; and lookup of
//! API keys.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use aws_lc_rs::{
    encoding::AsDer as _,
    rsa::{KeyPair, KeySize},
};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, crypto, encode,
    jwk::{Jwk, JwkSet},
};
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::table::{Row, median};
use crate::{
    auth::{
        Authenticator, Credential, EngineScope, Method, Rules,
        keys::{Keys, mint},
        role::{Roles, USER},
    },
    clock,
    domain::{
        ids::{EngineId, Sha256},
        keys::{ApiKey, KEYS_MAX, KeyGrant},
    },
    ids,
};

/// Number of tokens.
const TOKENS: usize = 1_000;
/// Bytes of PKCS #8 before the RSA key of 2048 bits.
const PKCS8_PREFIX: usize = 26;

pub(super) async fn run() -> anyhow::Result<Vec<Row>> {
    let pair = KeyPair::generate(KeySize::Rsa2048).ok().context("cannot generate an RSA key")?;
    let der = pair.as_der().ok().context("cannot encode an RSA key")?;
    let key = EncodingKey::from_rsa_der(der.as_ref().get(PKCS8_PREFIX..).unwrap_or_default());
    let jwk = Jwk::from_encoding_key(&key, Algorithm::RS256)?;
    let decoding = DecodingKey::from_jwk(&jwk)?;
    let now = clock::now_micros() / 1_000_000;
    let token = |n: usize| {
        let claims = json!({
            "iss": "https://issuer", "aud": "mlsdm", "sub": format!("user-{n}"),
            "iat": now, "exp": now + 3600, "roles": ["user"],
        });
        encode(&Header::new(Algorithm::RS256), &claims, &key)
    };
    let tokens = (0..TOKENS).map(token).collect::<Result<Vec<_>, _>>()?;
    let jwks = serde_json::to_vec(&JwkSet { keys: vec![jwk] })?;
    let auth = Authenticator::with_jwks(rules(), &jwks, Arc::new(clock::now_micros));

    let mut bare = Vec::with_capacity(TOKENS);
    for token in &tokens {
        let (message, signature) = token.rsplit_once('.').context("a token has three parts")?;
        let started = Instant::now();
        black_box(crypto::verify(signature, message.as_bytes(), &decoding, Algorithm::RS256)?);
        bare.push(micros(started.elapsed()));
    }
    let first = verify(&auth, &tokens).await?;
    let again = verify(&auth, &tokens).await?;
    Ok(vec![
        Row::new("a token verified, RS256", first, "µs").limit("its signature", median(bare)),
        Row::new("the same token again", again, "µs"),
        Row::new("a key of 10,000", lookup(KEYS_MAX, now)?, "µs").limit("of one", lookup(1, now)?),
    ])
}

/// Median time to find a managed key among `count`, in microseconds.
fn lookup(count: usize, now: i64) -> anyhow::Result<f64> {
    let keys = Keys::fixed(None, None, &EngineScope::All, Roles::default());
    let mut secrets = Vec::with_capacity(count);
    let mut managed = Vec::with_capacity(count);
    for _ in 0..count {
        let id = ids::key_id();
        let (secret, hash) = mint(id)?;
        secrets.push(secret);
        managed.push((id, Arc::new(key(hash))));
    }
    keys.manage(1, managed.iter().map(|(id, key)| (id, key)));
    let mut taken = Vec::with_capacity(KEYS_MAX);
    for secret in secrets.iter().cycle().take(KEYS_MAX) {
        let started = Instant::now();
        black_box(keys.find(secret.expose_secret(), now)?);
        taken.push(micros(started.elapsed()));
    }
    Ok(median(taken))
}

fn key(hash: Sha256) -> ApiKey {
    let grant = KeyGrant {
        name: "bench".to_owned(),
        roles: vec![USER.to_owned()],
        engines: vec![EngineId::DEFAULT.to_owned()],
        expires_at: None,
        rate: None,
        budget: None,
    };
    let (created_by, rotated_at, previous) = ("bench".to_owned(), None, None);
    ApiKey { grant, hash, created_at: 0, created_by, rotated_at, previous }
}

async fn verify(auth: &Authenticator, tokens: &[String]) -> anyhow::Result<f64> {
    let mut taken = Vec::with_capacity(tokens.len());
    for token in tokens {
        let started = Instant::now();
        black_box(auth.authenticate(Credential::Bearer(token)).await?);
        taken.push(micros(started.elapsed()));
    }
    Ok(median(taken))
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1000.0
}

fn rules() -> Rules {
    Rules {
        issuer: "https://issuer".to_owned(),
        audience: "mlsdm".to_owned(),
        algorithms: vec![Algorithm::RS256],
        roles_claim: "roles".to_owned(),
        engines_claim: "mlsdm_engines".to_owned(),
        default_roles: Vec::new(),
        default_engine: EngineId::default(),
        method: Method::Oidc,
    }
}
