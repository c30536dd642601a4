//! The budget part of an admission: checks that budget is left and reserves the step's maximum.

use crate::domain::{
    budget::{self, Accounts, Amount, Reservation},
    command::{Admit, BudgetUnit, Refusal},
    event::{LimitedBy, Usage},
    ids::{Micros, SubjectRef},
    state::State,
};

use super::tokens::Limit;

/// The tokens and reservations granted to an admitted step.
pub(super) struct Grant {
    /// The maximum number of answer tokens.
    pub(super) max_tokens: u32,
    /// The cause that lowered it.
    pub(super) limited_by: Option<LimitedBy>,
    /// Reserved on the account of the data subject; `None` if the policy has no budget.
    pub(super) reservation: Option<Reservation>,
    /// Reserved on the account of the API key; `None` if the key has no limit.
    pub(super) key_reservation: Option<Reservation>,
}

/// An account with a limit and its remaining amount, which is above 0 in each limited unit.
struct Payer {
    holder: SubjectRef,
    limit: Amount,
    left: Amount,
}

/// Grants a limit, lowered to the remaining budgets of the data subject and the API key, but to at
/// least one token: the last step of a window may overdraw a budget by its prompt. An answer without
/// a limit gets one only if the budgets do not cover its expected length; it may overdraw them by the
/// part beyond that length.
pub(super) fn grant(
    state: &State,
    admit: &Admit,
    limit: Limit,
    now: Micros,
) -> Result<Grant, Refusal> {
    let policy = &state.policy.budget;
    let subject = policy.is_set().then(|| (admit.subject, policy.limit()));
    let subject =
        subject.map(|holder| payer(state, &state.accounts, admit, holder, now)).transpose()?;
    let key = admit.key_limit.map(|key| (key.holder, key.limit));
    let key =
        key.map(|holder| payer(state, &state.key_accounts, admit, holder, now)).transpose()?;
    let prompt_tokens = admit.prompt_tokens.unwrap_or_default();
    let fitting = |payer: &Payer| {
        let left = payer.left;
        let affordable =
            |price: budget::Price| price.affordable(left.cost_micro_usd, prompt_tokens);
        let affordable = admit.price.map_or(u64::MAX, affordable);
        left.tokens.saturating_sub(prompt_tokens).min(affordable)
    };
    let fit = |most: u64, payer| most.min(fitting(payer)).max(1);
    let most = subject.iter().chain(&key).fold(u64::from(limit.expected), fit);
    let is_lowered = most < u64::from(limit.expected);
    let usage = Usage::new(prompt_tokens, most);
    let needed = budget::used(usage, admit.price);
    let reservation = |payer: Payer| Reservation {
        holder: payer.holder,
        limit: payer.limit,
        window: policy.window(now),
        reserved: Amount {
            tokens: needed.tokens.min(payer.left.tokens),
            cost_micro_usd: needed.cost_micro_usd.min(payer.left.cost_micro_usd),
        },
    };
    Ok(Grant {
        max_tokens: if is_lowered { most as u32 } else { limit.max_tokens },
        limited_by: if is_lowered { Some(LimitedBy::Budget) } else { limit.limited_by },
        reservation: subject.map(reservation),
        key_reservation: key.map(reservation),
    })
}

/// Checks that the account has some of each limited unit left.
fn payer(
    state: &State,
    accounts: &Accounts,
    admit: &Admit,
    (holder, limit): (SubjectRef, Amount),
    now: Micros,
) -> Result<Payer, Refusal> {
    let window = state.policy.budget.window(now);
    if limit.cost_micro_usd > 0 && admit.price.is_none() {
        return Err(Refusal::NoPrice);
    }
    let taken = accounts.get(holder, window).taken();
    let retry_after = state.policy.budget.window_end(now).saturating_sub(now);
    let rest = |unit, limit: u64, taken: u64| {
        if limit == 0 {
            return Ok(u64::MAX);
        }
        let left = limit.saturating_sub(taken);
        if left == 0 { Err(Refusal::Budget { unit, limit, retry_after }) } else { Ok(left) }
    };
    let tokens = rest(BudgetUnit::Tokens, limit.tokens, taken.tokens)?;
    let cost_micro_usd = rest(BudgetUnit::MicroUsd, limit.cost_micro_usd, taken.cost_micro_usd)?;
    if accounts.is_full_for(holder, window) {
        return Err(Refusal::BudgetHolders { retry_after });
    }
    Ok(Payer { holder, limit, left: Amount { tokens, cost_micro_usd } })
}
