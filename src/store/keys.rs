//! The key hierarchy: a content key wraps one index key per engine and one key per data subject.
//!
//! The content key never encrypts content. A subject's text, vectors, name and request hashes
//! depend on the subject's own key, so deleting its wrapped row erases all of them, in backups of
//! the log as well.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use hmac::{Hmac as HmacOf, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{
    EngineRow, Hmac, MacKeyRow,
    mac::{MacKey, MacRing},
    seal::{AssociatedData, KEY_BYTES, SealError, Secret, open, random_key, seal},
};
use crate::domain::{
    event::LOG_FORMAT,
    ids::{CommandId, EngineId, MacKeyId, SubjectRef},
};

/// The block size of SHA-256.
const HMAC_BLOCK_BYTES: usize = 64;

/// The content key of a deployment, `MLSDM_CONTENT_KEY` or `MLSDM_CONTENT_KEY_FILE`.
#[derive(Clone)]
pub struct ContentKey(Secret);

/// The key of an engine's name index.
#[derive(Clone)]
pub struct IndexKey(Secret);

/// The key of one data subject in one engine.
#[derive(Clone)]
pub struct SubjectKey {
    engine: EngineId,
    subject: SubjectRef,
    /// The wrapped key, from which the two below are derived.
    root: Secret,
    sealing: Secret,
    hashing: Secret,
}

/// A column of the contents of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// `contents.sealed`.
    Text,
    /// `contents.vector`.
    Vector,
}

impl ContentKey {
    /// Parses 64 hexadecimal digits or 44 characters of base64; surrounding white space is ignored.
    pub fn from_text(text: &str) -> Result<Self, SealError> {
        let text = text.trim();
        let mut key = Secret::default();
        if text.len() == 2 * KEY_BYTES {
            hex::decode_to_slice(text, key.as_mut()).map_err(|_| SealError::BadKey)?;
        } else {
            decode_base64(text, &mut key).ok_or(SealError::BadKey)?;
        }
        Ok(Self(key))
    }

    /// Reads a key file that contains one such text.
    pub fn from_file(path: &Path) -> Result<Self, SealError> {
        let text = fs::read_to_string(path).map_err(|error| file_error(path, &error))?;
        Self::from_text(&Zeroizing::new(text))
    }

    /// Reads the key file, or creates one that only its owner can read. The creation is atomic:
    /// content sealed under a key that did not survive a crash would be lost.
    pub fn load_or_create(path: &Path) -> Result<Self, SealError> {
        if !path.exists() {
            create_key_file(path).map_err(|error| file_error(path, &error))?;
        }
        Self::from_file(path)
    }

    /// Wraps the index key of an engine whose log has this format. The format is part of the
    /// associated data, so an edit of the column `log_format` is evident.
    pub fn wrap_index_key(
        &self,
        engine: &EngineId,
        log_format: u32,
        key: &IndexKey,
    ) -> Result<Vec<u8>, SealError> {
        seal(&self.0, &index_key_data(engine, log_format), key.0.as_slice())
    }

    /// Unwraps an engine's index key; returns it with the log format for which it was wrapped,
    /// whatever the column `log_format` says. This is the first operation on a database, since it
    /// proves that the content key is the right one.
    pub fn unwrap_index_key(&self, row: &EngineRow) -> Result<(IndexKey, u32), SealError> {
        let opened = |format: u32| {
            let data = index_key_data(&row.engine_id, format);
            self.unwrap(&data, &row.index_key).map(|key| (IndexKey(key), format.max(1)))
        };
        let others = (1..=LOG_FORMAT).filter(|format| *format != row.log_format);
        std::iter::once(row.log_format)
            .chain(others)
            .find_map(|format| opened(format).ok())
            .ok_or(SealError::WrongContentKey)
    }

    /// Wraps a data subject's key.
    pub fn wrap_subject_key(&self, key: &SubjectKey) -> Result<Vec<u8>, SealError> {
        seal(&self.0, &subject_key_data(&key.engine, key.subject), key.root.as_slice())
    }

    /// Unwraps a data subject's key.
    pub fn unwrap_subject_key(
        &self,
        engine: &EngineId,
        subject: SubjectRef,
        wrapped: &[u8],
    ) -> Result<SubjectKey, SealError> {
        let root = self.unwrap(&subject_key_data(engine, subject), wrapped)?;
        Ok(SubjectKey::new(engine.clone(), subject, root))
    }

    /// Makes a random MAC key and wraps it.
    pub fn make_mac_key(&self, id: MacKeyId) -> Result<(MacKey, Vec<u8>), SealError> {
        let key = random_key()?;
        let wrapped = seal(&self.0, &mac_key_data(id), key.as_slice())?;
        Ok((MacKey::new(id, &key), wrapped))
    }

    /// Unwraps a MAC key.
    pub fn unwrap_mac_key(&self, id: MacKeyId, wrapped: &[u8]) -> Result<MacKey, SealError> {
        self.unwrap(&mac_key_data(id), wrapped).map(|key| MacKey::new(id, &key))
    }

    fn unwrap(&self, data: &AssociatedData, wrapped: &[u8]) -> Result<Secret, SealError> {
        let key = open(&self.0, data, wrapped).map_err(|_| SealError::WrongContentKey)?;
        let key = Zeroizing::new(key);
        let mut secret = Secret::default();
        if key.len() != KEY_BYTES {
            return Err(SealError::Damaged);
        }
        secret.copy_from_slice(&key);
        Ok(secret)
    }
}

