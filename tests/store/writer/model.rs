//! A model of the writer's protocol, checked exhaustively.
//!
//! Two processes write to one log. Each decides commands ahead of the log's lock, with two batches in
//! flight, and falls back to the path under the lock. A commit may fail, its answer may be lost with the
//! events written or not, and it may still be running when the process looks at the log again. The
//! checker visits every order of these steps and every state that they lead to.
//!
//! The model leaves out what the protocol does not depend on: contents, names, idempotency keys, time.
//! [`Defect`]s show that the properties find what they are for.

mod system;

use stateright::{Checker, Model, Property};

use self::system::{
    Answer, Batch, COMMANDS, Ended, Event, FAULTS, Head, IN_FLIGHT_MAX, Locked, Outcome, Phase,
    Process, System,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    DecideAhead(usize),
    LockAhead(usize, usize),
    CommitAhead(usize, usize, Outcome),
    Settle(usize),
    BeginLocked(usize),
    Lock(usize),
    Commit(usize, Outcome),
    EndLate { commits: bool },
}

/// A mistake that the writer could make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defect {
    /// After an unknown outcome the tail is not searched for the commands.
    TailIsNotSearched,
    /// A batch is inserted without regard to the log's head.
    VersionIsNotChecked,
    /// A state is published when its batch is decided.
    StateIsPublishedEarly,
}

struct Protocol {
    defect: Option<Defect>,
    /// Commits of one history that do not simply succeed.
    faults_max: u8,
}

/// The number of times that a command is in the log.
fn in_log(system: &System, command: usize) -> usize {
    system.log.iter().filter(|event| usize::from(event.command) == command + 1).count()
}

impl Model for Protocol {
    type State = System;
    type Action = Step;

    fn init_states(&self) -> Vec<System> {
        let process = |parity, is_alone| Process {
            queue: (1..=2 * COMMANDS).filter(|command| command % 2 == parity).collect(),
            is_alone,
            ..Process::default()
        };
        let system = |alone| System {
            log: Vec::new(),
            is_locked: false,
            late: None,
            processes: [process(1, alone), process(0, alone)],
            answers: vec![None; usize::from(2 * COMMANDS)],
            faults: 0,
        };
        vec![system(true), system(false)]
    }

    fn actions(&self, system: &System, steps: &mut Vec<Step>) {
        let outcomes = |steps: &mut Vec<Step>, step: &dyn Fn(Outcome) -> Step| {
            steps.push(step(Outcome::Committed));
            if system.faults < self.faults_max {
                steps.extend(FAULTS.into_iter().map(step));
            }
        };
        for (n, process) in system.processes.iter().enumerate() {
            for (index, batch) in process.in_flight.iter().enumerate() {
                if process.may_begin(index) && !system.is_locked {
                    steps.push(Step::LockAhead(n, index));
                }
                if batch.phase == Phase::Inserted {
                    outcomes(steps, &|outcome| Step::CommitAhead(n, index, outcome));
                }
            }
            match &process.locked {
                Some(locked) if locked.inserted.is_some() => {
                    outcomes(steps, &|outcome| Step::Commit(n, outcome));
                }
                Some(_) if !system.is_locked => steps.push(Step::Lock(n)),
                None if process.may_settle() => steps.push(Step::Settle(n)),
                None if process.queue.is_empty() => {}
                None if process.is_alone && process.in_flight.len() < IN_FLIGHT_MAX => {
                    steps.push(Step::DecideAhead(n));
                }
                None if !process.is_alone && process.in_flight.is_empty() => {
                    steps.push(Step::BeginLocked(n));
                }
                Some(_) | None => {}
            }
        }
        if system.late.is_some() {
            steps.extend([true, false].map(|commits| Step::EndLate { commits }));
        }
    }

