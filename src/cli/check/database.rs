//! Opening the configured database without side effects.

use crate::{
    config::Config,
    startup::store_options,
    store::{EngineRow, Store, StoreError},
};

/// The configured database.
pub(super) enum Opened {
    Ready(Box<Store>, Vec<EngineRow>),
    /// The database or its tables do not exist yet; the text describes what `mlsdm serve` creates.
    Missing(&'static str),
}

pub(super) async fn open(config: &Config) -> Result<Opened, StoreError> {
    let options = store_options(&config.database);
    let store = match Store::open_read_only(&options).await {
        Err(StoreError::File { .. })
            if options.sqlite_file()?.is_some_and(|file| !file.exists()) =>
        {
            return Ok(Opened::Missing("the file does not exist yet; `mlsdm serve` creates it"));
        }
        opened => opened?,
    };
    store.check_schema().await?;
    match store.engines().await {
        Ok(engines) => Ok(Opened::Ready(Box::new(store), engines)),
        Err(StoreError::Unmigrated(_)) => {
            Ok(Opened::Missing("it has no tables yet; `mlsdm serve` creates them"))
        }
        Err(error) => Err(error),
    }
}
