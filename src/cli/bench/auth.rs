//! Verifying tokens: for the first time, beside the bare signature, and again.

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
use serde_json::json;

use super::table::{Row, median};
use crate::{
    auth::{Authenticator, Credential, Method, Rules},
    clock,
    domain::ids::EngineId,
};

/// Tokens measured.
const TOKENS: usize = 1_000;
/// Bytes of PKCS #8 before the RSA key of 2048 bits in it.
const PKCS8_PREFIX: usize = 26;

pub(super) async fn run() -> anyhow::Result<Vec<Row>> {
    let pair = KeyPair::generate(KeySize::Rsa2048).ok().context("no RSA key can be made")?;
    let der = pair.as_der().ok().context("an RSA key cannot be written")?;
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
    let auth = Authenticator::of_keys(rules(), &jwks, Arc::new(clock::now_micros));

    let mut bare = Vec::with_capacity(TOKENS);
    for token in &tokens {
        let (message, signature) = token.rsplit_once('.').context("a token has parts")?;
        let started = Instant::now();
        black_box(crypto::verify(signature, message.as_bytes(), &decoding, Algorithm::RS256)?);
        bare.push(micros(started.elapsed()));
    }
    let first = verify(&auth, &tokens).await?;
    let again = verify(&auth, &tokens).await?;
    Ok(vec![
        Row::new("a token verified, RS256", first, "µs").beside("its signature", median(bare)),
        Row::new("the same token again", again, "µs"),
    ])
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
