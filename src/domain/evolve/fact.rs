//! Folds of facts and of the log's format. Facts that change no state are listed too.

use super::Fold;
use crate::domain::{
    event::{ContentsExpired, Fact, Hold, LogFormatRaised, MemoryForgotten, MemoryShared},
    evolve::FoldError,
    ids::Position,
    state::{HOLDS_MAX, State},
    synaptic::SynapticTraces,
};

impl Fold<'_> {
    pub(super) fn format_raised(
        &self,
        state: &mut State,
        raised: &LogFormatRaised,
    ) -> Result<(), FoldError> {
        let follows = raised.from == state.log_format && raised.to > raised.from;
        self.check(follows, "it does not raise the format of the log")?;
        state.log_format = raised.to;
        Ok(())
    }

    pub(super) fn fact(&self, state: &mut State, fact: &Fact) -> Result<(), FoldError> {
        match fact {
            Fact::MemoryForgotten(forgotten) => memory_forgotten(state, forgotten),
            Fact::MemoryShared(shared) => self.shared(state, shared)?,
            Fact::ContentsExpired(expired) => self.expired(state, *expired)?,
            Fact::HoldPlaced(hold) => self.hold_placed(state, hold)?,
            Fact::HoldReleased(hold) => {
                let existed = state.holds.remove_mut(&hold.subject_ref);
                self.check(existed, "it releases a hold that does not exist")?;
            }
            Fact::MacKeyChanged(changed) => state.mac_key = Some(changed.id),
            Fact::Recovered(recovered) => {
                let here = recovered.from == self.envelope.position;
                self.check(here, "it does not stand at the first missing position")?;
            }
            Fact::ContentRead(_)
            | Fact::SubjectExported(_)
            | Fact::StepAnnotated(_)
            | Fact::RequestsRefused(_)
            | Fact::ServerStarted(_)
            | Fact::AccessDenied(_)
            | Fact::AuditKeyChanged(_)
            | Fact::SettingsChanged(_)
            | Fact::EngineRetired(_) => {}
        }
        Ok(())
    }

    fn shared(&self, state: &mut State, shared: &MemoryShared) -> Result<(), FoldError> {
        let present = shared.positions.iter().all(|item| state.lattice.get(*item).is_some());
        self.check(present, "it shares an item that is not in memory")?;
        for position in &shared.positions {
            state.lattice.share(*position);
        }
        Ok(())
    }

    /// Removes the items whose contents were deleted. The trace levels keep what the items
    /// contributed.
    fn expired(&self, state: &mut State, expired: ContentsExpired) -> Result<(), FoldError> {
        let past = expired.through < self.envelope.position;
        self.check(past, "it expires contents that do not exist yet")?;
        let removed: Vec<Position> = state
            .lattice
            .items()
            .filter(|item| item.prompt_position <= expired.through)
            .filter(|item| !state.holds.contains(&item.subject))
            .map(|item| item.position)
            .collect();
        for position in removed {
            state.lattice.remove(position);
        }
        Ok(())
    }

    fn hold_placed(&self, state: &mut State, hold: &Hold) -> Result<(), FoldError> {
        let is_new = !state.holds.contains(&hold.subject_ref);
        self.check(is_new, "it places a hold that exists")?;
        self.check(state.holds.size() < HOLDS_MAX, "too many holds exist")?;
        state.holds.insert_mut(hold.subject_ref);
        Ok(())
    }
}

/// An item that was evicted before is not in memory any more; its contents were deleted all the
/// same.
fn memory_forgotten(state: &mut State, forgotten: &MemoryForgotten) {
    for position in &forgotten.positions {
        state.lattice.remove(*position);
    }
    state.traces = Some(SynapticTraces::zero(state.policy.dimension));
    state.trace_norms = [0.0; 3];
}
