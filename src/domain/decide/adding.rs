//! Decisions that store an item without a step: copies of another engine's items.

use crate::domain::{
    command::{Add, Refusal},
    event::{Event, ItemOrigin, MemoryAdded},
    ids::Position,
    state::State,
};

use super::{
    decision::{Decision, Retention},
    ending::norms_after,
};

/// Stores the item with the given values; a copy in the source's order and at most once. The source
/// engine already checked the confidence of a copy, so `min_store_confidence` of this engine does
/// not apply.
pub(super) fn add(state: &State, add: &Add) -> Result<Decision, Refusal> {
    if let Some(source) = &add.source {
        let last = last_added(state, source)?;
        let position = source.position;
        if add.after != last || position <= last {
            return Err(Refusal::OutOfOrder { position, last });
        }
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

/// The source position of the last added item. An engine has copies from one source only, because
/// its state holds one source position.
fn last_added(state: &State, source: &ItemOrigin) -> Result<Position, Refusal> {
    match &state.copied {
        None => Ok(0),
        Some(copied) if copied.engine == source.engine => Ok(copied.position),
        Some(copied) => Err(Refusal::OtherSource { engine: copied.engine.clone() }),
    }
}
