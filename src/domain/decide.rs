//! `decide`: a pure function from a state, a command, the log's time and the version of the rules to
//! events or a refusal.
//!
//! It changes no state: `evolve` folds the events once they are committed.

mod adding;
mod admission;
mod budget;
mod decision;
mod ending;
mod fact;
mod keys;
mod tokens;

use self::decision::{in_pages, one};
pub use self::{
    decision::{Decision, Retention},
    ending::REPLICA_GONE_AFTER,
};
use super::{
    command::{ChangePolicy, Command, Intervene, Refusal},
    event::{Event, Intervention, PolicyChanged, StateAttested},
    ids::Micros,
    rules::Rules,
    state::State,
};

/// Decides one command at `now`, the log's time, by the given rules.
///
/// An empty list means that the command has no effect: a second shutdown, an unchanged policy.
pub fn decide(
    state: &State,
    command: &Command,
    now: Micros,
    rules: Rules,
) -> Result<Vec<Decision>, Refusal> {
    let decided = match rules {
        Rules::V1 => v1(state, command, now)?,
    };
    decided.iter().try_for_each(|decision| fits_format(state, &decision.event))?;
    Ok(decided)
}

/// Checks that the log has the format of an event, which readers of that format understand.
fn fits_format(state: &State, event: &Event) -> Result<(), Refusal> {
    let (kind, needed, found) = (event.kind(), event.format(), state.log_format);
    if needed <= found || matches!(event, Event::LogFormatRaised(_)) {
        return Ok(());
    }
    Err(Refusal::LogFormat { kind, needed, found })
}

fn v1(state: &State, command: &Command, now: Micros) -> Result<Vec<Decision>, Refusal> {
    match command {
        Command::Admit(admit) => admission::admit(state, admit, now),
        Command::Complete(complete) => ending::complete(state, complete).map(one),
        Command::Fail(fail) => ending::fail(state, fail).map(one),
        Command::Abandon(abandon) => ending::abandon(state, *abandon, now).map(one),
        Command::Add(add) => adding::add(state, add).map(one),
        Command::Shutdown(act) => Ok(shutdown(state, act)),
        Command::Resume(act) => Ok(resume(state, act)),
        Command::ChangePolicy(change) => change_policy(state, change),
        Command::Attest => {
            let digest = super::digest::state(state).to_string();
            Ok(one(Decision::of_engine(Event::StateAttested(StateAttested { digest }))))
        }
        Command::CreateKey(create) => keys::create(state, create, now).map(one),
        Command::RevokeKey(revoke) => keys::revoke(state, revoke).map(one),
        Command::RotateKey(rotate) => keys::rotate(state, rotate, now).map(one),
        Command::RaiseFormat(raise) => fact::raise_format(state, raise),
        Command::Record(fact) => fact::record(state, fact),
    }
}

fn shutdown(state: &State, act: &Intervene) -> Vec<Decision> {
    if state.shutdown.is_some() {
        return Vec::new();
    }
    one(Decision::of_engine(Event::EngineShutdown(intervention(act))))
}

fn resume(state: &State, act: &Intervene) -> Vec<Decision> {
    if state.shutdown.is_none() {
        return Vec::new();
    }
    one(Decision::of_engine(Event::EngineResumed(intervention(act))))
}

fn intervention(act: &Intervene) -> Intervention {
    Intervention { actor: act.actor.clone(), reason: act.reason.clone() }
}

fn change_policy(state: &State, change: &ChangePolicy) -> Result<Vec<Decision>, Refusal> {
    change.policy.validate()?;
    if change.policy.dimension != state.policy.dimension {
        return Err(Refusal::Fixed { field: "dimension" });
    }
    if change.policy.embedder != state.policy.embedder {
        return Err(Refusal::Fixed { field: "embedder" });
    }
    let diff = state.policy.diff(&change.policy);
    let news = change.config.as_ref().is_some_and(|new| state.config.as_deref() != Some(new));
    if diff.is_empty() && !news {
        return Ok(Vec::new());
    }
    let event = PolicyChanged {
        policy: change.policy.clone(),
        diff,
        actor: change.actor.clone(),
        reason: change.reason.clone(),
        config_hash: change.config.as_ref().map(|config| config.hash().to_string()),
        config: change.config.clone(),
        evidence: change.evidence.filter(|_| state.has_format_2()),
    };
    let mut events = one(Decision::of_engine(Event::PolicyChanged(Box::new(event))));
    let surplus = state.lattice.len().saturating_sub(change.policy.capacity);
    let evicted = state.lattice.surplus(change.policy.capacity, surplus);
    events.extend(in_pages(&evicted, Event::MemoryEvicted));
    Ok(events)
}

#[cfg(test)]
mod tests;
