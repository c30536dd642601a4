//! `decide`: a pure function from a state, a command and the log's time to events or a refusal.
//!
//! It changes no state: `evolve` folds the events once they are committed.

mod adding;
mod budget;
mod decision;
mod ending;
mod keys;

use self::budget::Grant;
pub use self::decision::{Decision, Retention};
use super::{
    command::{Admit, ChangePolicy, Command, Intervene, Refusal},
    event::{
        AnswerMetadata, Event, Intervention, MoralVerdict, POSITIONS_MAX, PolicyChanged, Positions,
        RejectReason, RequestFacts, StateAttested, StepAdmitted, StepRejected,
    },
    ids::{Micros, Position},
    moral::ScoredRequest,
    policy::SleepMode,
    rhythm::{self, Phase, RhythmState},
    state::State,
};

/// Decides one command at `now`, the log's time.
///
/// An empty list means that the command has no effect: a second shutdown, an unchanged policy.
pub fn decide(state: &State, command: &Command, now: Micros) -> Result<Vec<Decision>, Refusal> {
    match command {
        Command::Admit(admit) => self::admit(state, admit, now),
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
    }
}

fn one(decision: Decision) -> Vec<Decision> {
    vec![decision]
}

/// Decides an admission: first the budget (a refusal records no step), then the moral verdict, then
/// the rhythm.
fn admit(state: &State, admit: &Admit, now: Micros) -> Result<Vec<Decision>, Refusal> {
    if let Some(shutdown) = &state.shutdown {
        return Err(Refusal::Shutdown { reason: shutdown.reason.clone() });
    }
    let grant = budget::grant(state, admit, phase_tokens(state, admit), now)?;
    let request = ScoredRequest {
        subject: admit.subject,
        caller: admit.caller_score,
        scorer: admit.scored.as_ref(),
    };
    let moral = state.filter.judge(&state.policy.moral, &request)?;
    let phase = state.rhythm.phase;
    if !moral.accepted() {
        return Ok(one(rejected(state, admit, &grant, moral, (RejectReason::Moral, None))));
    }
    let ticked = rhythm::tick(state.rhythm, &state.policy.rhythm);
    if phase == Phase::Sleep && state.policy.rhythm.sleep_mode == SleepMode::Refuse {
        return Ok(one(rejected(
            state,
            admit,
            &grant,
            moral,
            (RejectReason::Sleep, Some(ticked.tick)),
        )));
    }
    let event = StepAdmitted {
        request: facts(state, admit, &grant),
        moral,
        phase,
        tick: ticked.tick,
        deadline: now.saturating_add(admit.timeout).saturating_add(admit.grace),
        budget: grant.reservation,
        key_budget: grant.key_reservation,
        policy_version: state.policy_version,
    };
    let mut events = one(Decision {
        event: Event::StepAdmitted(Box::new(event)),
        step: Some(state.step + 1),
        subject: Some(admit.subject),
        retention: Retention::Text,
    });
    if ticked.consolidates {
        let unconsolidated: Vec<Position> = state.lattice.unconsolidated().collect();
        events.extend(in_pages(&unconsolidated, Event::MemoryConsolidated));
    }
    Ok(events)
}

fn rejected(
    state: &State,
    admit: &Admit,
    grant: &Grant,
    moral: MoralVerdict,
    (reason, tick): (RejectReason, Option<RhythmState>),
) -> Decision {
    let answer = AnswerMetadata {
        moral_threshold: moral.threshold_before,
        phase: state.rhythm.phase,
        memory_used_bytes: state.lattice.bytes() as u64,
        latency_ms: admit.elapsed_ms,
    };
    let event = StepRejected {
        request: facts(state, admit, grant),
        moral,
        reason,
        phase: state.rhythm.phase,
        tick,
        policy_version: state.policy_version,
        answer,
    };
    Decision {
        event: Event::StepRejected(Box::new(event)),
        step: Some(state.step + 1),
        subject: Some(admit.subject),
        retention: Retention::Text,
    }
}

fn facts(state: &State, admit: &Admit, grant: &Grant) -> RequestFacts {
    let priced = state.policy.budget.is_set() || admit.key_limit.is_some();
    RequestFacts {
        route: admit.route.clone(),
        model: admit.model.clone(),
        max_tokens_asked: admit.max_tokens,
        max_tokens: grant.max_tokens,
        shortenable: admit.shortenable,
        top_k: admit.top_k.unwrap_or(state.policy.context.top_k),
        prompt_chars: admit.prompt_chars,
        prompt_hmac: admit.prompt_hmac.clone(),
        prompt_tokens: priced.then_some(admit.prompt_tokens),
        price: admit.price.filter(|_| priced),
        key_limit: admit.key_limit,
    }
}

/// The requested answer tokens, limited to the maximum of the phase.
fn phase_tokens(state: &State, admit: &Admit) -> u32 {
    let rhythm = &state.policy.rhythm;
    let limit = match state.rhythm.phase {
        Phase::Sleep if admit.shortenable => rhythm.max_sleep_tokens,
        Phase::Sleep | Phase::Wake => rhythm.max_wake_tokens,
    };
    admit.max_tokens.map_or(limit, |asked| asked.min(limit))
}

fn in_pages(positions: &[Position], event: fn(Positions) -> Event) -> Vec<Decision> {
    positions
        .chunks(POSITIONS_MAX)
        .map(|page| Decision::of_engine(event(Positions { positions: page.to_vec() })))
        .collect()
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
    };
    let mut events = one(Decision::of_engine(Event::PolicyChanged(Box::new(event))));
    let surplus = state.lattice.len().saturating_sub(change.policy.capacity);
    let evicted = state.lattice.surplus(change.policy.capacity, surplus);
    events.extend(in_pages(&evicted, Event::MemoryEvicted));
    Ok(events)
}

#[cfg(test)]
mod tests;
