//! A log in memory: it decides commands, encodes their events as JSON, and folds them.

use crate::{
    domain::{
        command::{
            Abandon, AbandonCause, Admit, ChangePolicy, Command, Complete, Fail, Intervene, Refusal,
        },
        decide::{Retention, decide},
        digest,
        event::{
            ContextUse, EngineCreated, Envelope, Event, FailStage, LOG_FORMAT, Latency,
            StepAdmitted, StepCompleted, SubjectErased, Usage,
        },
        evolve::{FoldError, begin, evolve},
        ids::{Micros, Sha256, SubjectRef},
        policy::Policy,
        rules::Rules,
        state::State,
        vector::UnitVector,
    },
    store::codec,
};

/// The dimension of the vectors in most tests.
pub(super) const DIMENSION: usize = 8;

/// The time of the first event.
const START: Micros = 1_700_000_000_000_000;

/// The time between two commands.
const TICK: Micros = 1_000;

/// The timeout of a step including its grace period.
pub(super) const DEADLINE: Micros = 2_000_000;

/// A recorded event. Only its vector can be deleted.
#[derive(Clone)]
pub(super) struct Row {
    pub(super) envelope: Envelope,
    pub(super) event: Event,
    pub(super) vector: Option<UnitVector>,
}

/// A log and the state it folds to.
pub(super) struct Log {
    pub(super) state: State,
    pub(super) rows: Vec<Row>,
    pub(super) now: Micros,
}

pub(super) fn subject(number: u128) -> SubjectRef {
    SubjectRef::new(number)
}

/// A pseudo-random vector, different for each seed.
pub(super) fn vector(seed: u64) -> UnitVector {
    let mut bits = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        (bits >> 40) as f32 / 8_388_608.0 - 1.0
    };
    let values: Vec<f32> = (0..DIMENSION).map(|_| next()).collect();
    UnitVector::normalise(&values, DIMENSION).unwrap()
}

pub(super) fn small_policy() -> Policy {
    Policy { dimension: DIMENSION, capacity: 1_000, ..Policy::default() }
}

/// A request that the default policy accepts.
pub(super) fn admission(by: u128) -> Admit {
    Admit {
        caller_score: Some(0.9),
        route: "/v1/generate".to_owned(),
        prompt_chars: 11,
        prompt_tokens: Some(3),
        prompt_hmac: "00".to_owned(),
        timeout: DEADLINE / 2,
        grace: DEADLINE / 2,
        elapsed_ms: 0.25,
        ..Admit::of(subject(by))
    }
}

/// An answer that the default policy stores.
pub(super) fn answer(step: u64, seed: u64) -> Complete {
    Complete {
        step,
        provider: "test".to_owned(),
        model: "test-1".to_owned(),
        usage: Usage::new(3, 5),
        finish_reason: "stop".to_owned(),
        latency: Latency::default(),
        attempts: 1,
        calls: Vec::new(),
        price: None,
        context: ContextUse::default(),
        confidence: 0.8,
        looping: false,
        cut: false,
        forgo: None,
        vector: Some(vector(seed)),
    }
}

impl Log {
    pub(super) fn of(policy: Policy) -> Self {
        Self::of_format(LOG_FORMAT, policy)
    }

    pub(super) fn of_format(log_format: u32, policy: Policy) -> Self {
        policy.validate().unwrap();
        let created = EngineCreated { policy, log_format, config_hash: None };
        let row = Row {
            envelope: Envelope {
                position: 1,
                recorded_at: START,
                step: None,
                subject: None,
                content_hash: None,
            },
            event: Event::EngineCreated(Box::new(created)),
            vector: None,
        };
        let state = begin(&row.envelope, &row.event).unwrap();
        Self { state, rows: vec![row], now: START }
    }

    pub(super) fn new() -> Self {
        Self::of(small_policy())
    }

    /// Decides a command and folds the resulting events.
    pub(super) fn when(&mut self, command: &Command) -> Result<Vec<Event>, Refusal> {
        self.now += TICK;
        let decided = decide(&self.state, command, self.now, Rules::NEWEST)?;
        let mut events = Vec::new();
        for decided in decided {
            let position = self.state.position + 1;
            let content_hash = match decided.retention {
                Retention::Nothing => None,
                Retention::Text | Retention::TextAndVector => Some(Sha256([position as u8; 32])),
            };
            let kept = decided.retention == Retention::TextAndVector;
            let vector = command.vector().filter(|_| kept).cloned();
            let envelope = Envelope {
                position,
                recorded_at: self.now,
                step: decided.step,
                subject: decided.subject,
                content_hash,
            };
            events.push(decided.event.clone());
            self.record(Row { envelope, event: decided.event, vector });
        }
        Ok(events)
    }

