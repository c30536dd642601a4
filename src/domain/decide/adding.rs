//! Decisions that store an item without a step: a copy of what another engine remembers.

use crate::domain::{
    command::{Add, Refusal},
    event::{Event, MemoryAdded},
    ids::Position,
    state::State,
};

use super::{Decision, Retention, ending::norms_after};

/// Stores the item as it is at its source, in the source's order and once. The source judged the
/// answer when it stored it, so this engine's `min_store_confidence` is not asked.
pub(super) fn add(state: &State, add: &Add) -> Result<Decision, Refusal> {
    let last = last_added(state, add)?;
    let position = add.source.position;
    if add.after != last || position <= last {
        return Err(Refusal::OutOfOrder { position, last });
    }
    let n = state.stored + 1;
    let event = MemoryAdded {
        source: add.source.clone(),
        actor: add.actor.clone(),
        n,
        key: state.lattice.eviction_key(n, add.confidence),
        phase: add.phase,
        confidence: add.confidence,
        consolidated: add.consolidated,
        victim: state.lattice.victim().map(|item| item.position),
        trace_norms: add.vector.as_ref().map(|vector| norms_after(state, vector)).transpose()?,
    };
    Ok(Decision {
        event: Event::MemoryAdded(Box::new(event)),
        step: None,
        subject: Some(add.subject),
        retention: Retention::TextAndVector,
    })
}

/// One source only: an engine is a copy of one other, and its state keeps one position for it.
fn last_added(state: &State, add: &Add) -> Result<Position, Refusal> {
    match &state.copied {
        None => Ok(0),
        Some(copied) if copied.engine == add.source.engine => Ok(copied.position),
        Some(copied) => Err(Refusal::OtherSource { engine: copied.engine.clone() }),
    }
}
