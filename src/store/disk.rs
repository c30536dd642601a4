//! Whether the disk of the database was full at the newest write.
//!
//! A transaction that is rolled back needs no space, so a ping does not find a full disk. The writers
//! note it, and from then on each ping writes until one succeeds.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// The state of the disk. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<AtomicBool>);

impl Disk {
    pub(super) fn is_full(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set_full(&self, is_full: bool) {
        self.0.store(is_full, Ordering::Relaxed);
    }
}
