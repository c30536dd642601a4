//! Digests: equal states have equal digests, and any single change gives a different one.

use std::sync::Arc;

use proptest::{prelude::*, sample::select};

use super::{Log, admission, answer, subject, vector};
use crate::domain::{
    budget::{Amount, Price, Reservation},
    command::Admit,
    decide::tests::driver::small_policy,
    digest,
    ids::{ReplicaId, Sha256, SubjectRef},
    lattice::{Item, Lattice},
    policy::{Budget, Policy},
    rhythm::Phase,
    state::{OpenStep, Shutdown, State},
};

/// A state in which every part has a value.
fn rich() -> State {
    let budget = Budget { tokens: 1_000_000, ..Budget::default() };
    let mut log = Log::of(Policy { capacity: 5, budget, ..small_policy() });
    for seed in 0..7 {
        log.step(u128::from(seed % 3), seed);
    }
    log.admit(Admit { caller_score: Some(0.1), ..admission(2) }).unwrap();
    log.admit(Admit { caller_score: Some(0.1), ..admission(3) }).unwrap();
    log.admitted(1);
    log.admitted(4);
    log.fail(log.state.step).unwrap();
    log.admitted(5);
    log.shutdown();
    log.state
}

fn open(state: &mut State, change: impl FnOnce(&mut OpenStep)) {
    let (step, mut open) = state.open.iter().next().map(|(s, o)| (*s, *o)).unwrap();
    change(&mut open);
    state.open.insert_mut(step, open);
}

fn item(state: &mut State, change: impl FnOnce(&mut Item)) {
    let position = state.lattice.items().next().unwrap().position;
    let mut item = state.lattice.remove(position).unwrap();
    change(&mut item);
    state.lattice.insert(item, Some(vector(1))).unwrap();
}

const fn other(phase: Phase) -> Phase {
    match phase {
        Phase::Wake => Phase::Sleep,
        Phase::Sleep => Phase::Wake,
    }
}

/// Adds to the reserved and the spent amounts of subject 1.
fn spend(state: &mut State, reserved: [u64; 2], spent: [u64; 2]) {
    let amount = |[tokens, cost_micro_usd]: [u64; 2]| Amount { tokens, cost_micro_usd };
    let window = state.accounts.window();
    let (holder, limit) = (subject(1), Amount::default());
    let nothing = Reservation { holder, limit, window, reserved: Amount::default() };
    state.accounts.reserve(&Reservation { reserved: amount(reserved), ..nothing });
    state.accounts.settle(&nothing, amount(spent));
}

fn held(state: &mut State, change: impl FnOnce(&mut Reservation)) {
    open(state, |open| change(open.budget.as_mut().unwrap()));
}

