//! Faults of a database, on demand: what a test can neither cause nor wait for. Compiled for tests only.
//!
//! Faults happen in the order in which they are planned, each at the first place of its kind that an
//! append comes to while the fault is the next one.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::{CommitError, StoreError, append::Tx, error::classify_commit};

/// Something that goes wrong once.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The append cannot begin.
    Begin(StoreError),
    /// The append begins as it should: what is planned next is for one after it.
    BeginPasses,
    /// The append waits where it would begin, and all others with it, until [`Faults::release`].
    BeginHeld,
    /// The insert of events fails; the transaction is spoiled.
    Insert(StoreError),
    /// COMMIT fails: nothing is written, and the caller knows.
    CommitFails(StoreError),
    /// The connection breaks before COMMIT arrives: nothing is written, and the caller cannot know.
    CommitLost,
    /// The connection breaks after COMMIT arrived: all is written, and the caller cannot know.
    CommitUnheard,
    /// As [`Self::CommitUnheard`], but the database is still at it when the next append has begun.
    CommitLate,
}

/// What is to go wrong with a store's appends.
#[derive(Debug)]
pub struct Faults {
    planned: Mutex<VecDeque<Fault>>,
    open: watch::Sender<bool>,
    begun: watch::Sender<u64>,
}

impl Faults {
    /// Nothing goes wrong.
    pub fn none() -> Arc<Self> {
        Arc::new(Self {
            planned: Mutex::default(),
            open: watch::Sender::new(true),
            begun: watch::Sender::new(0),
        })
    }

    /// Adds faults after those planned before.
    pub fn plan(&self, faults: impl IntoIterator<Item = Fault>) {
        self.planned().extend(faults);
    }

    /// Whether everything planned has happened.
    pub fn all_happened(&self) -> bool {
        self.planned().is_empty()
    }

    /// Appends wait where they would begin, until [`Self::release`].
    pub fn hold(&self) {
        self.open.send_replace(false);
    }

    /// Lets appends go on.
    pub fn release(&self) {
        self.open.send_replace(true);
    }

    /// How many appends have come to their beginning so far.
    pub fn begun(&self) -> u64 {
        *self.begun.borrow()
    }

    /// Resolves when more than `count` appends have come to their beginning.
    pub async fn begun_after(&self, count: u64) {
        let mut begun = self.begun.subscribe();
        // the sender lives as long as this borrow
        begun.wait_for(|begun| *begun > count).await.ok();
    }

    fn planned(&self) -> MutexGuard<'_, VecDeque<Fault>> {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self, here: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let mut planned = self.planned();
        if planned.front().is_some_and(here) { planned.pop_front() } else { None }
    }

    /// Gives the append's number.
    pub(super) async fn at_begin(&self) -> Result<u64, StoreError> {
        let passes = self.next(|fault| matches!(fault, Fault::BeginPasses)).is_some();
        if !passes && self.next(|fault| matches!(fault, Fault::BeginHeld)).is_some() {
            self.hold();
        }
        self.begun.send_modify(|begun| *begun += 1);
        let number = self.begun();
        self.open.subscribe().wait_for(|open| *open).await.ok();
        let fault = self.next(|fault| !passes && matches!(fault, Fault::Begin(_)));
        if let Some(Fault::Begin(error)) = fault { Err(error) } else { Ok(number) }
    }

    pub(super) fn at_insert(&self) -> Result<(), StoreError> {
        let fault = self.next(|fault| matches!(fault, Fault::Insert(_)));
        if let Some(Fault::Insert(error)) = fault { Err(error) } else { Ok(()) }
    }

    /// Ends the transaction of an append as planned; gives it back if nothing is.
    pub(super) async fn at_commit(
        self: Arc<Self>,
        transaction: Tx,
        number: u64,
    ) -> Result<Tx, CommitError> {
        let unheard = || CommitError::Unknown(StoreError::Unavailable("injected".to_owned()));
        let at_commit = |fault: &Fault| {
            use Fault::{CommitFails, CommitLate, CommitLost, CommitUnheard};
            matches!(fault, CommitFails(_) | CommitLost | CommitUnheard | CommitLate)
        };
        match self.next(at_commit) {
            None
            | Some(Fault::Begin(_) | Fault::BeginPasses | Fault::BeginHeld | Fault::Insert(_)) => {
                Ok(transaction)
            }
            Some(Fault::CommitFails(error)) => {
                transaction.rollback().await.map_err(CommitError::Unknown)?;
                Err(CommitError::Failed(error))
            }
            Some(Fault::CommitLost) => {
                transaction.rollback().await.map_err(CommitError::Unknown)?;
                Err(unheard())
            }
            Some(Fault::CommitUnheard) => {
                transaction.commit().await.map_err(classify_commit)?;
                Err(unheard())
            }
            Some(Fault::CommitLate) => {
                self.commit_late(transaction, number);
                Err(unheard())
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "stands for a database that goes on by itself")]
    fn commit_late(self: Arc<Self>, transaction: Tx, number: u64) {
        tokio::spawn(async move {
            self.begun_after(number).await;
            // a late commit that fails shows in the test's log
            transaction.commit().await.ok();
        });
    }
}
