//! A consistent copy of a SQLite file that may be in use.

use std::path::Path;

use sqlx::Row as _;

use super::SqliteStore;
use crate::store::{
    StoreError,
    error::classify,
    limits::{MAINTENANCE_MAX, within},
};

impl SqliteStore {
    /// Writes the committed state of one moment to an empty file, while a server goes on writing. The copy
    /// has no free pages, so nothing that was erased is in it.
    pub async fn copy_to(&self, empty: &Path) -> Result<(), StoreError> {
        let name = empty.to_str().ok_or_else(|| StoreError::File {
            path: empty.to_owned(),
            reason: "its name is not UTF-8".to_owned(),
        })?;
        let copied = sqlx::query("VACUUM INTO $1").bind(name).execute(&self.readers);
        within(MAINTENANCE_MAX, copied).await.map(drop).map_err(classify)
    }

    /// The size of the committed state in bytes: about that of a copy.
    pub async fn size(&self) -> Result<u64, StoreError> {
        let text = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
        let row = sqlx::query(text).fetch_one(&self.readers);
        let row = within(self.limits.statement, row).await.map_err(classify)?;
        row.try_get::<i64, _>(0).map(|bytes| bytes as u64).map_err(classify)
    }
}
