//! The limit of an answer's tokens, before the budgets are looked at.

use crate::domain::{
    command::Admit,
    event::{LimitedBy, TokenRule, UNLIMITED_TOKENS},
    rhythm::Phase,
    state::State,
};

/// The limit of an answer.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    /// The granted tokens, or [`UNLIMITED_TOKENS`].
    pub(super) max_tokens: u32,
    /// The tokens that a budget reserves: the limit, or the wake phase's if there is none.
    pub(super) expected: u32,
    /// The cause that lowered the limit.
    pub(super) limited_by: Option<LimitedBy>,
}

/// The limit by the rule of the request, which a log of format 1 cannot record.
pub(super) fn limit(state: &State, admit: &Admit) -> Limit {
    match admit.token_rule.filter(|_| state.has_format_2()) {
        None | Some(TokenRule::Phase) => by_phase(state, admit),
        Some(TokenRule::Caller) => match admit.max_tokens {
            Some(asked) => Limit { max_tokens: asked, expected: asked, limited_by: None },
            None if admit.shortenable => by_phase(state, admit),
            None => Limit {
                max_tokens: UNLIMITED_TOKENS,
                expected: state.policy.rhythm.max_wake_tokens,
                limited_by: None,
            },
        },
    }
}

/// The requested tokens, limited to the maximum of the phase.
fn by_phase(state: &State, admit: &Admit) -> Limit {
    let rhythm = &state.policy.rhythm;
    let at_most = |limit: u32| admit.max_tokens.map_or(limit, |asked| asked.min(limit));
    let wake = at_most(rhythm.max_wake_tokens);
    let tokens = match state.rhythm.phase {
        Phase::Sleep if admit.shortenable => at_most(rhythm.max_sleep_tokens),
        Phase::Sleep | Phase::Wake => wake,
    };
    let limited_by = (tokens < wake).then_some(LimitedBy::Sleep);
    Limit { max_tokens: tokens, expected: tokens, limited_by }
}
