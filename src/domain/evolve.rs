//! `evolve`: folds one recorded event into a state.
//!
//! It assigns the outcomes that `decide` recorded. The few values it computes (trace levels from
//! stored vectors, eviction keys, the effects of a changed policy) depend on
//! [`FOLD_VERSION`](super::event::FOLD_VERSION), which is part of the state digest.

mod fact;

use std::sync::Arc;

use super::{
    budget::{self, Accounts, Amount},
    event::{
        Envelope, Event, FailStage, MemoryAdded, MemoryOutcome, PolicyChanged, Positions,
        StepAdmitted, StepCompleted, StepFailed, StepRejected, SubjectErased,
    },
    ids::{Micros, Position, StepNumber, SubjectRef},
    lattice::Item,
    state::{OpenStep, Shutdown, State},
    synaptic::SynapticTraces,
    vector::UnitVector,
};

/// An event that contradicts the state before it: the log is damaged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("position {position}: {what}")]
pub struct FoldError {
    /// The position of the event.
    pub position: Position,
    /// The contradiction.
    pub what: &'static str,
}

/// Folds the first event of a log, which must be `engine.created`.
pub fn begin(envelope: &Envelope, event: &Event) -> Result<State, FoldError> {
    if let Event::EngineCreated(created) = event
        && envelope.position == 1
    {
        return Ok(State::created(created, envelope.recorded_at));
    }
    let what = "a log begins with engine.created at position 1";
    Err(FoldError { position: envelope.position, what })
}

/// Folds one event. `vector` is the stored vector of a `step.completed` or `memory.added` event, if
/// it has not been erased.
///
/// # Errors
/// The event contradicts the state. The state is then unchanged.
pub fn evolve(
    state: &mut State,
    envelope: &Envelope,
    event: &Event,
    vector: Option<UnitVector>,
) -> Result<(), FoldError> {
    let fold = Fold { envelope };
    fold.check(envelope.position == state.position + 1, "it does not follow the one before")?;
    let readable = event.format() <= state.log_format || matches!(event, Event::LogFormatRaised(_));
    fold.check(readable, "its type needs a newer log format than the log has")?;
    match event {
        Event::EngineCreated(_) => return fold.damaged("the engine was created already"),
        Event::PolicyChanged(changed) => policy_changed(state, changed, envelope.recorded_at),
        Event::StepAdmitted(admitted) => fold.admitted(state, admitted)?,
        Event::StepRejected(rejected) => fold.rejected(state, rejected)?,
        Event::StepCompleted(completed) => fold.completed(state, completed, vector)?,
        Event::StepFailed(failed) => fold.failed(state, failed)?,
        Event::MemoryAdded(added) => fold.added(state, added, vector)?,
        Event::MemoryConsolidated(Positions { positions }) => {
            for position in positions {
                state.lattice.consolidate(*position);
            }
        }
        Event::MemoryEvicted(Positions { positions }) => {
            let present = positions.iter().all(|position| state.lattice.get(*position).is_some());
            fold.check(present, "it evicts an item that is not in memory")?;
            for position in positions {
                state.lattice.remove(*position);
            }
        }
        Event::EngineShutdown(act) => {
            state.shutdown =
                Some(Shutdown { since: envelope.recorded_at, reason: act.reason.clone() });
        }
        Event::EngineResumed(_) => state.shutdown = None,
        Event::SubjectErased(erased) => subject_erased(state, erased),
        Event::StateAttested(_) => state.attested = envelope.position,
        Event::KeyCreated(created) => {
            fold.or_damaged(state.keys.created(created, fold.position_and_time()))?;
        }
        Event::KeyRevoked(revoked) => {
            fold.or_damaged(state.keys.revoked(revoked, envelope.position))?;
        }
        Event::KeyRotated(rotated) => {
            fold.or_damaged(state.keys.rotated(rotated, fold.position_and_time()))?;
        }
        Event::LogFormatRaised(raised) => fold.format_raised(state, raised)?,
        Event::Fact(fact) => fold.fact(state, fact)?,
    }
    turn(state, envelope.recorded_at);
    state.position = envelope.position;
    state.recorded_at = envelope.recorded_at;
    Ok(())
}

/// The envelope of the event that is folded.
struct Fold<'a> {
    envelope: &'a Envelope,
}

