//! The checker: what a log has to hold, given the calls of its clients.

mod order;
#[cfg(test)]
mod planted;

use std::collections::{BTreeMap, HashMap};

use crate::{
    call::{Call, Receipt},
    log::Event,
    model::Answers,
};

/// A broken promise about the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// An answered call is not in the log at its position and with its hash, or is another event.
    Lost { call: u64, why: &'static str },
    /// A request has more than one step, or a key more than one step that did not fail.
    Doubled { what: String },
    /// Calls with one key have different answers.
    Unequal { prompt: u64 },
    /// A position is missing.
    Gap { position: u64 },
    /// The time of recording falls.
    Time { position: u64 },
    /// A step that does not begin once and end once.
    Ending { step: u64 },
    /// A call that ended before another began has the later position.
    Order { earlier: u64, later: u64 },
}

/// The steps of a log.
struct Steps<'a> {
    begins: BTreeMap<u64, Vec<&'a Event>>,
    ends: BTreeMap<u64, Vec<&'a Event>>,
}

impl<'a> Steps<'a> {
    fn of(events: &'a [Event]) -> Self {
        let (mut begins, mut ends) = (BTreeMap::new(), BTreeMap::new());
        for event in events {
            let Some(step) = event.step else { continue };
            if event.begins_step() {
                begins.entry(step).or_insert_with(Vec::new).push(event);
            }
            if event.ends_step() {
                ends.entry(step).or_insert_with(Vec::new).push(event);
            }
        }
        Self { begins, ends }
    }
}

/// Checks a log without open steps.
pub(crate) fn check(calls: &[Call], events: &[Event]) -> Vec<Violation> {
    let steps = Steps::of(events);
    let mut found = Vec::new();
    gaps(events, &mut found);
    endings(&steps, &mut found);
    found.extend(calls.iter().filter_map(|call| lost(call, events)));
    doubled(calls, &steps, &mut found);
    unequal(calls, &mut found);
    order::check(calls, &steps.begins, &mut found);
    found
}

fn gaps(events: &[Event], found: &mut Vec<Violation>) {
    let mut last = i128::MIN;
    for (event, position) in events.iter().zip(1..) {
        if event.position != position {
            found.push(Violation::Gap { position });
            return;
        }
        if event.recorded_at < last {
            found.push(Violation::Time { position });
        }
        last = event.recorded_at;
    }
}

fn endings(steps: &Steps<'_>, found: &mut Vec<Violation>) {
    let numbers = steps.begins.keys().chain(steps.ends.keys());
    let mut numbers: Vec<u64> = numbers.copied().collect();
    numbers.sort_unstable();
    numbers.dedup();
    let once = |events: Option<&Vec<&Event>>| events.is_some_and(|events| events.len() == 1);
    let whole = |step: &u64| once(steps.begins.get(step)) && once(steps.ends.get(step));
    found.extend(
        numbers.into_iter().filter(|step| !whole(step)).map(|step| Violation::Ending { step }),
    );
}

fn lost(call: &Call, events: &[Event]) -> Option<Violation> {
    let receipt = call.receipt()?;
    let why = difference(receipt, events)?;
    Some(Violation::Lost { call: call.number, why })
}

/// The first difference between a receipt and the log.
fn difference(receipt: &Receipt, events: &[Event]) -> Option<&'static str> {
    let index = receipt.position.checked_sub(1).map(|index| index as usize);
    let Some(event) = index.and_then(|index| events.get(index)) else {
        return Some("the log ends before its position");
    };
    let kind = if receipt.accepted { "step.completed" } else { "step.rejected" };
    let same = [
        (event.chain_hash == receipt.chain_hash, "another hash"),
        (event.kind == kind, "another type"),
        (event.step == Some(receipt.step), "another step"),
        (event.request_id.as_ref() == Some(&receipt.id), "another request"),
    ];
    same.into_iter().find_map(|(same, why)| (!same).then_some(why))
}

fn doubled(calls: &[Call], steps: &Steps<'_>, found: &mut Vec<Violation>) {
    let mut by_request: HashMap<&str, u64> = HashMap::new();
    let keyed: HashMap<u64, u64> =
        calls.iter().filter(|call| call.keyed).map(|call| (call.number, call.prompt)).collect();
    let mut succeeded: HashMap<u64, u64> = HashMap::new();
    for (step, begins) in &steps.begins {
        for event in begins {
            let request = event.request_id.as_deref().unwrap_or_default();
            if by_request.insert(request, *step).is_some_and(|other| other != *step) {
                found.push(Violation::Doubled { what: format!("request {request}") });
            }
        }
        let Some(prompt) = begins[0].call.and_then(|call| keyed.get(&call)) else { continue };
        let ending = steps.ends.get(step).and_then(|ends| ends.first());
        if ending.is_some_and(|ending| ending.kind != "step.failed") {
            *succeeded.entry(*prompt).or_default() += 1;
        }
    }
    for (prompt, times) in succeeded {
        if times > 1 {
            found.push(Violation::Doubled { what: format!("{times} steps for key {prompt}") });
        }
    }
}

fn unequal(calls: &[Call], found: &mut Vec<Violation>) {
    let mut first: HashMap<u64, &Receipt> = HashMap::new();
    for call in calls.iter().filter(|call| call.keyed) {
        let Some(receipt) = call.receipt() else { continue };
        if *first.entry(call.prompt).or_insert(receipt) != receipt {
            found.push(Violation::Unequal { prompt: call.prompt });
        }
    }
}

/// Steps that failed although the model had answered them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wasted {
    /// Steps that no replica ended.
    pub(crate) abandoned: u64,
    /// Answers of the model that no step has. Not counted: steps that their client cancelled, and
    /// excused ones.
    pub(crate) answers: u64,
}

/// Counts what was wasted. `excused` tells whether the step of a call could not be ended: its replica
/// was killed or paused, or the fault lasted until after its deadline and grace.
pub(crate) fn wasted(
    calls: &[Call],
    events: &[Event],
    answers: &Answers,
    excused: impl Fn(&Call) -> bool,
) -> Wasted {
    let calls: HashMap<u64, &Call> = calls.iter().map(|call| (call.number, call)).collect();
    let steps = Steps::of(events);
    let (mut wasted, mut used, mut candidates) = (Wasted::default(), HashMap::new(), Vec::new());
    for (step, ends) in &steps.ends {
        let Some(call) = steps.begins.get(step).and_then(|begins| begins[0].call) else { continue };
        let Some(call) = calls.get(&call) else { continue };
        if ends[0].kind == "step.completed" {
            *used.entry(call.prompt).or_insert(0) += 1;
        }
        let stage = ends[0].stage.as_deref();
        wasted.abandoned += u64::from(stage == Some("abandoned"));
        if stage.is_some_and(|stage| stage != "cancelled") && !excused(call) {
            candidates.push(call.prompt);
        }
    }
    for prompt in candidates {
        let used = used.entry(prompt).or_insert(0);
        if answers.get(&prompt).is_some_and(|given| given > used) {
            *used += 1;
            wasted.answers += 1;
        }
    }
    wasted
}
