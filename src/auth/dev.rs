//! Development mode: a key pair stored beside the database, which signs tokens for every user who can read
//! its file.

use std::path::{Path, PathBuf};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use secrecy::SecretString;
use serde_json::json;

use super::{
    Method, Rules,
    jwks::{Key, KeySet},
};
use crate::{domain::ids::EngineId, store::keys::secret_file};

/// Issuer and audience of the tokens.
const NAME: &str = "mlsdm-dev";
/// Header of an Ed25519 key in PKCS #8 (RFC 8410), before its 32 bytes.
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// The path of the key: beside the SQLite database, or `data/mlsdm.dev-key` with another database.
pub fn key_path(sqlite: Option<&Path>) -> PathBuf {
    sqlite
        .map_or_else(|| PathBuf::from("data/mlsdm.dev-key"), |file| file.with_extension("dev-key"))
}

/// Why a development key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DevKeyError {
    /// The file cannot be read or created.
    #[error("cannot use the development key {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        reason: String,
    },
    /// The file does not exist.
    #[error("no development key at {}; start `mlsdm serve` in auth.mode dev here first", .0.display())]
    Missing(PathBuf),
    /// Signing failed.
    #[error("cannot sign a development token: {0}")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

/// The key pair.
pub struct DevKey(EncodingKey);

/// The claims of a development token.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// The subject.
    pub subject: String,
    /// The roles.
    pub roles: Vec<String>,
    /// The engines, `*` for all; empty omits the claim.
    pub engines: Vec<String>,
    /// Lifetime in seconds.
    pub ttl_seconds: i64,
}

impl DevKey {
    /// Reads the key from a file that only its owner can read; creates it if it is missing.
    pub fn load_or_create(path: &Path) -> Result<Self, DevKeyError> {
        let fail = |reason: String| DevKeyError::File { path: path.to_owned(), reason };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|error| fail(error.to_string()))?;
        }
        let seed = secret_file(path).map_err(|error| fail(error.to_string()))?;
        let der = zeroize::Zeroizing::new([&PKCS8_PREFIX[..], seed.as_slice()].concat());
        Ok(Self(EncodingKey::from_ed_der(&der)))
    }

    /// Reads the key that a server created.
    pub fn load(path: &Path) -> Result<Self, DevKeyError> {
        if path.exists() {
            return Self::load_or_create(path);
        }
        Err(DevKeyError::Missing(path.to_owned()))
    }

    /// The public key.
    pub(super) fn keys(&self) -> Result<KeySet, DevKeyError> {
        let jwk = Jwk::from_encoding_key(&self.0, Algorithm::EdDSA)?;
        Ok(KeySet::of(Key::new(&jwk)))
    }

    /// Signs a token.
    pub fn mint(&self, request: &TokenRequest, now: i64) -> Result<SecretString, DevKeyError> {
        let mut claims = json!({
            "iss": NAME,
            "aud": NAME,
            "sub": request.subject,
            "iat": now,
            "exp": now.saturating_add(request.ttl_seconds),
            "roles": request.roles,
        });
        if !request.engines.is_empty() {
            claims["mlsdm_engines"] = json!(request.engines);
        }
        Ok(encode(&Header::new(Algorithm::EdDSA), &claims, &self.0)?.into())
    }

    /// The rules for tokens of this key.
    pub(super) fn rules(default_engine: EngineId) -> Rules {
        Rules {
            issuer: NAME.to_owned(),
            audience: NAME.to_owned(),
            algorithms: vec![Algorithm::EdDSA],
            roles_claim: "roles".to_owned(),
            engines_claim: "mlsdm_engines".to_owned(),
            default_roles: Vec::new(),
            default_engine,
            method: Method::Dev,
        }
    }
}
