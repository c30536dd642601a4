//! `replay --verify`: decides every recorded command again and compares.
//!
//! A command is rebuilt from its recorded events: what came from outside (scores, latencies, the
//! answer's confidence, what was retrieved) is taken from them, what `decide` computed is compared.
//! Memory is bounded by a page and the state; a command's events may lie on two pages. Deliberately
//! not here: the hash chain's whole story, which is the audit's (a row that breaks it ends the fold).

mod compare;
mod rebuild;

use std::{collections::VecDeque, sync::Arc};

use crate::{
    domain::{
        decide::{Decision, decide},
        event::{DECIDE_VERSION, Event, MemoryOutcome},
        ids::{CommandId, EngineId, Position},
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

/// What became of deciding a log again, counted in events.
#[derive(Debug, Default)]
pub struct Verification {
    /// Decision the same again.
    pub verified: u64,
    /// The same as far as can be told: a vector was erased, or another version of the rules decided.
    pub unverifiable: u64,
    /// Decision otherwise.
    pub divergent: u64,
    /// The first of those.
    pub first_divergence: Option<Divergence>,
    /// Where the log could not be folded any further; what came before was compared.
    pub damage: Option<Box<LogDamage>>,
}

/// Folds an engine's log up to `until` (or its present end) and decides it again on the way, calling
/// `progress` with the position reached after each page. The folder's state is of no use when
/// there was damage.
pub async fn verify(
    store: &Store,
    content_key: &Arc<ContentKey>,
    engine: &EngineId,
    until: Position,
    progress: &mut (dyn FnMut(Position) + Send),
) -> Result<(StateFold, Verification), ReplayError> {
    let mut folder = StateFold::new(engine.clone(), Arc::clone(content_key));
    let mut verifier = Verifier::default();
    while folder.position() < until {
        let rows = store.read_for_fold(engine, folder.position(), PAGE).await?;
        let at_end = rows.len() < PAGE as usize;
        replay::fetch_keys(store, &mut folder, engine, &rows).await?;
        let page = tokio::task::spawn_blocking(move || {
            let mut watch = |state: Option<&State>, record: &Record, opened: &DecodedEvent| {
                verifier.event(state, record, opened);
            };
            let result = folder.apply_observed(rows, until, &mut watch);
            (folder, verifier, result)
        });
        let result;
        (folder, verifier, result) = page.await.map_err(|e| StoreError::Other(e.to_string()))?;
        if let Err(damage) = result {
            verifier.found.damage = Some(damage);
            break;
        }
        progress(folder.position());
        if at_end {
            verifier.end(folder.position());
            break;
        }
    }
    Ok((folder, verifier.found))
}

/// Decides along the fold.
#[derive(Default)]
struct Verifier {
    found: Verification,
    /// The command whose events are being compared.
    command: Option<CommandId>,
    /// What is still to come of it.
    expected: VecDeque<Decision>,
}

/// How one event compares.
enum Verdict {
    Same,
    /// As far as can be told.
    Unverifiable,
    Differs(Divergence),
}

impl Verifier {
    fn event(&mut self, state: Option<&State>, record: &Record, opened: &DecodedEvent) {
        match self.compare(state, record, opened) {
            Verdict::Same => self.found.verified += 1,
            Verdict::Unverifiable => self.found.unverifiable += 1,
            Verdict::Differs(divergence) => self.differs(divergence),
        }
    }

    fn differs(&mut self, divergence: Divergence) {
        self.found.divergent += 1;
        self.found.first_divergence.get_or_insert(divergence);
    }

    /// A command's events are written together, so at the log's end none may be missing.
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
    ) -> Verdict {
        let follows = self.command == Some(record.command_id);
        if !follows && let Some(missing) = self.expected.pop_front() {
            self.begin(record, VecDeque::new());
            return Verdict::Differs(compare::kind(record, missing.event.kind()));
        }
        if record.decide_version != DECIDE_VERSION {
            self.begin(record, VecDeque::new());
            return Verdict::Unverifiable;
        }
        if !follows {
            match first(state, record, opened) {
                First::Decided(decided) => self.begin(record, decided),
                First::Settled(verdict) => {
                    self.begin(record, VecDeque::new());
                    return verdict;
                }
            }
        }
        let Some(decided) = self.expected.pop_front() else {
            return Verdict::Differs(compare::kind(record, "nothing"));
        };
        against(state, record, opened, &decided)
    }

    fn begin(&mut self, record: &Record, expected: VecDeque<Decision>) {
        self.command = Some(record.command_id);
        self.expected = expected;
    }
}

/// What the first event of a command leads to.
enum First {
    Decided(VecDeque<Decision>),
    Settled(Verdict),
}

fn first(state: Option<&State>, record: &Record, opened: &DecodedEvent) -> First {
    let Some(state) = state else { return First::Settled(created(record, &opened.event)) };
    match rebuild(state, opened) {
        Rebuilt::Command(command) => match decide(state, &command, record.recorded_at) {
            Ok(decided) => First::Decided(decided.into()),
            Err(refusal) => {
                let refused = format!("refused: {refusal}");
                First::Settled(Verdict::Differs(compare::kind(record, &refused)))
            }
        },
        Rebuilt::NotDecided => First::Settled(Verdict::Same),
        Rebuilt::NeverFirst => First::Settled(Verdict::Differs(compare::kind(record, "nothing"))),
    }
}

/// An engine is created by the shell: its policy has to be one that may be used.
fn created(record: &Record, event: &Event) -> Verdict {
    let Event::EngineCreated(created) = event else {
        // the fold itself refuses it
        return Verdict::Same;
    };
    if let Err(error) = created.policy.validate() {
        let field = format!("policy.{}", error.field);
        return Verdict::Differs(Divergence::new(record.position, &field, "recorded", error.must));
    }
    let hash = created.policy.hash().to_string();
    match &created.config_hash {
        Some(recorded) if *recorded != hash => Verdict::Differs(Divergence::new(
            record.position,
            "config_hash",
            recorded.as_str(),
            hash,
        )),
        _ => Verdict::Same,
    }
}

fn against(
    state: Option<&State>,
    record: &Record,
    opened: &DecodedEvent,
    decided: &Decision,
) -> Verdict {
    let erased = is_erased(state, opened);
    let ignored = if erased { compare::TRACE_NORMS } else { "" };
    let difference = compare::envelope(record, decided)
        .or_else(|| compare::payload(record, &opened.event, &decided.event, ignored));
    match difference {
        Some(divergence) => Verdict::Differs(divergence),
        None if erased => Verdict::Unverifiable,
        None => Verdict::Same,
    }
}

/// Whether an erasure took what the trace levels after this event follow from.
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
        | Event::KeyRotated(_) => false,
    };
    stores && (opened.vector.is_none() || state.is_none_or(|state| state.traces.is_none()))
}