impl MacRing {
    /// Adds the keys that the content key opens.
    pub fn open(&self, content_key: &ContentKey, rows: &[MacKeyRow]) {
        for (id, wrapped) in rows {
            match content_key.unwrap_mac_key(*id, wrapped) {
                Ok(key) => self.add(key),
                Err(error) => {
                    tracing::warn!(mac_key = id, %error, "a row of mac_keys cannot be opened");
                }
            }
        }
    }
}

impl IndexKey {
    /// Generates a random key.
    pub fn generate() -> Result<Self, SealError> {
        random_key().map(Self)
    }

    /// The HMAC by which a name is looked up.
    pub fn name_hmac(&self, engine: &EngineId, name: &str) -> Hmac {
        hmac(&self.0, &[engine.as_str().as_bytes(), name.as_bytes()])
    }
}

impl SubjectKey {
    /// Generates a random key for a data subject.
    pub fn generate(engine: &EngineId, subject: SubjectRef) -> Result<Self, SealError> {
        Ok(Self::new(engine.clone(), subject, random_key()?))
    }

    fn new(engine: EngineId, subject: SubjectRef, root: Secret) -> Self {
        let derive = |label: &str| Zeroizing::new(hmac(&root, &[label.as_bytes()]));
        let (sealing, hashing) = (derive("mlsdm subject seal"), derive("mlsdm subject hmac"));
        Self { engine, subject, root, sealing, hashing }
    }

    /// Seals one column of the contents of an event of `command`.
    pub fn seal(
        &self,
        command: CommandId,
        column: Column,
        text: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        seal(&self.sealing, &self.content_data(command, column), text)
    }

    /// Opens one column of the contents of an event of `command`.
    pub fn open(
        &self,
        command: CommandId,
        column: Column,
        sealed: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        open(&self.sealing, &self.content_data(command, column), sealed)
    }

    /// Seals the subject's name.
    pub fn seal_name(&self, name: &str) -> Result<Vec<u8>, SealError> {
        seal(&self.sealing, &self.associated_data("mlsdm subject name"), name.as_bytes())
    }

    /// Opens the subject's name.
    pub fn open_name(&self, sealed: &[u8]) -> Result<String, SealError> {
        let name = open(&self.sealing, &self.associated_data("mlsdm subject name"), sealed)?;
        String::from_utf8(name).map_err(|_| SealError::Damaged)
    }

    /// An HMAC under the subject's key, such as of a prompt or a request body; `label` separates
    /// uses.
    pub fn hmac(&self, label: &str, bytes: &[u8]) -> Hmac {
        hmac(&self.hashing, &[label.as_bytes(), bytes])
    }

    fn associated_data(&self, purpose: &str) -> AssociatedData {
        let subject = self.subject.get().to_be_bytes();
        AssociatedData::new(purpose).and(self.engine.as_str().as_bytes()).and(&subject)
    }

    fn content_data(&self, command: CommandId, column: Column) -> AssociatedData {
        let column: &[u8] = match column {
            Column::Text => b"sealed",
            Column::Vector => b"vector",
        };
        self.associated_data("mlsdm content").and(&command.get().to_be_bytes()).and(column)
    }
}

fn index_key_data(engine: &EngineId, log_format: u32) -> AssociatedData {
    let data = AssociatedData::new("mlsdm index key").and(engine.as_str().as_bytes());
    // the first release wrapped it without the format
    if log_format < 2 { data } else { data.and(&log_format.to_be_bytes()) }
}

fn mac_key_data(id: MacKeyId) -> AssociatedData {
    AssociatedData::new("mlsdm mac key").and(&id.to_be_bytes())
}

fn subject_key_data(engine: &EngineId, subject: SubjectRef) -> AssociatedData {
    let engine = engine.as_str().as_bytes();
    AssociatedData::new("mlsdm subject key").and(engine).and(&subject.get().to_be_bytes())
}

/// HMAC-SHA-256 over parts, each length-prefixed.
fn hmac(key: &Secret, parts: &[&[u8]]) -> Hmac {
    // HMAC pads a key with zeros to the block of its hash; from a whole block the construction
    // cannot fail. Qualified, because the cipher's KeyInit has a constructor of the same name.
    let mut block = Zeroizing::new([0; HMAC_BLOCK_BYTES]);
    block[..KEY_BYTES].copy_from_slice(key.as_slice());
    let mut mac = <HmacOf<Sha256> as Mac>::new((&*block).into());
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Reads 32 random bytes from a file that only its owner may read; creates the file if it is
/// missing.
pub fn secret_file(path: &Path) -> Result<Secret, SealError> {
    ContentKey::load_or_create(path).map(|key| key.0)
}

fn create_key_file(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let draft = PathBuf::from(name);
    let key = random_key().map_err(io::Error::other)?;
    let text = Zeroizing::new(hex::encode(key.as_slice()));
    // a leftover of a crashed process with the same id
    fs::remove_file(&draft).ok();
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    // unlike a rename, a link does not replace a key that another process has just created
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

fn file_error(path: &Path, error: &io::Error) -> SealError {
    SealError::KeyFile { path: path.to_owned(), reason: error.to_string() }
}

/// Standard or URL-safe base64 of exactly 32 bytes, with or without its padding.
fn decode_base64(text: &str, key: &mut Secret) -> Option<()> {
    let digits = text.strip_suffix('=').unwrap_or(text);
    // 43 digits carry 258 bits: 32 bytes and two zeros
    if digits.len() != 43 {
        return None;
    }
    let (mut bits, mut count, mut filled) = (0_u32, 0, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            *key.get_mut(filled)? = (bits >> count) as u8;
            filled += 1;
            bits &= (1 << count) - 1;
        }
    }
    (bits == 0).then_some(())
}

#[cfg(test)]
mod tests;
