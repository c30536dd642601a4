//! The scratch database.

use std::sync::Arc;

use crate::store::{Store, keys::ContentKey};

/// The scratch database.
pub(super) struct Scratch {
    pub(super) store: Store,
    pub(super) key: Arc<ContentKey>,
}