    fn record(&mut self, row: Row) {
        evolve(&mut self.state, &row.envelope, &row.event, row.vector.clone()).unwrap();
        self.rows.push(row);
    }

    pub(super) fn admit(&mut self, admit: Admit) -> Result<Vec<Event>, Refusal> {
        self.when(&Command::Admit(Box::new(admit)))
    }

    /// Sends a request that must be admitted; returns its event and the events after it.
    pub(super) fn admitted(&mut self, by: u128) -> (StepAdmitted, Vec<Event>) {
        let mut events = self.admit(admission(by)).unwrap();
        let first = events.remove(0);
        let Event::StepAdmitted(event) = first else { panic!("{first:?}") };
        (*event, events)
    }

    pub(super) fn complete(&mut self, complete: Complete) -> Result<StepCompleted, Refusal> {
        let events = self.when(&Command::Complete(Box::new(complete)))?;
        let [ending] = <[Event; 1]>::try_from(events).unwrap();
        let Event::StepCompleted(event) = ending else { panic!("{ending:?}") };
        Ok(*event)
    }

    /// Runs a complete step: admission and answer.
    pub(super) fn step(&mut self, by: u128, seed: u64) -> StepCompleted {
        self.admitted(by);
        self.complete(answer(self.state.step, seed)).unwrap()
    }

    pub(super) fn fail(&mut self, step: u64) -> Result<Vec<Event>, Refusal> {
        self.when(&Command::Fail(Box::new(Fail {
            attempts: 1,
            ..Fail::new(step, FailStage::Llm, "timeout".to_owned(), 1.5)
        })))
    }

    pub(super) fn abandon(
        &mut self,
        step: u64,
        cause: AbandonCause,
    ) -> Result<Vec<Event>, Refusal> {
        self.when(&Command::Abandon(Abandon { step, cause }))
    }

    pub(super) fn shutdown(&mut self) -> Vec<Event> {
        self.when(&Command::Shutdown(by_operator())).unwrap()
    }

    pub(super) fn resume(&mut self) -> Vec<Event> {
        self.when(&Command::Resume(by_operator())).unwrap()
    }

    pub(super) fn change(
        &mut self,
        change: impl FnOnce(&mut Policy),
    ) -> Result<Vec<Event>, Refusal> {
        let mut policy = (*self.state.policy).clone();
        change(&mut policy);
        self.when(&Command::ChangePolicy(Box::new(ChangePolicy {
            policy,
            actor: "operator".to_owned(),
            reason: "a test".to_owned(),
            config: None,
            evidence: None,
        })))
    }

    /// Erases a subject: records the event and deletes the subject's vectors.
    pub(super) fn erase(&mut self, erased: SubjectRef) {
        self.now += TICK;
        let event = SubjectErased {
            subject_ref: erased,
            actor: "operator".to_owned(),
            reason: "asked for".to_owned(),
        };
        let envelope = Envelope {
            position: self.state.position + 1,
            recorded_at: self.now,
            step: None,
            subject: None,
            content_hash: None,
        };
        self.record(Row { envelope, event: Event::SubjectErased(event), vector: None });
        for row in self.rows.iter_mut().filter(|row| row.envelope.subject == Some(erased)) {
            row.vector = None;
        }
    }

    /// Folds the log from its first event, with the events decoded from JSON.
    pub(super) fn replay(&self) -> State {
        let rows = self.rows.iter().map(|row| {
            let encoded = codec::encode(&row.event).unwrap();
            let event = codec::decode(encoded.kind, encoded.schema_version, &encoded.payload);
            Row { event: event.unwrap(), ..row.clone() }
        });
        fold_page(rows).unwrap()
    }

    /// Asserts that a replay gives the current state.
    pub(super) fn assert_replays(&self) {
        let replayed = self.replay();
        assert_eq!(digest::state(&replayed), digest::state(&self.state));
        assert_eq!(
            digest::traces(replayed.traces.as_ref()),
            digest::traces(self.state.traces.as_ref())
        );
    }
}

fn by_operator() -> Intervene {
    Intervene { actor: "operator".to_owned(), reason: "a test".to_owned() }
}

/// Folds one row.
pub(super) fn fold(state: &mut State, row: &Row) -> Result<(), FoldError> {
    evolve(state, &row.envelope, &row.event, row.vector.clone())
}

/// Folds a log from its first row.
pub(super) fn fold_page(rows: impl IntoIterator<Item = Row>) -> Result<State, FoldError> {
    let mut rows = rows.into_iter();
    let first = rows.next().unwrap();
    let mut state = begin(&first.envelope, &first.event)?;
    rows.try_for_each(|row| fold(&mut state, &row))?;
    Ok(state)
}
