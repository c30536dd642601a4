//! Decisions on requests: `step.admitted` or `step.rejected`.

use super::{
    budget::{self, Grant},
    decision::{Decision, Retention, in_pages, one},
    tokens,
};
use crate::domain::{
    command::{Admit, Refusal},
    event::{
        AnswerMetadata, Event, MoralVerdict, RejectReason, RequestFacts, SCORERS_MAX, StepAdmitted,
        StepRejected,
    },
    ids::{Micros, Position},
    moral::{self, ScoredRequest},
    policy::SleepMode,
    rhythm::{self, Phase, RhythmState},
    state::State,
};

/// Decides an admission: first the budget (a refusal records no step), then the moral verdict, then
/// the rhythm.
pub(super) fn admit(state: &State, admit: &Admit, now: Micros) -> Result<Vec<Decision>, Refusal> {
    if let Some(shutdown) = &state.shutdown {
        return Err(Refusal::Shutdown { reason: shutdown.reason.clone() });
    }
    let grant = budget::grant(state, admit, tokens::limit(state, admit), now)?;
    let request = ScoredRequest {
        subject: admit.subject,
        caller: admit.caller_score,
        // a log of format 1 cannot record it
        asserted: admit.asserted.filter(|_| state.has_format_2()),
        scored: &admit.scored,
    };
    let mut moral = state.filter.judge(&state.policy.moral, &request)?;
    record_scores(state, admit, &mut moral)?;
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
        policy_hash: state.has_format_2().then(|| state.policy_hash.short()),
        replica: admit.replica.filter(|_| state.has_format_2()),
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
        policy_hash: state.has_format_2().then(|| state.policy_hash.short()),
        replica: admit.replica.filter(|_| state.has_format_2()),
        answer,
    };
    Decision {
        event: Event::StepRejected(Box::new(event)),
        step: Some(state.step + 1),
        subject: Some(admit.subject),
        retention: Retention::Text,
    }
}

/// Adds the results of the scorers to a verdict. A log of format 1 has one result, the lowest.
fn record_scores(state: &State, admit: &Admit, moral: &mut MoralVerdict) -> Result<(), Refusal> {
    if admit.scored.len() > SCORERS_MAX || admit.unavailable.len() > SCORERS_MAX {
        let (kind, field) = ("step.admitted", "moral.scorers");
        return Err(Refusal::FactBound { kind, field, must: "at most 8 entries" });
    }
    if !state.has_format_2() {
        moral.scorer = moral::lowest(&admit.scored).cloned();
        return Ok(());
    }
    moral.scorers.clone_from(&admit.scored);
    moral.unavailable.clone_from(&admit.unavailable);
    moral.asserted = admit.asserted;
    if let Some(judged) = &admit.judged {
        moral.scope = Some(judged.scope);
        moral.judged_chars = Some(judged.chars);
        moral.judged_hmac = Some(judged.hmac.clone());
    }
    Ok(())
}

fn facts(state: &State, admit: &Admit, grant: &Grant) -> RequestFacts {
    let recorded = state.has_format_2();
    let priced = recorded || state.policy.budget.is_set() || admit.key_limit.is_some();
    RequestFacts {
        route: admit.route.clone(),
        model: admit.model.clone(),
        max_tokens_asked: admit.max_tokens,
        max_tokens: grant.max_tokens,
        shortenable: admit.shortenable,
        token_rule: admit.token_rule.filter(|_| recorded),
        limited_by: grant.limited_by.filter(|_| recorded && admit.token_rule.is_some()),
        memory: admit.memory.filter(|_| recorded),
        top_k: admit.top_k.unwrap_or(state.policy.context.top_k),
        prompt_chars: admit.prompt_chars,
        prompt_hmac: admit.prompt_hmac.clone(),
        prompt_tokens: admit.prompt_tokens.filter(|_| priced),
        price: admit.price.filter(|_| priced),
        key_limit: admit.key_limit,
        sampling: admit.sampling.filter(|_| recorded),
        auth: admit.auth.filter(|_| recorded),
    }
}
