//! Faults that a test plans.
//!
//! Faults happen in the order in which they are planned: each at the first hook of its kind that an
//! append reaches while the fault is the next one.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::watch;

use crate::store::{
    CommitError, Store, StoreError,
    simulated::{SimulatedDatabase, SimulatedTx},
    tx::Tx,
};

/// A single failure.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The append cannot begin.
    Begin(StoreError),
    /// The append begins normally: the fault planned next is for a later append.
    BeginPasses,
    /// The append waits before it begins, and all others with it, until [`Faults::release`].
    BeginHeld,
    /// The insert of events fails; the transaction is aborted.
    Insert(StoreError),
    /// COMMIT fails: nothing is written, and the caller learns that.
    CommitFails(StoreError),
    /// The connection breaks before COMMIT arrives: nothing is written, the outcome is unknown.
    CommitLost,
    /// The connection breaks after COMMIT arrived: everything is written, the outcome is unknown.
    CommitUnheard,
    /// As [`Self::CommitUnheard`], but the database commits only after the next append has begun.
    CommitLate,
}

/// The faults of a store's appends.
#[derive(Debug)]
pub struct Faults {
    planned: Mutex<VecDeque<Fault>>,
    open: watch::Sender<bool>,
    begun: watch::Sender<u64>,
    begun_max: AtomicU64,
}

impl Faults {
    /// No fault is planned.
    pub fn none() -> Arc<Self> {
        Arc::new(Self {
            planned: Mutex::default(),
            open: watch::Sender::new(true),
            begun: watch::Sender::new(0),
            begun_max: AtomicU64::new(u64::MAX),
        })
    }

    /// Adds faults after those planned before.
    pub fn plan(&self, faults: impl IntoIterator<Item = Fault>) {
        self.planned().extend(faults);
    }

    /// True if every planned fault has happened.
    pub fn all_happened(&self) -> bool {
        self.planned().is_empty()
    }

    /// Appends wait before they begin, until [`Self::release`].
    pub fn hold(&self) {
        self.open.send_replace(false);
    }

    /// As [`Self::hold`], but [`Self::release`] panics if more than `allowed` appends tried to begin.
    pub fn hold_at_most(&self, allowed: u64) {
        self.begun_max.store(self.begun() + allowed, Ordering::Relaxed);
        self.hold();
    }

    /// Lets appends go on.
    ///
    /// # Panics
    /// If more appends tried to begin than [`Self::hold_at_most`] allows.
    pub fn release(&self) {
        let (begun, allowed) = (self.begun(), self.begun_max.swap(u64::MAX, Ordering::Relaxed));
        assert!(begun <= allowed, "{begun} appends have begun, {allowed} were allowed");
        self.open.send_replace(true);
    }

    /// Appends that have reached their beginning so far.
    pub fn begun(&self) -> u64 {
        *self.begun.borrow()
    }

    /// Resolves when more than `count` appends have reached their beginning.
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

    /// The number of the append that begins.
    async fn at_begin(&self) -> Result<u64, StoreError> {
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

    fn at_insert(&self) -> Result<(), StoreError> {
        let fault = self.next(|fault| matches!(fault, Fault::Insert(_)));
        if let Some(Fault::Insert(error)) = fault { Err(error) } else { Ok(()) }
    }

    /// Ends the transaction of an append as planned; gives it back if no fault is planned.
    async fn at_commit(self: Arc<Self>, tx: Tx, number: u64) -> Result<Tx, CommitError> {
        let unknown = || CommitError::Unknown(StoreError::Unavailable("injected".to_owned()));
        let at_commit = |fault: &Fault| {
            use Fault::{CommitFails, CommitLate, CommitLost, CommitUnheard};
            matches!(fault, CommitFails(_) | CommitLost | CommitUnheard | CommitLate)
        };
        match self.next(at_commit) {
            None
            | Some(Fault::Begin(_) | Fault::BeginPasses | Fault::BeginHeld | Fault::Insert(_)) => {
                Ok(tx)
            }
            Some(Fault::CommitFails(error)) => {
                tx.rollback().await.map_err(CommitError::Unknown)?;
                Err(CommitError::Failed(error))
            }
            Some(Fault::CommitLost) => {
                tx.rollback().await.map_err(CommitError::Unknown)?;
                Err(unknown())
            }
            Some(Fault::CommitUnheard) => {
                tx.commit().await?;
                Err(unknown())
            }
            Some(Fault::CommitLate) => {
                self.commit_late(tx, number);
                Err(unknown())
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "simulates a database that finishes by itself")]
    fn commit_late(self: Arc<Self>, tx: Tx, number: u64) {
        tokio::spawn(async move {
            self.begun_after(number).await;
            // a late commit that fails shows in the test's log
            tx.commit().await.ok();
        });
    }
}

/// The hooks of a store, or of one append of it.
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    faults: Option<Arc<Faults>>,
    simulated: Option<Arc<dyn SimulatedDatabase>>,
    /// The number of the append, from its beginning on.
    append: u64,
}

impl Hooks {
    /// Injects these faults.
    pub fn new(faults: &Arc<Faults>) -> Self {
        Self { faults: Some(Arc::clone(faults)), ..Self::default() }
    }

    /// Appends to this database instead of the store's.
    pub fn simulating(database: Arc<dyn SimulatedDatabase>) -> Self {
        Self { simulated: Some(database), ..Self::default() }
    }

    /// The hooks of the append that begins.
    pub(in crate::store) async fn at_begin(&self) -> Result<Self, StoreError> {
        let append = match &self.faults {
            Some(faults) => faults.at_begin().await?,
            None => 0,
        };
        Ok(Self { append, ..self.clone() })
    }

    pub(in crate::store) async fn simulate(
        &self,
    ) -> Result<Option<Box<dyn SimulatedTx>>, StoreError> {
        match &self.simulated {
            Some(database) => database.begin().await.map(Some),
            None => Ok(None),
        }
    }

    pub(in crate::store) fn at_insert(&self) -> Result<(), StoreError> {
        self.faults.as_ref().map_or(Ok(()), |faults| faults.at_insert())
    }

    pub(in crate::store) async fn at_commit(self, tx: Tx) -> Result<Tx, CommitError> {
        match self.faults {
            Some(faults) => faults.at_commit(tx, self.append).await,
            None => Ok(tx),
        }
    }
}

impl Store {
    /// A handle with other hooks, which shares the connections.
    #[must_use]
    pub fn with_hooks(mut self, hooks: Hooks) -> Self {
        match &mut self {
            Self::Sqlite(store) => store.hooks = hooks,
            Self::Postgres(store) => store.hooks = hooks,
        }
        self
    }
}
