//! Development: a key pair of the server's own, beside its data, that signs tokens for whoever can
//! read it.

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
/// What comes before the 32 bytes of an Ed25519 key in PKCS #8 (RFC 8410).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Where the key is beside a SQLite database, and without one.
pub fn key_path(sqlite: Option<&Path>) -> PathBuf {
    sqlite
        .map_or_else(|| PathBuf::from("data/mlsdm.dev-key"), |file| file.with_extension("dev-key"))
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum DevKeyError {
    /// Its file.
    #[error("the development key {}: {reason}", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Not made yet.
    #[error("there is no development key at {}: start `mlsdm serve` in mode dev here first", .0.display())]
    Missing(PathBuf),
    /// What the signer says.
    #[error("a development token cannot be signed: {0}")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

/// The key pair.
pub struct DevKey(EncodingKey);

/// Whom a token is for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Who.
    pub subject: String,
    /// Their roles.
    pub roles: Vec<String>,
    /// Their engines, `*` for all; without: as the roles say.
    pub engines: Vec<String>,
    /// For how many seconds.
    pub ttl_seconds: i64,
}

impl DevKey {
    /// The key in a file that only its owner may read; made if it is missing.
    pub fn load_or_create(path: &Path) -> Result<Self, DevKeyError> {
        let fail = |reason: String| DevKeyError::File { path: path.to_owned(), reason };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|error| fail(error.to_string()))?;
        }
        let seed = secret_file(path).map_err(|error| fail(error.to_string()))?;
        let der = zeroize::Zeroizing::new([&PKCS8_PREFIX[..], seed.as_slice()].concat());
        Ok(Self(EncodingKey::from_ed_der(&der)))
    }

    /// The key that a server made here.
    pub fn load(path: &Path) -> Result<Self, DevKeyError> {
        if path.exists() {
            return Self::load_or_create(path);
        }
        Err(DevKeyError::Missing(path.to_owned()))
    }

    /// The public half.
    pub(super) fn keys(&self) -> Result<KeySet, DevKeyError> {
        let jwk = Jwk::from_encoding_key(&self.0, Algorithm::EdDSA)?;
        Ok(KeySet::of(Key::new(&jwk)))
    }

    /// Signs a token.
    pub fn mint(&self, wanted: &Wanted, now: i64) -> Result<SecretString, DevKeyError> {
        let mut claims = json!({
            "iss": NAME,
            "aud": NAME,
            "sub": wanted.subject,
            "iat": now,
            "exp": now.saturating_add(wanted.ttl_seconds),
            "roles": wanted.roles,
        });
        if !wanted.engines.is_empty() {
            claims["mlsdm_engines"] = json!(wanted.engines);
        }
        Ok(encode(&Header::new(Algorithm::EdDSA), &claims, &self.0)?.into())
    }

    /// What is expected of its tokens.
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
