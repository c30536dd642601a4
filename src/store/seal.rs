//! Authenticated encryption with AES-256-GCM; the random nonce precedes the ciphertext.
//!
//! The associated data names the purpose and the owner of the sealed bytes, each part
//! length-prefixed, so they open only in the place they were sealed for. A random 96-bit nonce is
//! safe for 2³² messages per key (NIST SP 800-38D, 8.3); each data subject has its own key, which
//! is never reused after erasure.

use std::path::PathBuf;

use aes_gcm::{
    Aes256Gcm, Key, KeyInit, Nonce,
    aead::{Aead, AeadInPlace, OsRng, Payload, rand_core::RngCore},
};
use zeroize::Zeroizing;

/// The length of all keys in bytes.
pub const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// A 256-bit key, zeroed when dropped.
pub(super) type Secret = Zeroizing<[u8; KEY_BYTES]>;

/// The reason why bytes could not be sealed or opened, or a key could not be loaded. Contains no
/// key material and no content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The content key is not the one that this database was created with.
    #[error(
        "the content key does not open this database's keys; start with the MLSDM_CONTENT_KEY (or MLSDM_CONTENT_KEY_FILE) that the database was created with"
    )]
    WrongContentKey,
    /// The sealed bytes fail authentication under their own key.
    #[error(
        "sealed bytes fail authentication: they were changed or belong to another event; run `mlsdm audit verify`"
    )]
    Damaged,
    /// The content key has an invalid form.
    #[error(
        "a content key is 32 random bytes as 64 hexadecimal digits or as base64; create one with `openssl rand -hex 32`"
    )]
    BadKey,
    /// The key file cannot be used.
    #[error("cannot use the content key file {path}: {reason}; check the path and its permissions")]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        reason: String,
    },
    /// The operating system provides no random bytes.
    #[error("the operating system provides no random bytes; nothing can be sealed safely")]
    NoRandomness,
}

/// The associated data of sealed bytes.
pub(super) struct AssociatedData(Vec<u8>);

impl AssociatedData {
    /// Starts with the purpose, so that no two uses of a key share their associated data.
    pub(super) fn new(purpose: &str) -> Self {
        Self(Vec::new()).and(purpose.as_bytes())
    }

    pub(super) fn and(mut self, part: &[u8]) -> Self {
        self.0.extend((part.len() as u64).to_be_bytes());
        self.0.extend(part);
        self
    }
}

/// Generates a random key.
pub fn random_key() -> Result<Zeroizing<[u8; KEY_BYTES]>, SealError> {
    let mut key = Secret::default();
    OsRng.try_fill_bytes(key.as_mut()).map_err(|_| SealError::NoRandomness)?;
    Ok(key)
}

/// Seals bytes: nonce ‖ ciphertext ‖ tag.
pub(super) fn seal(key: &Secret, data: &AssociatedData, text: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut nonce = [0; NONCE_BYTES];
    OsRng.try_fill_bytes(&mut nonce).map_err(|_| SealError::NoRandomness)?;
    // a content may be large: it is encrypted where it is stored
    let mut sealed = Vec::with_capacity(NONCE_BYTES + text.len() + TAG_BYTES);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(text);
    let text = &mut sealed[NONCE_BYTES..];
    let tag = cipher(key).encrypt_in_place_detached(Nonce::from_slice(&nonce), &data.0, text);
    // fails only for messages beyond 64 GiB
    sealed.extend_from_slice(&tag.map_err(|_| SealError::Damaged)?);
    Ok(sealed)
}

/// Opens bytes that [`seal`] made with the same associated data.
pub(super) fn open(
    key: &Secret,
    data: &AssociatedData,
    sealed: &[u8],
) -> Result<Vec<u8>, SealError> {
    let (nonce, rest) = sealed.split_at_checked(NONCE_BYTES).ok_or(SealError::Damaged)?;
    let payload = Payload { msg: rest, aad: &data.0 };
    cipher(key).decrypt(Nonce::from_slice(nonce), payload).map_err(|_| SealError::Damaged)
}

fn cipher(key: &Secret) -> Aes256Gcm {
    Aes256Gcm::new(Key::<Aes256Gcm>::from_slice(key.as_slice()))
}
