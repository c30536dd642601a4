//! The part of an admission that is about money: whether there is any left, and how much of it the
//! step may take.

use crate::domain::{
    budget::{self, Amount, Reservation},
    command::{Admit, Refusal, Spendable},
    event::Usage,
    ids::Micros,
    state::State,
};

/// What an admitted step may spend.
pub(super) struct Grant {
    /// Most tokens of the answer.
    pub(super) max_tokens: u32,
    /// Kept back meanwhile; nothing where the policy has no budget.
    pub(super) reservation: Option<Reservation>,
}

/// Grants at most `max_tokens`, and as many as the asker's budget has left: at least one, so that
/// the last step of a window may overdraw it by its prompt.
pub(super) fn grant(
    state: &State,
    admit: &Admit,
    max_tokens: u32,
    now: Micros,
) -> Result<Grant, Refusal> {
    if !state.policy.budget.is_set() {
        return Ok(Grant { max_tokens, reservation: None });
    }
    let left = left(state, admit, now)?;
    let prompt_tokens = admit.prompt_tokens;
    let fitting = left.tokens.saturating_sub(prompt_tokens);
    let affordable =
        admit.price.map_or(u64::MAX, |price| price.affordable(left.cost_micro_usd, prompt_tokens));
    let most = u64::from(max_tokens).min(fitting).min(affordable).max(1);
    let usage = Usage { prompt_tokens, completion_tokens: most };
    let needed = budget::used(usage, admit.price);
    let reservation = Reservation {
        holder: admit.subject,
        limit: state.policy.budget.limit(),
        window: state.policy.budget.window(now),
        reserved: Amount {
            tokens: needed.tokens.min(left.tokens),
            cost_micro_usd: needed.cost_micro_usd.min(left.cost_micro_usd),
        },
    };
    Ok(Grant { max_tokens: most as u32, reservation: Some(reservation) })
}

/// What the asker may still spend, more than nothing of either.
fn left(state: &State, admit: &Admit, now: Micros) -> Result<Amount, Refusal> {
    let budget = &state.policy.budget;
    let window = budget.window(now);
    if budget.cost_micro_usd > 0 && admit.price.is_none() {
        return Err(Refusal::NoPrice);
    }
    let taken = state.accounts.get(admit.subject, window).taken();
    let retry_after = budget.window_end(now).saturating_sub(now);
    let rest = |unit, limit: u64, taken: u64| {
        if limit == 0 {
            return Ok(u64::MAX);
        }
        let left = limit.saturating_sub(taken);
        if left == 0 { Err(Refusal::Budget { unit, limit, retry_after }) } else { Ok(left) }
    };
    let tokens = rest(Spendable::Tokens, budget.tokens, taken.tokens)?;
    let cost_micro_usd = rest(Spendable::MicroUsd, budget.cost_micro_usd, taken.cost_micro_usd)?;
    if state.accounts.is_full_for(admit.subject, window) {
        return Err(Refusal::BudgetHolders { retry_after });
    }
    Ok(Amount { tokens, cost_micro_usd })
}
