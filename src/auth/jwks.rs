//! A set of public keys (RFC 7517), each usable only with the algorithms of its type.

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{
        AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations,
        PublicKeyUse,
    },
};
use serde::Deserialize;
use serde_json::Value;

/// Maximum number of keys in a set; further ones are ignored.
const KEYS_MAX: usize = 64;
/// Minimum length of an RSA modulus in base64url characters: 2048 bits.
const MODULUS_CHARS_MIN: usize = 2048 / 8 * 4 / 3;

const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// One public key.
pub(super) struct Key {
    kid: Option<String>,
    /// The algorithms that key type, curve and `alg` allow.
    algorithms: Vec<Algorithm>,
    pub(super) decoding: DecodingKey,
}

/// The keys of an issuer.
#[derive(Default)]
pub(super) struct KeySet(Vec<Key>);

/// The result of looking up the key of a token.
pub(super) enum KeyMatch<'a> {
    Key(&'a Key),
    /// The `kid` exists, but its key cannot be used with the algorithm.
    WrongType,
    None,
}

impl KeySet {
    /// Parses a JWKS document and keeps the usable keys. Returns none if it is not a JWKS document.
    pub(super) fn parse(document: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        let document: Document = serde_json::from_slice(document).ok()?;
        // one by one: a key of an unknown type must not make the others unusable
        let keys = document.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok());
        Some(Self(keys.filter_map(|jwk| Key::new(&jwk)).take(KEYS_MAX).collect()))
    }

    pub(super) fn of(key: Option<Key>) -> Self {
        Self(key.into_iter().collect())
    }

    /// Finds the key that a token names. Without a `kid`, the only key for the algorithm matches.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> KeyMatch<'_> {
        let fits = |key: &&Key| key.algorithms.contains(&algorithm);
        let Some(kid) = kid else {
            let mut fitting = self.0.iter().filter(fits);
            return match (fitting.next(), fitting.next()) {
                (Some(key), None) => KeyMatch::Key(key),
                _ => KeyMatch::None,
            };
        };
        let mut named = self.0.iter().filter(|key| key.kid.as_deref() == Some(kid)).peekable();
        if named.peek().is_none() {
            return KeyMatch::None;
        }
        named.find(fits).map_or(KeyMatch::WrongType, KeyMatch::Key)
    }

    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }
}

impl Key {
    /// Returns none unless the key is public, for signatures and long enough.
    pub(super) fn new(jwk: &Jwk) -> Option<Self> {
        if !is_for_signatures(&jwk.common) {
            return None;
        }
        let of_type: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(rsa) if rsa.n.len() >= MODULUS_CHARS_MIN => RSA,
            AlgorithmParameters::EllipticCurve(ec) => match ec.curve {
                EllipticCurve::P256 => &[Algorithm::ES256],
                EllipticCurve::P384 => &[Algorithm::ES384],
                EllipticCurve::P521 | EllipticCurve::Ed25519 | _ => return None,
            },
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
                &[Algorithm::EdDSA]
            }
            AlgorithmParameters::RSA(_)
            | AlgorithmParameters::OctetKeyPair(_)
            // a shared secret in a public document is not secret
            | AlgorithmParameters::OctetKey(_)
            | AlgorithmParameters::Other(_)
            | _ => return None,
        };
        let named = jwk.common.key_algorithm;
        let algorithms =
            of_type.iter().copied().filter(|own| named.is_none_or(|alg| alg == (*own).into()));
        let algorithms: Vec<_> = algorithms.collect();
        let decoding = DecodingKey::from_jwk(jwk).ok()?;
        let kid = jwk.common.key_id.clone();
        (!algorithms.is_empty()).then_some(Self { kid, algorithms, decoding })
    }
}

fn is_for_signatures(common: &CommonParameters) -> bool {
    let use_fits = common.public_key_use.as_ref().is_none_or(|u| *u == PublicKeyUse::Signature);
    let ops = common.key_operations.as_ref();
    let ops_fit = ops.is_none_or(|ops| ops.contains(&KeyOperations::Verify));
    let known = common.key_algorithm != Some(KeyAlgorithm::UNKNOWN_ALGORITHM);
    use_fits && ops_fit && known
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(keys: &Value) -> KeySet {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_key_is_usable_only_with_the_algorithms_of_its_type_and_use() {
        let n = "u".repeat(341) + "A";
        let rsa = |more: Value| {
            let mut key = json!({"kty": "RSA", "kid": "a", "n": n, "e": "AQAB"});
            key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            key
        };
        let fits =
            |key: Value, alg| matches!(set(&json!([key])).find(Some("a"), alg), KeyMatch::Key(_));
        assert!(fits(rsa(json!({})), Algorithm::RS256) && fits(rsa(json!({})), Algorithm::PS512));
        assert!(!fits(rsa(json!({})), Algorithm::ES256) && !fits(rsa(json!({})), Algorithm::HS256));
        assert!(fits(rsa(json!({"alg": "RS256", "use": "sig"})), Algorithm::RS256));
        assert!(!fits(rsa(json!({"alg": "RS256"})), Algorithm::PS256));
        assert!(!fits(rsa(json!({"use": "enc"})), Algorithm::RS256));
        assert!(!fits(rsa(json!({"alg": "RSA-OAEP"})), Algorithm::RS256));
        assert!(!fits(rsa(json!({"key_ops": ["encrypt"]})), Algorithm::RS256));
        assert!(!fits(rsa(json!({"n": "u".repeat(170) + "A"})), Algorithm::RS256), "1024 bits");
        let secret = json!({"kty": "oct", "kid": "a", "k": "AAAA"});
        assert!(!fits(secret, Algorithm::HS256));
    }

    #[test]
    fn unknown_key_types_are_skipped_and_several_keys_require_a_kid() {
        let x = "A".repeat(43);
        let ed = |kid: &str| json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid});
        let one = set(&json!([{"kty": "ML-DSA"}, 7, {"kty": "RSA"}, ed("one")]));
        assert_eq!(one.len(), 1);
        assert!(matches!(one.find(None, Algorithm::EdDSA), KeyMatch::Key(_)));
        assert!(matches!(one.find(Some("two"), Algorithm::EdDSA), KeyMatch::None));
        assert!(matches!(one.find(Some("one"), Algorithm::RS256), KeyMatch::WrongType));
        let two = set(&json!([ed("one"), ed("two")]));
        assert!(matches!(two.find(None, Algorithm::EdDSA), KeyMatch::None));
        assert!(matches!(two.find(Some("two"), Algorithm::EdDSA), KeyMatch::Key(_)));
        assert!(KeySet::parse(b"<html>").is_none());
    }
}
