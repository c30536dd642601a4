//! Data subjects: from a name to a pseudonym and to the key that seals the subject's contents.
//!
//! The database stores a name only as an HMAC, which is the lookup key, and as a ciphertext.
//! [`Subjects`] looks in the [`Directory`], the cache of this process, and then in the database. A
//! new subject is created in memory before the log is locked. Under the lock the writer inserts its
//! row, or replaces the subject with the one that another replica inserted first. Deliberately not
//! here: inserting and erasing rows.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::domain::ids::{EngineId, SubjectRef};

use super::{
    Store, StoreError, SubjectRow,
    keys::{ContentKey, IndexKey, SubjectKey},
    seal::SealError,
};

/// Maximum number of subjects cached per engine. A full cache is cleared.
const CACHE_MAX: usize = 10_000;

/// A data subject (an end user, or the caller that acts for one) of one engine.
pub struct Subject {
    /// The pseudonym.
    pub subject_ref: SubjectRef,
    /// HMAC of the name under the engine's index key.
    pub name_hmac: [u8; 32],
    /// The key that seals the subject's contents.
    pub key: SubjectKey,
    /// The row to insert, as long as the log does not contain the subject.
    pub fresh: Option<SubjectRow>,
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject({})", self.subject_ref)
    }
}

/// Why a data subject could not be loaded.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SubjectError {
    /// The database could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The subject's key could not be unwrapped or created.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// Looks up the data subjects of one engine, in the cache first.
pub struct Subjects {
    store: Store,
    directory: Arc<Directory>,
}

impl Subjects {
    /// The subjects of the directory's engine.
    pub const fn new(store: Store, directory: Arc<Directory>) -> Self {
        Self { store, directory }
    }

    /// The subject with this name, if the log contains it.
    pub async fn by_name(&self, name: &str) -> Result<Option<Arc<Subject>>, SubjectError> {
        let name_hmac = self.directory.name_hmac(name);
        if let Some(cached) = self.directory.get(&name_hmac) {
            return Ok(Some(cached));
        }
        let row = self.store.subject_by_name(&self.directory.engine, &name_hmac).await?;
        Ok(row.map(|row| self.directory.load(&row)).transpose()?)
    }

    /// The pseudonym of this name, if the log contains the subject. It needs no key, so a query
    /// works although the subject's key is damaged.
    pub async fn ref_by_name(&self, name: &str) -> Result<Option<SubjectRef>, StoreError> {
        let name_hmac = self.directory.name_hmac(name);
        if let Some(cached) = self.directory.get(&name_hmac) {
            return Ok(Some(cached.subject_ref));
        }
        let row = self.store.subject_by_name(&self.directory.engine, &name_hmac).await?;
        Ok(row.map(|row| row.subject_ref))
    }

    /// The subject with this name, or a new one that is recorded with its first event.
    pub async fn by_name_or_new(&self, name: &str) -> Result<Arc<Subject>, SubjectError> {
        if let Some(subject) = self.by_name(name).await? {
            return Ok(subject);
        }
        Ok(Arc::new(self.directory.make(name, crate::ids::subject_ref())?))
    }

    /// The subject with this pseudonym, unless it was erased.
    pub async fn by_ref(
        &self,
        subject_ref: SubjectRef,
    ) -> Result<Option<Arc<Subject>>, SubjectError> {
        if let Some(cached) = self.directory.get_ref(subject_ref) {
            return Ok(Some(cached));
        }
        let rows = self.store.subjects_by_ref(&self.directory.engine, &[subject_ref]).await?;
        Ok(rows.first().map(|row| self.directory.load(row)).transpose()?)
    }

    /// Removes an erased subject from the cache. Its name belongs to a new subject from then on.
    pub fn forget(&self, erased: SubjectRef) {
        self.directory.forget(erased);
    }
}

/// The cache of one engine's subjects, and the keys that open and create them. Does no I/O.
pub struct Directory {
    engine: EngineId,
    content_key: Arc<ContentKey>,
    index_key: IndexKey,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    by_name: HashMap<[u8; 32], Arc<Subject>>,
    by_ref: HashMap<SubjectRef, Arc<Subject>>,
}

impl Directory {
    /// An empty cache.
    pub fn new(engine: EngineId, content_key: Arc<ContentKey>, index_key: IndexKey) -> Self {
        Self { engine, content_key, index_key, cache: Mutex::default() }
    }

    /// The index key, wrapped for a log of this format.
    pub fn wrap_index_key(&self, log_format: u32) -> Result<Vec<u8>, SealError> {
        self.content_key.wrap_index_key(&self.engine, log_format, &self.index_key)
    }

    /// HMAC of a name under the engine's index key.
    pub fn name_hmac(&self, name: &str) -> [u8; 32] {
        self.index_key.name_hmac(&self.engine, name)
    }

    /// The cached subject whose name has this HMAC.
    pub fn get(&self, name_hmac: &[u8; 32]) -> Option<Arc<Subject>> {
        self.cache().by_name.get(name_hmac).cloned()
    }

    /// The cached subject with this pseudonym.
    pub fn get_ref(&self, subject_ref: SubjectRef) -> Option<Arc<Subject>> {
        self.cache().by_ref.get(&subject_ref).cloned()
    }

    /// Caches a subject that the log contains.
    pub fn keep(&self, subject: &Arc<Subject>) {
        let mut cache = self.cache();
        if cache.by_ref.len() >= CACHE_MAX {
            *cache = Cache::default();
        }
        cache.by_name.insert(subject.name_hmac, Arc::clone(subject));
        cache.by_ref.insert(subject.subject_ref, Arc::clone(subject));
    }

    /// Removes an erased subject with its key.
    pub fn forget(&self, erased: SubjectRef) {
        let mut cache = self.cache();
        if let Some(subject) = cache.by_ref.remove(&erased) {
            cache.by_name.remove(&subject.name_hmac);
        }
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates a subject with a new key. `subject_ref` is its pseudonym unless another replica
    /// records a subject of the same name first.
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

    /// Opens a row with the content key.
    pub fn open(&self, row: &SubjectRow) -> Result<Subject, SealError> {
        let key =
            self.content_key.unwrap_subject_key(&self.engine, row.subject_ref, &row.wrapped_key)?;
        Ok(Subject { subject_ref: row.subject_ref, name_hmac: row.name_hmac, key, fresh: None })
    }

    /// Opens a row of the log and caches the subject.
    pub fn load(&self, row: &SubjectRow) -> Result<Arc<Subject>, SealError> {
        let subject = Arc::new(self.open(row)?);
        self.keep(&subject);
        Ok(subject)
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Directory({})", self.engine)
    }
}
