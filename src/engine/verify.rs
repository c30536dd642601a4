//! `replay --verify`: decides every recorded command again and compares the events.
//!
//! A command is rebuilt from its recorded events. Inputs (scores, latencies, the confidence of the
//! answer, the retrieved positions) are taken from them; the results of `decide` are compared. Memory
//! use is limited to a page and the state; the events of a command may lie on two pages. Deliberately
//! not here: the complete verification of the hash chain, which is the audit's. A row that breaks the
//! chain ends the fold.

mod compare;
mod rebuild;

use std::{collections::VecDeque, sync::Arc};

use crate::{
    domain::{
        decide::{Decision, decide},
        event::{Event, MemoryOutcome},
        ids::{CommandId, EngineId, Position},
        rules::Rules,
        state::State,
    },
    store::{
        Record, Store, StoreError,
        keys::ContentKey,
        replay,
        state_fold::{DecodedEvent, LogDamage, PAGE, ReplayError, StateFold},
    },
};
pub use compare::Divergence;
use rebuild::{Rebuilt, rebuild};

/// The result of a verification, in numbers of events.
#[derive(Debug, Default)]
pub struct Verification {
    /// Decided again with the same result.
    pub verified: u64,
    /// Not comparable, or only in part: a vector was erased.
    pub unverifiable: u64,
    /// Decided again with another result.
    pub divergent: u64,
    /// The first divergent event.
    pub first_divergence: Option<Divergence>,
    /// The damage at which folding stopped. All events before it were compared.
    pub damage: Option<Box<LogDamage>>,
}

/// Folds an engine's log up to `until` or its current end, and decides each command again. Calls
/// `progress` with the position reached after each page. If there was damage, the returned state is
/// incomplete and must not be used.
pub async fn verify(
    store: &Store,
    content_key: &Arc<ContentKey>,
    engine: &EngineId,
    until: Position,
    progress: &mut (dyn FnMut(Position) + Send),
) -> Result<(StateFold, Verification), ReplayError> {
    let mut fold =
        StateFold::new(engine.clone(), Arc::clone(content_key), Arc::clone(store.mac_ring()));
    let mut verifier = Verifier::default();
    while fold.position() < until {
        let rows = store.read_for_fold(engine, fold.position(), PAGE).await?;
        let at_end = rows.len() < PAGE as usize;
        replay::fetch_keys(store, &mut fold, engine, &rows).await?;
        let page = tokio::task::spawn_blocking(move || {
            let mut observe = |state: Option<&State>, record: &Record, opened: &DecodedEvent| {
                verifier.event(state, record, opened);
            };
            let result = fold.apply_observed(rows, until, &mut observe);
            (fold, verifier, result)
        });
        let result;
        (fold, verifier, result) = page.await.map_err(|e| StoreError::Other(e.to_string()))?;
        if let Err(damage) = result {
            verifier.result.damage = Some(damage);
            break;
        }
        progress(fold.position());
        if at_end {
            verifier.end(fold.position());
            break;
        }
    }
    Ok((fold, verifier.result))
}

/// Decides commands again while the log is folded.
#[derive(Default)]
struct Verifier {
    result: Verification,
    /// The command whose events are compared.
    command: Option<CommandId>,
    /// The events of that command that are still to be compared.
    expected: VecDeque<Decision>,
}

/// The comparison of one event.
enum Comparison {
    Same,
    /// Not comparable, or only in part.
    Unverifiable,
    Differs(Divergence),
}

impl Verifier {
    fn event(&mut self, state: Option<&State>, record: &Record, opened: &DecodedEvent) {
        match self.compare(state, record, opened) {
            Comparison::Same => self.result.verified += 1,
            Comparison::Unverifiable => self.result.unverifiable += 1,
            Comparison::Differs(divergence) => self.differs(divergence),
        }
    }

    fn differs(&mut self, divergence: Divergence) {
        self.result.divergent += 1;
        self.result.first_divergence.get_or_insert(divergence);
    }

    /// The events of a command are appended together, so none may be missing at the end of the log.
    fn end(&mut self, head: Position) {
        if let Some(missing) = self.expected.pop_front() {
            let kind = missing.event.kind();
            self.differs(Divergence::new(head + 1, "type", "nothing", kind));
        }
    }