impl Fold<'_> {
    fn damaged<T>(&self, what: &'static str) -> Result<T, FoldError> {
        Err(FoldError { position: self.envelope.position, what })
    }

    fn check(&self, ok: bool, what: &'static str) -> Result<(), FoldError> {
        if ok { Ok(()) } else { self.damaged(what) }
    }

    fn or_damaged(&self, folded: Result<(), &'static str>) -> Result<(), FoldError> {
        folded.or_else(|what| self.damaged(what))
    }

    const fn position_and_time(&self) -> (Position, Micros) {
        (self.envelope.position, self.envelope.recorded_at)
    }

    fn step(&self) -> Result<(StepNumber, SubjectRef), FoldError> {
        match (self.envelope.step, self.envelope.subject) {
            (Some(step), Some(subject)) => Ok((step, subject)),
            _ => self.damaged("a step event needs a step and a subject"),
        }
    }

    fn first_of_step(&self, state: &mut State) -> Result<(StepNumber, SubjectRef), FoldError> {
        let (step, subject) = self.step()?;
        self.check(step == state.step + 1, "its step number does not follow")?;
        state.step = step;
        Ok((step, subject))
    }

    fn admitted(&self, state: &mut State, event: &StepAdmitted) -> Result<(), FoldError> {
        let now = state.policy.budget.window(self.envelope.recorded_at);
        let mut reservations = event.budget.iter().chain(&event.key_budget);
        let in_time = reservations.all(|reservation| reservation.window == now);
        self.check(in_time, "its reservation is for another window")?;
        let (step, subject) = self.first_of_step(state)?;
        let adaptation = state.policy.moral.adaptation;
        state.filter.apply(adaptation, subject, &event.moral, self.envelope.position);
        state.rhythm = event.tick;
        state.counts.accepted += 1;
        if let Some(reservation) = &event.budget {
            state.accounts.reserve(reservation);
        }
        if let Some(reservation) = &event.key_budget {
            state.key_accounts.reserve(reservation);
        }
        let open = OpenStep {
            position: self.envelope.position,
            subject,
            deadline: event.deadline,
            phase: event.phase,
            threshold: event.moral.threshold_before,
            budget: event.budget,
            key_budget: event.key_budget,
            price: event.request.price,
            erased: false,
            replica: event.replica,
        };
        state.open.insert_mut(step, open);
        Ok(())
    }

    fn rejected(&self, state: &mut State, event: &StepRejected) -> Result<(), FoldError> {
        let (_, subject) = self.first_of_step(state)?;
        let adaptation = state.policy.moral.adaptation;
        state.filter.apply(adaptation, subject, &event.moral, self.envelope.position);
        if let Some(tick) = event.tick {
            state.rhythm = tick;
        }
        state.counts.rejected += 1;
        Ok(())
    }

    /// The open step that the event ends.
    fn ending(&self, state: &State) -> Result<(StepNumber, OpenStep), FoldError> {
        let (step, subject) = self.step()?;
        let Some(open) = state.open.get(&step).copied() else {
            return self.damaged("it ends a step that is not open");
        };
        self.check(open.subject == subject, "it ends a step of another subject")?;
        Ok((step, open))
    }

    /// Closes a step and replaces its reservations by `spent`; with `None` (the amount is unknown)
    /// by the full amount reserved.
    fn close(&self, state: &mut State, step: StepNumber, open: &OpenStep, spent: Option<Amount>) {
        state.open.remove_mut(&step);
        turn(state, self.envelope.recorded_at);
        let State { accounts, key_accounts, .. } = state;
        for (accounts, held) in [(accounts, &open.budget), (key_accounts, &open.key_budget)] {
            if let Some(reservation) = held {
                accounts.settle(reservation, spent.unwrap_or(reservation.reserved));
            }
        }
    }

    /// Folds a failed step. The amount spent by an abandoned step is unknown.
    fn failed(&self, state: &mut State, event: &StepFailed) -> Result<(), FoldError> {
        let (step, open) = self.ending(state)?;
        let known = event.stage != FailStage::Abandoned;
        let spent = known.then(|| budget::used(event.usage, open.price));
        self.close(state, step, &open, spent);
        state.counts.failed += 1;
        Ok(())
    }

    fn completed(
        &self,
        state: &mut State,
        event: &StepCompleted,
        vector: Option<UnitVector>,
    ) -> Result<(), FoldError> {
        let (step, open) = self.ending(state)?;
        if let MemoryOutcome::Stored { n, victim, .. } = event.memory {
            self.check_storable(state, n, victim, vector.as_ref())?;
        }
        self.close(state, step, &open, Some(budget::used(event.usage, open.price)));
        state.counts.completed += 1;
        let MemoryOutcome::Stored { n, phase, victim, .. } = event.memory else { return Ok(()) };
        let item = Item {
            position: self.envelope.position,
            prompt_position: event.admitted_position,
            number: n,
            subject: open.subject,
            content_hash: self.envelope.content_hash.unwrap_or_default(),
            phase,
            confidence: event.confidence,
            consolidated: false,
            shared: false,
        };
        self.store(state, item, (victim, event.trace_norms), vector)
    }

    fn added(
        &self,
        state: &mut State,
        event: &MemoryAdded,
        vector: Option<UnitVector>,
    ) -> Result<(), FoldError> {
        let Some(subject) = self.envelope.subject else {
            return self.damaged("an added item needs a subject");
        };
        if let Some(source) = &event.source {
            let follows = state
                .copied
                .as_ref()
                .is_none_or(|last| last.engine == source.engine && last.position < source.position);
            self.check(follows, "its source does not follow that of the item added before")?;
        }
        self.check_storable(state, event.n, event.victim, vector.as_ref())?;
        if let Some(source) = &event.source {
            state.copied = Some(source.clone());
        }
        let item = Item {
            position: self.envelope.position,
            prompt_position: self.envelope.position,
            number: event.n,
            subject,
            content_hash: self.envelope.content_hash.unwrap_or_default(),
            phase: event.phase,
            confidence: event.confidence,
            consolidated: event.consolidated,
            shared: false,
        };
        self.store(state, item, (event.victim, event.trace_norms), vector)
    }

    /// Checks that an item can be stored as recorded.
    fn check_storable(
        &self,
        state: &State,
        n: u64,
        victim: Option<Position>,
        vector: Option<&UnitVector>,
    ) -> Result<(), FoldError> {
        self.check(n == state.stored + 1, "its store number does not follow")?;
        let present = victim.is_none_or(|victim| state.lattice.get(victim).is_some());
        self.check(present, "its victim is not in memory")?;
        let fits = vector.is_none_or(|v| v.as_slice().len() == state.policy.dimension);
        self.check(fits, "its vector has another dimension")
    }

    /// Stores an item in place of its victim and adds its vector to the trace levels.
    fn store(
        &self,
        state: &mut State,
        item: Item,
        (victim, norms): (Option<Position>, Option<[f32; 3]>),
        vector: Option<UnitVector>,
    ) -> Result<(), FoldError> {
        if let Some(victim) = victim {
            state.lattice.remove(victim);
        }
        state.stored = item.number;
        if let Some(norms) = norms {
            state.trace_norms = norms;
        }
        let params = state.trace_params();
        match (&mut state.traces, &vector) {
            (Some(traces), Some(vector)) => traces.record(&params, vector),
            (traces, None) => *traces = None,
            (None, Some(_)) => {}
        }
        let inserted = state.lattice.insert(item, vector);
        self.check(inserted.is_ok(), "its vector does not fit the memory")
    }
}

