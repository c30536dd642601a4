//! Order in real time: a call that ended before another began precedes it in the log.

use std::{collections::BTreeMap, time::Instant};

use super::Violation;
use crate::{call::Call, log::Event};

/// Compares the endings of answered calls with the admissions of the steps of later calls.
pub(super) fn check(
    calls: &[Call],
    begins: &BTreeMap<u64, Vec<&Event>>,
    found: &mut Vec<Violation>,
) {
    let answered = calls.iter().filter_map(|call| {
        let receipt = call.receipt()?;
        Some((call.ended, receipt.position, call.number))
    });
    let mut ended: Vec<(Instant, u64, u64)> = answered.collect();
    ended.sort_unstable();
    let mut began: Vec<(Instant, u64, u64)> =
        calls.iter().filter_map(|call| admission(call, begins)).collect();
    began.sort_unstable();

    let mut before = ended.into_iter().peekable();
    // the answered call with the largest position so far
    let mut largest: Option<(u64, u64)> = None;
    for (instant, admitted, call) in began {
        while let Some((_, position, earlier)) = before.next_if(|(ended, ..)| *ended < instant) {
            largest = largest.max(Some((position, earlier)));
        }
        match largest {
            Some((position, earlier)) if position > admitted => {
                found.push(Violation::Order { earlier, later: call });
            }
            _ => {}
        }
    }
}

/// When a call began, the position at which the log admitted its step, and its number. Calls that
/// got the answer of another call have no step of their own.
fn admission(call: &Call, begins: &BTreeMap<u64, Vec<&Event>>) -> Option<(Instant, u64, u64)> {
    let admitted = begins.get(&call.receipt()?.step)?.first()?;
    (admitted.call == Some(call.number)).then_some((call.began, admitted.position, call.number))
}
