//! One token: taken apart strictly, its signature verified with a key of the issuer's.
//!
//! Nothing in a token says how it is to be verified: the algorithm must be a configured one and the
//! key's own, and a header that brings or names a key is refused. Deliberately not here: clocks and
//! keys, which come in as arguments.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, crypto};
use serde_json::{Map, Value};

use super::{Reason, jwks::Key, strict};

/// Longest token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Header members that would let a token choose its own key, or demand what is not understood.
const REFUSED: [&str; 6] = ["jwk", "jku", "x5u", "x5c", "crit", "zip"];

/// Types of tokens that are for resource servers: others, such as logout tokens, are for nobody here.
const TYPES: [&str; 3] = ["JWT", "at+jwt", "application/at+jwt"];

/// A token that is well formed, and nothing more.
pub(super) struct Unverified<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    message: &'a str,
    payload: &'a str,
    signature: &'a str,
}

/// Whether a credential has the shape of a token rather than that of a key: parts with dots between
/// them, of which the first begins as JSON does in base64url.
pub(super) fn is_shaped(credential: &str) -> bool {
    credential.starts_with("ey") && credential.bytes().filter(|b| *b == b'.').count() >= 2
}

impl<'a> Unverified<'a> {
    /// Takes a token apart.
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
        let members = part(header)?;
        if REFUSED.iter().any(|name| members.contains_key(*name)) {
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

    /// Its claims, if the key signed them. Claims are not looked at before that.
    pub(super) fn verify(&self, key: &Key) -> Result<Map<String, Value>, Reason> {
        let message = self.message.as_bytes();
        let verified = crypto::verify(self.signature, message, &key.decoding, self.algorithm);
        if !matches!(verified, Ok(true)) {
            return Err(Reason::Signature);
        }
        part(self.payload)
    }
}

fn part(encoded: &str) -> Result<Map<String, Value>, Reason> {
    let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| Reason::Malformed)?;
    strict::object(&bytes).ok_or(Reason::Malformed)
}
