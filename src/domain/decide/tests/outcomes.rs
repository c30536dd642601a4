//! Random sequences of commands: counts add up, bounds hold, and a replay gives the same state.

use proptest::prelude::*;

use super::{Log, admission, answer, subject};
use crate::domain::{
    command::{AbandonCause, Admit, Command, Complete},
    decide::tests::driver::{DEADLINE, small_policy},
    event::Event,
    ids::Micros,
    policy::{Adaptation, Policy, Rhythm, SleepMode},
};

/// A random action.
#[derive(Clone, Debug)]
enum Act {
    Admit { by: u128, value: f64 },
    Complete { which: usize, confidence: f64, looping: bool },
    Fail { which: usize },
    Abandon { which: usize, alone: bool },
    Late,
    Pass(Micros),
    Shutdown,
    Resume,
    Capacity(usize),
    Adaptation(Adaptation),
    Erase(u128),
    Attest,
}

fn act() -> impl Strategy<Value = Act> {
    let adaptation = prop_oneof![
        Just(Adaptation::Vigilant),
        Just(Adaptation::Homeostatic),
        Just(Adaptation::Fixed)
    ];
    prop_oneof![
        12 => (0..5_u128, 0.0..=1.0).prop_map(|(by, value)| Act::Admit { by, value }),
        8 => (any::<usize>(), 0.0..=1.0, prop::bool::weighted(0.1)).prop_map(
            |(which, confidence, looping)| Act::Complete { which, confidence, looping }
        ),
        2 => any::<usize>().prop_map(|which| Act::Fail { which }),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(which, alone)| Act::Abandon { which, alone }),
        1 => Just(Act::Late),
        1 => (0..2 * DEADLINE).prop_map(Act::Pass),
        1 => Just(Act::Shutdown),
        3 => Just(Act::Resume),
        1 => (1..12_usize).prop_map(Act::Capacity),
        1 => adaptation.prop_map(Act::Adaptation),
        1 => (0..5_u128).prop_map(Act::Erase),
        1 => Just(Act::Attest),
    ]
}

/// A log and the current pseudonym of each person; an erased person gets a new one.
struct World {
    log: Log,
    erasures: [u128; 5],
}

impl World {
    fn pseudonym(&self, person: u128) -> u128 {
        person + 100 * self.erasures[person as usize]
    }

    fn open(&self, which: usize) -> Option<u64> {
        let open: Vec<u64> = self.log.state.open.keys().copied().collect();
        (!open.is_empty()).then(|| open[which % open.len()])
    }

    fn happen(&mut self, act: &Act) {
        match *act {
            Act::Admit { by, value } => {
                let by = self.pseudonym(by);
                let request = Admit { caller_score: Some(value), ..admission(by) };
                let shut = self.log.state.shutdown.is_some();
                assert_eq!(self.log.admit(request).is_err(), shut);
            }
            Act::Complete { which, confidence, looping } => {
                if let Some(step) = self.open(which) {
                    let complete = Complete { confidence, looping, ..answer(step, step) };
                    self.log.complete(complete).unwrap();
                }
            }
            Act::Fail { which } => {
                if let Some(step) = self.open(which) {
                    self.log.fail(step).unwrap();
                }
            }
            Act::Abandon { which, alone } => {
                if let Some(step) = self.open(which) {
                    let due = self.log.state.open[&step].deadline < self.log.now + 1_000;
                    let cause =
                        if alone { AbandonCause::SoleOwner } else { AbandonCause::Deadline };
                    assert_eq!(self.log.abandon(step, cause).is_ok(), alone || due);
                }
            }
            Act::Late => {
                let never = self.log.state.step + 1;
                assert!(self.log.fail(never).is_err());
            }
            Act::Pass(time) => self.log.now += time,
            Act::Shutdown => drop(self.log.shutdown()),
            Act::Resume => drop(self.log.resume()),
            Act::Capacity(capacity) => drop(self.log.change(|p| p.capacity = capacity).unwrap()),
            Act::Adaptation(to) => drop(self.log.change(|p| p.moral.adaptation = to).unwrap()),
            Act::Erase(person) => {
                self.log.erase(subject(self.pseudonym(person)));
                self.erasures[person as usize] += 1;
            }
            Act::Attest => drop(self.log.when(&Command::Attest).unwrap()),
        }
    }

    fn check(&self) {
        let state = &self.log.state;
        let (counts, open) = (state.counts, state.open.size() as u64);
        assert_eq!(counts.completed + counts.rejected + counts.failed + open, state.step);
        assert_eq!(counts.completed + counts.failed + open, counts.accepted);
        assert!(state.lattice.len() <= state.lattice.capacity());
        assert!(state.rhythm.counter >= 1);
        let moral = &state.policy.moral;
        for holder in [None, Some(subject(1))] {
            let threshold = state.threshold(holder);
            assert!((moral.min_threshold..=moral.max_threshold).contains(&threshold));
            if moral.adaptation != Adaptation::Homeostatic {
                assert!(threshold >= moral.initial_threshold);
            }
        }
        assert_eq!(state.position, self.log.rows.len() as u64);
    }
}

/// Asserts that each step has one first event and at most one ending.
fn assert_each_step_ends_once(log: &Log) {
    let of = |wanted: fn(&Event) -> bool| {
        let events = log.rows.iter().filter(move |row| wanted(&row.event));
        events.map(|row| row.envelope.step.unwrap()).collect::<Vec<u64>>()
    };
    let first = of(|e| matches!(e, Event::StepAdmitted(_) | Event::StepRejected(_)));
    assert_eq!(first, (1..=log.state.step).collect::<Vec<u64>>());
    let mut ended = of(|e| matches!(e, Event::StepCompleted(_) | Event::StepFailed(_)));
    let endings = ended.len();
    ended.sort_unstable();
    ended.dedup();
    assert_eq!(ended.len(), endings);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn outcomes_partition_steps_and_a_replay_agrees(
        acts in proptest::collection::vec(act(), 1..120),
        wake in 1..4_u32,
        sleep in 0..4_u32,
        refuse in any::<bool>(),
    ) {
        let sleep_mode = if refuse { SleepMode::Refuse } else { SleepMode::Short };
        let rhythm = Rhythm {
            wake_duration: wake,
            sleep_duration: sleep,
            sleep_mode,
            ..Rhythm::default()
        };
        let log = Log::of(Policy { rhythm, capacity: 6, ..small_policy() });
        let mut world = World { log, erasures: [0; 5] };
        for act in &acts {
            world.happen(act);
            world.check();
        }
        assert_each_step_ends_once(&world.log);
        world.log.assert_replays();
    }
}
