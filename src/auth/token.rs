//! One token: strict parsing, and verification of the signature with a key of the issuer.
//!
//! A token has no influence on its own verification: the algorithm must be configured and belong to the
//! key, and a header that contains or locates a key is refused (RFC 8725). Deliberately not here: clocks
//! and key sets, which are arguments.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, crypto};
use serde_json::{Map, Value};

use super::{Reason, json_unique_keys::parse_object, jwks::Key};

/// Maximum length of a token in bytes. Identity providers list the groups of a person in it.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Header parameters that would let a token choose its own key or require an unsupported extension.
const REFUSED_PARAMETERS: [&str; 6] = ["jwk", "jku", "x5u", "x5c", "crit", "zip"];

/// Values of `typ` for resource servers. Others, such as those of logout tokens, are refused.
const TYPES: [&str; 3] = ["JWT", "at+jwt", "application/at+jwt"];

/// A well-formed token whose signature is not verified yet.
pub(super) struct Unverified<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    message: &'a str,
    payload: &'a str,
    signature: &'a str,
}

/// Returns true if a credential looks like a token rather than an API key: three parts separated by
/// dots, the first beginning with `{"` in base64url.
pub(super) fn is_jwt_shaped(credential: &str) -> bool {
    credential.starts_with("ey") && credential.bytes().filter(|b| *b == b'.').count() >= 2
}

impl<'a> Unverified<'a> {
    /// Splits a token and checks its header.
    pub(super) fn parse(token: &'a str, allowed: &[Algorithm]) -> Result<Self, Reason> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Reason::TooLong);
        }
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Reason::Malformed);
        };
        let members = decode_part(header)?;
        if REFUSED_PARAMETERS.iter().any(|name| members.contains_key(*name)) {
            return Err(Reason::Header);
        }
        let typ = members.get("typ").map(|typ| typ.as_str().unwrap_or_default());
        if typ.is_some_and(|typ| !TYPES.iter().any(|known| known.eq_ignore_ascii_case(typ))) {
            return Err(Reason::Header);
        }
        let named = members.get("alg").and_then(Value::as_str).ok_or(Reason::Algorithm)?;
        let algorithm: Algorithm = named.parse().map_err(|_| Reason::Algorithm)?;
        if !allowed.contains(&algorithm) {
            return Err(Reason::Algorithm);
        }
        let kid = match members.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(Reason::Header),
        };
        let message = &token[..header.len() + 1 + payload.len()];
        Ok(Self { algorithm, kid, message, payload, signature })
    }

    /// Verifies the signature, then parses the claims; never the other way round.
    pub(super) fn verify(&self, key: &Key) -> Result<Map<String, Value>, Reason> {
        let message = self.message.as_bytes();
        let verified = crypto::verify(self.signature, message, &key.decoding, self.algorithm);
        if !matches!(verified, Ok(true)) {
            return Err(Reason::Signature);
        }
        decode_part(self.payload)
    }
}

fn decode_part(encoded: &str) -> Result<Map<String, Value>, Reason> {
    let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| Reason::Malformed)?;
    parse_object(&bytes).ok_or(Reason::Malformed)
}