type Change = (&'static str, fn(&mut State));

const CHANGES: [Change; 53] = [
    ("position", |s| s.position += 1),
    ("policy hash", |s| s.policy_hash.0[31] ^= 1),
    ("policy version", |s| s.policy_version += 1),
    ("step", |s| s.step += 1),
    ("accepted", |s| s.counts.accepted += 1),
    ("rejected", |s| s.counts.rejected += 1),
    ("failed", |s| s.counts.failed += 1),
    ("completed", |s| s.counts.completed += 1),
    ("phase", |s| s.rhythm.phase = other(s.rhythm.phase)),
    ("counter", |s| s.rhythm.counter += 1),
    ("filter", |s| s.filter.forget(subject(2))),
    ("threshold", |s| {
        let mut policy = (*s.policy).clone();
        policy.moral.initial_threshold += 0.01;
        s.policy = Arc::new(policy);
    }),
    ("no shutdown", |s| s.shutdown = None),
    ("shutdown time", |s| s.shutdown.as_mut().unwrap().since += 1),
    ("shutdown reason", |s| s.shutdown.as_mut().unwrap().reason.push('!')),
    ("stored", |s| s.stored += 1),
    ("trace norm 1", |s| s.trace_norms[0] += 0.5),
    ("trace norm 2", |s| s.trace_norms[1] += 0.5),
    ("trace norm 3", |s| s.trace_norms[2] = -s.trace_norms[2] - 1.0),
    ("no open step", |s| s.open = rpds::RedBlackTreeMapSync::new_sync()),
    ("open position", |s| open(s, |o| o.position += 1)),
    ("open subject", |s| open(s, |o| o.subject = subject(99))),
    ("open deadline", |s| open(s, |o| o.deadline += 1)),
    ("open phase", |s| open(s, |o| o.phase = other(o.phase))),
    ("open erased", |s| open(s, |o| o.erased = true)),
    ("open replica", |s| open(s, |o| o.replica = Some(ReplicaId([0; 8])))),
    ("log format", |s| s.log_format += 1),
    ("MAC key", |s| s.mac_key = Some(0)),
    ("hold", |s| s.holds.insert_mut(subject(0))),
    ("another hold", |s| s.holds.insert_mut(subject(1))),
    ("reserved tokens", |s| spend(s, [1, 0], [0, 0])),
    ("reserved cost", |s| spend(s, [0, 1], [0, 0])),
    ("spent tokens", |s| spend(s, [0, 0], [1, 0])),
    ("spent cost", |s| spend(s, [0, 0], [0, 1])),
    ("no account", |s| s.accounts.forget(subject(1))),
    ("another window", |s| s.accounts.turn(0)),
    ("held tokens", |s| held(s, |r| r.reserved.tokens += 1)),
    ("held cost", |s| held(s, |r| r.reserved.cost_micro_usd += 1)),
    ("held window", |s| held(s, |r| r.window += 1)),
    ("held holder", |s| held(s, |r| r.holder = subject(99))),
    ("nothing held", |s| open(s, |o| o.budget = None)),
    ("price", |s| open(s, |o| o.price = Some(Price { input: 1, output: 2, cached_input: None }))),
    ("price.cached_input", |s| {
        open(s, |o| o.price = Some(Price { input: 1, output: 2, cached_input: Some(1) }));
    }),
    ("item position", |s| item(s, |i| i.position += 1)),
    ("item number", |s| item(s, |i| i.number += 100)),
    ("item subject", |s| item(s, |i| i.subject = subject(99))),
    ("item content", |s| item(s, |i| i.content_hash.0[0] ^= 1)),
    ("item phase", |s| item(s, |i| i.phase = 0.5)),
    ("item confidence", |s| item(s, |i| i.confidence += 1e-15)),
    ("item consolidated", |s| item(s, |i| i.consolidated = !i.consolidated)),
    ("item shared", |s| item(s, |i| i.shared = true)),
    ("item gone", |s| {
        let position = s.lattice.items().next().unwrap().position;
        s.lattice.remove(position);
    }),
    ("engine average", |s| {
        let verdict = s
            .filter
            .judge(
                &s.policy.moral,
                &crate::domain::moral::ScoredRequest {
                    subject: SubjectRef::new(77),
                    caller: Some(1.0),
                    asserted: None,
                    scored: &[],
                },
            )
            .unwrap();
        s.filter.apply(s.policy.moral.adaptation, SubjectRef::new(77), &verdict, 500);
    }),
];

#[test]
fn any_single_change_gives_a_different_digest() {
    let state = rich();
    let mut seen = vec![(digest::state(&state), "nothing")];
    for (name, change) in CHANGES {
        let mut changed = state.clone();
        change(&mut changed);
        let digest = digest::state(&changed);
        let same = seen.iter().find(|(other, _)| *other == digest);
        assert_eq!(same, None, "{name}");
        seen.push((digest, name));
    }
    assert_eq!(digest::state(&state), seen[0].0, "a clone is independent");
}

#[test]
fn no_shutdown_differs_from_an_empty_shutdown() {
    let mut state = rich();
    state.shutdown = Some(Shutdown { since: 0, reason: String::new() });
    let empty = digest::state(&state);
    state.shutdown = None;
    assert_ne!(digest::state(&state), empty);
}

#[test]
fn the_trace_digest_distinguishes_levels_and_erasure() {
    let mut log = Log::new();
    log.step(1, 1);
    let one = digest::traces(log.state.traces.as_ref());
    log.step(1, 2);
    let two = digest::traces(log.state.traces.as_ref());
    assert!(one.is_some() && two.is_some());
    assert_ne!(one, two);
    assert_eq!(digest::traces(None), None);
}

/// The same items and open steps, inserted in a different order.
fn reordered(state: &State, order: &[usize]) -> State {
    let mut other = state.clone();
    let items: Vec<Item> = state.lattice.items().cloned().collect();
    other.lattice = Lattice::new(state.lattice.dimension(), state.lattice.capacity());
    let by = |len: usize| order.iter().map(move |i| i % len).chain(0..len);
    for index in by(items.len()) {
        let again = items[index].clone();
        other.lattice.insert(again, Some(vector(index as u64))).unwrap();
    }
    let steps: Vec<(u64, OpenStep)> = state.open.iter().map(|(s, o)| (*s, *o)).collect();
    other.open = rpds::RedBlackTreeMapSync::new_sync();
    for index in by(steps.len()) {
        other.open.insert_mut(steps[index].0, steps[index].1);
    }
    other
}

proptest! {
    #[test]
    fn the_digest_is_independent_of_the_order_of_insertion(
        order in proptest::collection::vec(select((0..64).collect::<Vec<usize>>()), 0..40)
    ) {
        let state = rich();
        let other = reordered(&state, &order);
        prop_assert_eq!(digest::state(&other), digest::state(&state));
    }
}

#[test]
fn the_order_of_subjects_does_not_change_the_filter() {
    let state = rich();
    let policy = state.policy.moral.clone();
    let heard = |order: [u128; 3]| {
        let mut other = state.clone();
        for by in order {
            let request = crate::domain::moral::ScoredRequest {
                subject: subject(by),
                caller: Some(0.0),
                asserted: None,
                scored: &[],
            };
            let mut verdict = other.filter.judge(&policy, &request).unwrap();
            // the same averages in either order
            (verdict.ema_after, verdict.subject_ema_after) = (0.25, 0.125);
            other.filter.apply(policy.adaptation, request.subject, &verdict, 100 + by as u64);
        }
        digest::state(&other)
    };
    assert_eq!(heard([50, 51, 52]), heard([52, 50, 51]));
    assert_ne!(heard([50, 51, 52]), Sha256::default());
}

#[test]
fn vectors_are_not_in_the_digest() {
    let mut log = Log::new();
    log.admitted(1);
    let mut other = Log::new();
    other.admitted(1);
    log.complete(answer(1, 1)).unwrap();
    let mut complete = answer(1, 2);
    complete.vector = None;
    other.complete(complete).unwrap();
    other.state.trace_norms = log.state.trace_norms;
    // without a vector only the trace levels differ
    assert_ne!(log.state.traces, other.state.traces);
    assert_eq!(digest::state(&log.state), digest::state(&other.state));
}
