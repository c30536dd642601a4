//! Sealing: AES-256-GCM with a random nonce in front.
//!
//! What sealed bytes belong to is authenticated with them, every part length-prefixed, so they open
//! only in the place they were made for. A random 96-bit nonce is safe for 2³² seals under one
//! key; a key belongs to one data subject and is never reused after erasure.

use std::path::PathBuf;

use aes_gcm::{
    Aes256Gcm, Key, KeyInit, Nonce,
    aead::{Aead, OsRng, Payload, rand_core::RngCore},
};
use zeroize::Zeroizing;

/// Bytes of every key here.
pub const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;

/// 32 secret bytes, wiped when dropped.
pub(super) type Secret = Zeroizing<[u8; KEY_BYTES]>;

/// Why something could not be sealed, opened or loaded. Never holds key material or text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The content key is not the one this database was made with.
    #[error(
        "the content key does not open this database's keys; start with the MLSDM_CONTENT_KEY (or MLSDM_CONTENT_KEY_FILE) it was made with"
    )]
    WrongContentKey,
    /// Sealed bytes that do not open with their own key.
    #[error(
        "sealed bytes do not open: they were changed or belong to another event; run `mlsdm audit verify`"
    )]
    Damaged,
    /// A content key of the wrong form.
    #[error(
        "a content key is 32 random bytes as 64 hexadecimal digits or as base64; make one with `openssl rand -hex 32`"
    )]
    BadKey,
    /// A key file that cannot be used.
    #[error("cannot use the content key file {path}: {reason}; check the path and its permissions")]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// No randomness.
    #[error("the operating system gives no random bytes; nothing can be sealed safely")]
    NoRandomness,
}

/// What sealed bytes belong to.
pub(super) struct Place(Vec<u8>);

impl Place {
    /// Starts with what the bytes are for, so that no two uses of a key overlap.
    pub(super) fn new(purpose: &str) -> Self {
        Self(Vec::new()).and(purpose.as_bytes())
    }

    pub(super) fn and(mut self, part: &[u8]) -> Self {
        self.0.extend((part.len() as u64).to_be_bytes());
        self.0.extend(part);
        self
    }
}

/// 32 fresh random bytes.
pub fn random_key() -> Result<Zeroizing<[u8; KEY_BYTES]>, SealError> {
    let mut key = Secret::default();
    OsRng.try_fill_bytes(key.as_mut()).map_err(|_| SealError::NoRandomness)?;
    Ok(key)
}

/// Seals bytes for a place: nonce ‖ ciphertext ‖ tag.
pub(super) fn seal(key: &Secret, place: &Place, text: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut nonce = [0; NONCE_BYTES];
    OsRng.try_fill_bytes(&mut nonce).map_err(|_| SealError::NoRandomness)?;
    let payload = Payload { msg: text, aad: &place.0 };
    let sealed = cipher(key).encrypt(Nonce::from_slice(&nonce), payload);
    // the only failure is a text beyond 64 GiB
    let sealed = sealed.map_err(|_| SealError::Damaged)?;
    Ok([nonce.as_slice(), &sealed].concat())
}

/// Opens what [`seal`] made for the same place.
pub(super) fn open(key: &Secret, place: &Place, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    let (nonce, rest) = sealed.split_at_checked(NONCE_BYTES).ok_or(SealError::Damaged)?;
    let payload = Payload { msg: rest, aad: &place.0 };
    cipher(key).decrypt(Nonce::from_slice(nonce), payload).map_err(|_| SealError::Damaged)
}

fn cipher(key: &Secret) -> Aes256Gcm {
    Aes256Gcm::new(Key::<Aes256Gcm>::from_slice(key.as_slice()))
}