    fn next_state(&self, last: &System, step: Step) -> Option<System> {
        let mut system = last.clone();
        match step {
            Step::DecideAhead(n) => {
                let process = &mut system.processes[n];
                let event = Event::after(process.decided, process.queue.remove(0));
                process.decided = event.head();
                if self.defect == Some(Defect::StateIsPublishedEarly) {
                    process.view = event.head();
                }
                process.in_flight.push(Batch { event, phase: Phase::Waiting });
            }
            Step::LockAhead(n, index) => {
                let head = system.head();
                let batch = &mut system.processes[n].in_flight[index];
                let holds =
                    batch.event.after == head || self.defect == Some(Defect::VersionIsNotChecked);
                system.is_locked = holds;
                batch.phase =
                    if holds { Phase::Inserted } else { Phase::Ended(Ended::WrongExpectedVersion) };
            }
            Step::CommitAhead(n, index, outcome) => {
                let event = system.processes[n].in_flight[index].event;
                let ended = system.commit(vec![event], outcome);
                system.processes[n].in_flight[index].phase = Phase::Ended(ended);
            }
            Step::Settle(n) => {
                let first = system.processes[n].in_flight[0].phase;
                if first == Phase::Ended(Ended::Committed) {
                    system.settle(n);
                } else {
                    system.recover(n);
                }
            }
            Step::BeginLocked(n) => {
                let process = &mut system.processes[n];
                let commands = std::mem::take(&mut process.queue);
                process.locked = Some(Locked { batches: vec![commands], ..Locked::default() });
            }
            Step::Lock(n) => system.lock(n, self.defect != Some(Defect::TailIsNotSearched)),
            Step::Commit(n, outcome) => system.end_attempt(n, outcome),
            Step::EndLate { commits } => {
                let events = system.late.take()?;
                system.append(if commits { &events } else { &[] });
                system.is_locked = false;
            }
        }
        Some(system)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("the log has no gap", |_, system: &System| {
                (1..).zip(&system.log).all(|(position, event)| event.position == position)
            }),
            Property::always("the log is one chain", |_, system: &System| {
                let heads = std::iter::once(Head::default())
                    .chain(system.log.iter().map(|event| event.head()));
                heads.zip(&system.log).all(|(head, event)| event.after == head)
            }),
            Property::always("no command is doubled", |_, system: &System| {
                (0..system.answers.len()).all(|command| in_log(system, command) <= 1)
            }),
            Property::always("no answered command is lost", |_, system: &System| {
                system.answers.iter().zip(1..).all(|(answer, command)| match answer {
                    Some(Answer::Committed(position)) => {
                        let at = system.log.get(usize::from(*position) - 1);
                        at.is_some_and(|event| event.command == command)
                    }
                    Some(Answer::Failed | Answer::Unknown) | None => true,
                })
            }),
            Property::always("a command that failed is not in the log", |_, system: &System| {
                let failed = |answer: &Option<Answer>| *answer == Some(Answer::Failed);
                let mut answers = system.answers.iter().enumerate();
                answers.all(|(command, answer)| !failed(answer) || in_log(system, command) == 0)
            }),
            Property::always("a published state is in the log", |_, system: &System| {
                system.processes.iter().all(|process| {
                    let Head { position, command } = process.view;
                    let at = system.log.get(usize::from(position).wrapping_sub(1));
                    position == 0 || at.is_some_and(|event| event.command == command)
                })
            }),
            Property::always(
                "every command is answered in the end",
                |protocol: &Self, system: &System| {
                    let mut steps = Vec::new();
                    protocol.actions(system, &mut steps);
                    !steps.is_empty() || system.answers.iter().all(Option::is_some)
                },
            ),
            Property::sometimes(
                "an unheard batch is settled by the one behind it",
                |_, system: &System| {
                    system.processes.iter().any(|process| {
                        let phases: Vec<Phase> =
                            process.in_flight.iter().map(|b| b.phase).collect();
                        phases == [Phase::Ended(Ended::InDoubt), Phase::Ended(Ended::Committed)]
                    })
                },
            ),
            Property::sometimes("a command is found in the tail", |_, system: &System| {
                let found = |locked: &Locked| {
                    let mut found = locked.found.iter();
                    found.any(|event| locked.batches[0].contains(&event.command))
                };
                system.processes.iter().any(|process| process.locked.as_ref().is_some_and(found))
            }),
            Property::sometimes("an outcome stays unknown", |_, system: &System| {
                system.answers.contains(&Some(Answer::Unknown))
            }),
        ]
    }
}

fn check(faults_max: u8, defect: Option<Defect>) -> impl Checker<Protocol> {
    Protocol { defect, faults_max }.checker().threads(2).spawn_bfs().join()
}

/// 80,000 states; with a third fault (`MLSDM_TEST_EXTENDED=1`) 350,000.
#[test]
fn the_protocol_holds_in_every_order_of_steps_and_faults() {
    let is_extended = std::env::var("MLSDM_TEST_EXTENDED").is_ok();
    check(if is_extended { 3 } else { 2 }, None).assert_properties();
}

#[test]
fn a_duplicate_after_an_unknown_commit_is_found() {
    let checked = check(1, Some(Defect::TailIsNotSearched));
    assert!(checked.discovery("no command is doubled").is_some());
}

#[test]
fn a_gap_is_found() {
    let checked = check(1, Some(Defect::VersionIsNotChecked));
    assert!(checked.discovery("the log has no gap").is_some());
}

#[test]
fn a_state_that_is_published_before_its_commit_is_found() {
    let checked = check(1, Some(Defect::StateIsPublishedEarly));
    assert!(checked.discovery("a published state is in the log").is_some());
}
