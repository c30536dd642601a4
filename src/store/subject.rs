//! Data subjects: from a name to a pseudonym and the key its contents are sealed with.
//!
//! A name is never stored in the clear, only an HMAC to find it by and a sealed copy. A new subject
//! is made before the log is locked; the writer settles who was first.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::domain::ids::{EngineId, SubjectRef};

use super::{
    SubjectRow,
    keys::{ContentKey, IndexKey, SubjectKey},
    seal::SealError,
};

/// Most subjects whose keys are kept in memory per engine; a full cache is emptied.
const CACHE_MAX: usize = 10_000;

/// A data subject (or an actor) of one engine.
pub struct Subject {
    /// The pseudonym.
    pub subject_ref: SubjectRef,
    /// What it is found by.
    pub name_hmac: [u8; 32],
    /// What its contents are sealed with.
    pub key: SubjectKey,
    /// The row to insert, while the log does not know the subject yet.
    pub fresh: Option<SubjectRow>,
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject({})", self.subject_ref)
    }
}

/// The subjects of one engine, as far as they are known to this process.
pub struct Directory {
    engine: EngineId,
    content_key: Arc<ContentKey>,
    index_key: IndexKey,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    by_name: HashMap<[u8; 32], Arc<Subject>>,
    by_ref: HashMap<SubjectRef, Arc<Subject>>,
}

impl Directory {
    /// An empty directory for an engine.
    pub fn new(engine: EngineId, content_key: Arc<ContentKey>, index_key: IndexKey) -> Self {
        Self { engine, content_key, index_key, known: Mutex::default() }
    }

    /// What a name is found by.
    pub fn name_hmac(&self, name: &str) -> [u8; 32] {
        self.index_key.name_hmac(&self.engine, name)
    }

    /// The subject of that name hash, if this process knows it.
    pub fn get(&self, name_hmac: &[u8; 32]) -> Option<Arc<Subject>> {
        self.known().by_name.get(name_hmac).cloned()
    }

    /// The subject of that pseudonym, if this process knows it.
    pub fn get_ref(&self, subject_ref: SubjectRef) -> Option<Arc<Subject>> {
        self.known().by_ref.get(&subject_ref).cloned()
    }

    /// Remembers a subject that the log knows.
    pub fn keep(&self, subject: &Arc<Subject>) {
        let mut known = self.known();
        if known.by_ref.len() >= CACHE_MAX {
            *known = Known::default();
        }
        known.by_name.insert(subject.name_hmac, Arc::clone(subject));
        known.by_ref.insert(subject.subject_ref, Arc::clone(subject));
    }

    /// Forgets an erased subject's key.
    pub fn forget(&self, erased: SubjectRef) {
        let mut known = self.known();
        if let Some(subject) = known.by_ref.remove(&erased) {
            known.by_name.remove(&subject.name_hmac);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A subject nobody has heard of: `subject_ref` is the pseudonym it will have if it is first.
    pub fn make(&self, name: &str, subject_ref: SubjectRef) -> Result<Subject, SealError> {
        let name_hmac = self.name_hmac(name);
        let key = SubjectKey::generate(&self.engine, subject_ref)?;
        let row = SubjectRow {
            subject_ref,
            name_hmac,
            wrapped_key: self.content_key.wrap_subject_key(&key)?,
            sealed_name: key.seal_name(name)?,
        };
        Ok(Subject { subject_ref, name_hmac, key, fresh: Some(row) })
    }

    /// A subject from its row.
    pub fn open(&self, row: &SubjectRow) -> Result<Subject, SealError> {
        let key =
            self.content_key.unwrap_subject_key(&self.engine, row.subject_ref, &row.wrapped_key)?;
        Ok(Subject { subject_ref: row.subject_ref, name_hmac: row.name_hmac, key, fresh: None })
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Directory({})", self.engine)
    }
}
