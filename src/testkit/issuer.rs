//! Signing keys of an identity provider, and valid and invalid tokens signed with them.
#![expect(clippy::expect_used, clippy::panic, reason = "test support: a panic is the report")]

use aws_lc_rs::{
    encoding::AsDer as _,
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        Ed25519KeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto, jwk::Jwk};
use serde_json::{Value, json};

/// Length of the PKCS #8 header in front of an RSA key of 2048 bits.
const PKCS8_PREFIX: usize = 26;

/// A key pair of an issuer.
pub struct IssuerKey {
    /// The key id.
    pub kid: String,
    /// The signature algorithm.
    pub algorithm: Algorithm,
    key: EncodingKey,
}

impl IssuerKey {
    /// Generates a key pair.
    pub fn new(kid: &str, algorithm: Algorithm) -> Self {
        let random = SystemRandom::new();
        let ec = |curve| {
            let der = EcdsaKeyPair::generate_pkcs8(curve, &random).expect("an EC key");
            EncodingKey::from_ec_der(der.as_ref())
        };
        let key = match algorithm {
            Algorithm::ES256 => ec(&ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::ES384 => ec(&ECDSA_P384_SHA384_FIXED_SIGNING),
            Algorithm::EdDSA => {
                let der = Ed25519KeyPair::generate_pkcs8v1(&random).expect("an Ed25519 key");
                EncodingKey::from_ed_der(der.as_ref())
            }
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512 => {
                let pair = KeyPair::generate(KeySize::Rsa2048).expect("an RSA key");
                let der = pair.as_der().expect("an RSA key");
                EncodingKey::from_rsa_der(&der.as_ref()[PKCS8_PREFIX..])
            }
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 | _ => {
                panic!("{algorithm:?} has no key pair")
            }
        };
        Self { kid: kid.to_owned(), algorithm, key }
    }

    /// The public key as a JWK without `alg`, as many providers publish it.
    pub fn jwk(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.key, self.algorithm).expect("a public key");
        let mut jwk = serde_json::to_value(jwk).expect("a public key");
        jwk["kid"] = self.kid.clone().into();
        jwk["use"] = "sig".into();
        jwk.as_object_mut().expect("an object").remove("alg");
        jwk
    }

    /// The header of tokens signed with this key.
    pub fn header(&self) -> Value {
        json!({"alg": format!("{:?}", self.algorithm), "typ": "JWT", "kid": self.kid})
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_text(&self.header().to_string(), &claims.to_string())
    }

    /// A token with a valid signature over these texts, which need not be JSON.
    pub fn sign_text(&self, header: &str, claims: &str) -> String {
        let message = message(header, claims);
        let signature = crypto::sign(message.as_bytes(), &self.key, self.algorithm);
        format!("{message}.{}", signature.expect("a signature"))
    }
}

/// The signed part of a token.
pub fn message(header: &str, claims: &str) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
}

/// A JWKS document with these keys.
pub fn jwks(keys: &[&IssuerKey]) -> Value {
    json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() })
}
