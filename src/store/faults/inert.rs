//! Hooks of a build without tests: nothing is injected.

use std::future::{Ready, ready};

use crate::store::{CommitError, StoreError, simulated::SimulatedTx, tx::Tx};

/// Does nothing; see [`super`].
#[derive(Clone, Debug, Default)]
pub struct Hooks(());

#[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "the signatures of a test build")]
impl Hooks {
    pub(in crate::store) fn at_begin(&self) -> Ready<Result<Self, StoreError>> {
        ready(Ok(self.clone()))
    }

    pub(in crate::store) fn simulate(
        &self,
    ) -> Ready<Result<Option<Box<dyn SimulatedTx>>, StoreError>> {
        ready(Ok(None))
    }

    pub(in crate::store) const fn at_insert(&self) -> Result<(), StoreError> {
        Ok(())
    }

    pub(in crate::store) fn at_commit(self, tx: Tx) -> Ready<Result<Tx, CommitError>> {
        ready(Ok(tx))
    }
}