    fn compare(
        &mut self,
        state: Option<&State>,
        record: &Record,
        opened: &DecodedEvent,
    ) -> Comparison {
        let follows = self.command == Some(record.command_id);
        if !follows && let Some(missing) = self.expected.pop_front() {
            self.begin(record, VecDeque::new());
            return Comparison::Differs(compare::kind(record, missing.event.kind()));
        }
        // the fold refuses other versions
        let rules = Rules::from_version(record.decide_version).unwrap_or(Rules::NEWEST);
        if !follows {
            match redecide(state, record, opened, rules) {
                Redecided::Events(decided) => self.begin(record, decided),
                Redecided::Final(verdict) => {
                    self.begin(record, VecDeque::new());
                    return verdict;
                }
            }
        }
        let Some(decided) = self.expected.pop_front() else {
            return Comparison::Differs(compare::kind(record, "nothing"));
        };
        compare_event(state, record, opened, &decided)
    }

    fn begin(&mut self, record: &Record, expected: VecDeque<Decision>) {
        self.command = Some(record.command_id);
        self.expected = expected;
    }
}

/// The result of rebuilding a command from its first event.
enum Redecided {
    /// The events that the command leads to.
    Events(VecDeque<Decision>),
    /// The first event alone decides the comparison.
    Final(Comparison),
}

fn redecide(
    state: Option<&State>,
    record: &Record,
    opened: &DecodedEvent,
    rules: Rules,
) -> Redecided {
    let Some(state) = state else { return Redecided::Final(created(record, &opened.event)) };
    match rebuild(state, opened) {
        Rebuilt::Command(command) => match decide(state, &command, record.recorded_at, rules) {
            Ok(decided) => Redecided::Events(decided.into()),
            Err(refusal) => {
                let refused = format!("refused: {refusal}");
                Redecided::Final(Comparison::Differs(compare::kind(record, &refused)))
            }
        },
        Rebuilt::NotDecided => Redecided::Final(Comparison::Same),
        Rebuilt::NeverFirst => {
            Redecided::Final(Comparison::Differs(compare::kind(record, "nothing")))
        }
    }
}

/// `engine.created` is not decided by the domain; its policy must be valid.
fn created(record: &Record, event: &Event) -> Comparison {
    let Event::EngineCreated(created) = event else {
        // the fold rejects it
        return Comparison::Same;
    };
    if let Err(error) = created.policy.validate() {
        let field = format!("policy.{}", error.field);
        return Comparison::Differs(Divergence::new(
            record.position,
            &field,
            "recorded",
            error.must,
        ));
    }
    let hash = created.policy.hash().to_string();
    match &created.config_hash {
        Some(recorded) if *recorded != hash => Comparison::Differs(Divergence::new(
            record.position,
            "config_hash",
            recorded.as_str(),
            hash,
        )),
        _ => Comparison::Same,
    }
}

fn compare_event(
    state: Option<&State>,
    record: &Record,
    opened: &DecodedEvent,
    decided: &Decision,
) -> Comparison {
    let erased = is_erased(state, opened);
    let ignored = if erased { compare::TRACE_NORMS } else { "" };
    let difference = compare::envelope(record, decided)
        .or_else(|| compare::payload(record, &opened.event, &decided.event, ignored));
    match difference {
        Some(divergence) => Comparison::Differs(divergence),
        None if erased => Comparison::Unverifiable,
        None => Comparison::Same,
    }
}

/// True if an erasure removed a vector that the synaptic memory levels after this event depend on.
fn is_erased(state: Option<&State>, opened: &DecodedEvent) -> bool {
    let stores = match &opened.event {
        Event::StepCompleted(completed) => matches!(completed.memory, MemoryOutcome::Stored { .. }),
        Event::MemoryAdded(_) => true,
        Event::EngineCreated(_)
        | Event::PolicyChanged(_)
        | Event::StepAdmitted(_)
        | Event::StepRejected(_)
        | Event::StepFailed(_)
        | Event::MemoryConsolidated(_)
        | Event::MemoryEvicted(_)
        | Event::EngineShutdown(_)
        | Event::EngineResumed(_)
        | Event::SubjectErased(_)
        | Event::StateAttested(_)
        | Event::KeyCreated(_)
        | Event::KeyRevoked(_)
        | Event::KeyRotated(_)
        | Event::LogFormatRaised(_)
        | Event::Fact(_) => false,
    };
    stores && (opened.vector.is_none() || state.is_none_or(|state| state.traces.is_none()))
}

#[cfg(test)]
mod tests;
