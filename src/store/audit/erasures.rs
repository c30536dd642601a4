//! Erasures, which explain missing contents.

use std::collections::HashMap;

use serde::Deserialize;

use crate::{
    domain::ids::{EngineId, Position, SubjectRef},
    store::{Record, Store, StoreError},
};

/// Positions searched for erasures per query.
const ERASURES_WINDOW: u64 = 20_000;

/// The field of `subject.erased` that is needed here.
#[derive(Deserialize)]
struct Erased {
    subject_ref: SubjectRef,
}

/// The erased subjects, each with the position of its last erasure.
#[derive(Default)]
pub(super) struct Erasures {
    until: Position,
    subjects: HashMap<SubjectRef, Position>,
}

impl Erasures {
    /// True if the record's subject was erased after the record.
    pub(super) fn explain(&self, record: &Record) -> bool {
        let erased = record.subject_ref.and_then(|subject| self.subjects.get(&subject));
        erased.is_some_and(|position| *position > record.position)
    }

    /// Reads further erasures, from `after` at the earliest, up to the current head. The erasures
    /// themselves are verified when the audit reaches them; one that does not parse erases nothing.
    pub(super) async fn extend(
        &mut self,
        store: &Store,
        engine: &EngineId,
        after: Position,
    ) -> Result<(), StoreError> {
        let head = store.head(engine).await?.position;
        self.until = self.until.max(after);
        while self.until < head {
            let until = self.until.saturating_add(ERASURES_WINDOW).min(head);
            for record in store.erasures(engine, self.until, until).await? {
                self.add(&record);
            }
            self.until = until;
        }
        Ok(())
    }

    fn add(&mut self, erasure: &Record) {
        if let Ok(erased) = serde_json::from_slice::<Erased>(&erasure.payload) {
            self.subjects.insert(erased.subject_ref, erasure.position);
        }
    }
}