fn policy_changed(state: &mut State, event: &PolicyChanged, now: Micros) {
    let (before, after) = (Arc::clone(&state.policy), &event.policy);
    state.filter.policy_changed(&before.moral, &after.moral);
    if before.capacity != after.capacity {
        state.lattice.set_capacity(after.capacity);
    }
    if before.budget.window_seconds != after.budget.window_seconds {
        state.accounts = Accounts::open(after.budget.window(now));
        state.key_accounts = Accounts::open(after.budget.window(now));
        for_each_open(state, |_| true, |open| (open.budget, open.key_budget) = (None, None));
    }
    state.policy = Arc::new(after.clone());
    state.policy_hash = after.hash();
    state.policy_version += 1;
    if let Some(config) = &event.config {
        state.config = Some(Arc::new(config.clone()));
    }
}

/// Removes the items, averages and accounts of the subject, and flags its open steps so that their
/// endings store no content.
fn subject_erased(state: &mut State, event: &SubjectErased) {
    for position in state.lattice.positions_of(event.subject_ref) {
        state.lattice.remove(position);
    }
    state.filter.forget(event.subject_ref);
    state.traces = Some(SynapticTraces::zero(state.policy.dimension));
    state.trace_norms = [0.0; 3];
    state.accounts.forget(event.subject_ref);
    state.key_accounts.forget(event.subject_ref);
    for_each_open(state, |open| open.subject == event.subject_ref, |open| open.erased = true);
}

/// Makes the budget window that contains `time` the current one.
fn turn(state: &mut State, time: Micros) {
    let window = state.policy.budget.window(time);
    state.accounts.turn(window);
    state.key_accounts.turn(window);
}

fn for_each_open(
    state: &mut State,
    wanted: impl Fn(&OpenStep) -> bool,
    change: impl Fn(&mut OpenStep),
) {
    let steps: Vec<_> =
        state.open.iter().filter(|(_, open)| wanted(open)).map(|(step, o)| (*step, *o)).collect();
    for (step, mut open) in steps {
        change(&mut open);
        state.open.insert_mut(step, open);
    }
}
