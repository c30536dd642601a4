//! Budgets: the tokens and the cost that each data subject has spent, and the amounts reserved for
//! running steps.
//!
//! The log's time is divided into tumbling windows of `policy.budget.window_seconds`. The state
//! holds the accounts of the current window only; an event of the next window replaces them by an
//! empty set, so the change of window takes the same time for any number of accounts. An API key
//! can have a limit of its own. Its account is in a second set of accounts with the same windows,
//! and a step must fit both limits.
//!
//! An admitted step reserves its estimated maximum; the event that ends the step replaces the
//! reservation by the actual amount. Not here: the refusal of a step (`decide`) and the price list
//! of models (configuration).

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};

use super::{
    ids::{Micros, SubjectRef},
    policy,
};

/// The maximum number of accounts in one window; a step of a further holder is refused until the
/// next window.
pub const HOLDERS_MAX: usize = 100_000;

const MICROS_PER_SECOND: i64 = 1_000_000;

/// Prices are stated per this number of tokens.
const PRICED_TOKENS: u128 = 1_000_000;

/// An amount of tokens and its cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Tokens of prompts, contexts and answers together.
    pub tokens: u64,
    /// Cost in millionths of a US dollar.
    pub cost_micro_usd: u64,
}

impl Amount {
    /// The sum of both amounts, each part saturating at `u64::MAX`.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_add(other.tokens),
            cost_micro_usd: self.cost_micro_usd.saturating_add(other.cost_micro_usd),
        }
    }

    /// The difference of both amounts, each part saturating at 0.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_sub(other.tokens),
            cost_micro_usd: self.cost_micro_usd.saturating_sub(other.cost_micro_usd),
        }
    }
}

/// Tokens of one call of a model, as counted by its provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt and its context.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
    /// The part of `prompt_tokens` that the provider had cached, if it reports one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
    /// The part of `completion_tokens` that is reasoning, if the provider reports one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
}

impl Usage {
    /// The tokens of a call whose provider reports no parts.
    pub const fn new(prompt_tokens: u64, completion_tokens: u64) -> Self {
        Self { prompt_tokens, completion_tokens, cached_tokens: None, reasoning_tokens: None }
    }
}

/// The cost of a call and the price with which it was computed. Later changes of the price list
/// do not alter it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// The cost in millionths of a US dollar.
    pub micro_usd: u64,
    /// The price.
    pub price: Price,
}

impl Cost {
    /// The cost of `usage` at `price`.
    pub fn of(usage: Usage, price: Price) -> Self {
        Self { micro_usd: price.of(usage), price }
    }
}

/// The price of a model in millionths of a US dollar per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Tokens of the prompt and its context.
    pub input: u64,
    /// Tokens of the answer.
    pub output: u64,
    /// Tokens of the prompt that the provider read from its cache; `None`: as `input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<u64>,
}

impl Price {
    /// The cost of `usage` in millionths of a US dollar:
    /// `⌈(fresh · input + cached · cached_input + completion_tokens · output) / 1,000,000⌉`, saturating
    /// at `u64::MAX`, where `fresh + cached` are the tokens of the prompt. Rounding up makes no call free.
    pub fn of(self, usage: Usage) -> u64 {
        let cached = usage.cached_tokens.unwrap_or_default().min(usage.prompt_tokens);
        let cached_price = u128::from(self.cached_input.unwrap_or(self.input));
        let cost = self
            .input_share(usage.prompt_tokens - cached)
            .saturating_add(u128::from(cached) * cached_price)
            .saturating_add(u128::from(usage.completion_tokens) * u128::from(self.output));
        u64::try_from(cost.div_ceil(PRICED_TOKENS)).unwrap_or(u64::MAX)
    }

    /// The most answer tokens that `cost` (millionths of a US dollar) pays for after a prompt of
    /// `prompt_tokens`; `u64::MAX` if answers are free.
    pub fn affordable(self, cost: u64, prompt_tokens: u64) -> u64 {
        let left = u128::from(cost) * PRICED_TOKENS;
        let left = left.saturating_sub(self.input_share(prompt_tokens));
        let tokens = left.checked_div(u128::from(self.output)).unwrap_or(u128::MAX);
        u64::try_from(tokens).unwrap_or(u64::MAX)
    }

    fn input_share(self, tokens: u64) -> u128 {
        u128::from(tokens) * u128::from(self.input)
    }
}

/// The amount that a step spent: all tokens of `usage`, and their cost at the price that was
/// recorded when the step was admitted (0 without a price).
pub fn used(usage: Usage, price: Option<Price>) -> Amount {
    Amount {
        tokens: usage.prompt_tokens.saturating_add(usage.completion_tokens),
        cost_micro_usd: price.map_or(0, |price| price.of(usage)),
    }
}

/// The limit of the API key that authenticated a step. It applies to all data subjects the key acts
/// for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLimit {
    /// The pseudonym of the key in this engine; identifies its account.
    pub holder: SubjectRef,
    /// The most that may be spent in one window; 0 means no limit.
    pub limit: Amount,
}

/// The amount reserved for an admitted step: `budget` and `key_budget` of `step.admitted`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// The account that is charged: a data subject or an API key.
    pub holder: SubjectRef,
    /// The limit in force at admission; 0 means no limit.
    pub limit: Amount,
    /// The window of the reservation: ⌊recorded time / window length⌋.
    pub window: i64,
    /// The amount reserved until the step ends.
    pub reserved: Amount,
}

/// One account in the current window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Spent by steps that have ended.
    pub spent: Amount,
    /// Reserved for steps that are still open.
    pub reserved: Amount,
}

impl Account {
    /// The sum of the spent and the reserved amounts.
    pub const fn taken(&self) -> Amount {
        self.spent.plus(self.reserved)
    }
}

/// The accounts of the current window.
#[derive(Clone, Debug)]
pub struct Accounts {
    window: i64,
    holders: RedBlackTreeMapSync<SubjectRef, Account>,
}

impl Accounts {
    /// An empty set of accounts for `window`.
    pub fn open(window: i64) -> Self {
        Self { window, holders: RedBlackTreeMapSync::new_sync() }
    }

    /// The account of `holder` in `window`; an empty account if `window` is not the current one.
    pub fn get(&self, holder: SubjectRef, window: i64) -> Account {
        let open = Some(&self.holders).filter(|_| window == self.window);
        open.and_then(|holders| holders.get(&holder)).copied().unwrap_or_default()
    }

    /// True if `window` already has [`HOLDERS_MAX`] accounts and none belongs to `holder`.
    pub fn is_full_for(&self, holder: SubjectRef, window: i64) -> bool {
        window == self.window
            && self.holders.size() >= HOLDERS_MAX
            && !self.holders.contains_key(&holder)
    }

    /// The number of the current window.
    pub const fn window(&self) -> i64 {
        self.window
    }

    /// All accounts, ordered by pseudonym.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&SubjectRef, &Account)> {
        self.holders.iter()
    }

    /// Makes `window` the current one; discards the accounts of the window before.
    pub(super) fn turn(&mut self, window: i64) {
        if window != self.window {
            *self = Self::open(window);
        }
    }

    /// Adds a reservation to its account.
    pub(super) fn reserve(&mut self, reservation: &Reservation) {
        self.turn(reservation.window);
        let account = self.get(reservation.holder, self.window);
        let reserved = account.reserved.plus(reservation.reserved);
        self.holders.insert_mut(reservation.holder, Account { reserved, ..account });
    }

    /// Replaces a reservation by the amount spent. No effect if the window of the reservation is
    /// over or its holder was erased.
    pub(super) fn settle(&mut self, reservation: &Reservation, spent: Amount) {
        let Some(account) = self.holders.get(&reservation.holder).copied() else { return };
        if reservation.window != self.window {
            return;
        }
        let settled = Account {
            spent: account.spent.plus(spent),
            reserved: account.reserved.minus(reservation.reserved),
        };
        self.holders.insert_mut(reservation.holder, settled);
    }

    /// Removes the account of an erased holder.
    pub(super) fn forget(&mut self, holder: SubjectRef) {
        self.holders.remove_mut(&holder);
    }
}

impl policy::Budget {
    /// The number of the window that contains `time`: ⌊time / window length⌋.
    pub const fn window(&self, time: Micros) -> i64 {
        time.div_euclid(self.length())
    }

    /// The end of the window that contains `time`, which is the start of the next window.
    pub const fn window_end(&self, time: Micros) -> Micros {
        (self.window(time) + 1).saturating_mul(self.length())
    }

    /// The limit per window; 0 means no limit.
    pub const fn limit(&self) -> Amount {
        Amount { tokens: self.tokens, cost_micro_usd: self.cost_micro_usd }
    }

    /// The window length in microseconds. A policy with length 0 is invalid; it counts as one
    /// second here, to keep the division defined.
    const fn length(&self) -> i64 {
        let seconds = if self.window_seconds == 0 { 1 } else { self.window_seconds };
        seconds as i64 * MICROS_PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CENTS: Price = Price { input: 3_000_000, output: 15_000_000, cached_input: None };

    fn usage(prompt_tokens: u64, completion_tokens: u64) -> Usage {
        Usage::new(prompt_tokens, completion_tokens)
    }

    #[test]
    fn a_cost_is_rounded_up_and_never_overflows() {
        assert_eq!(CENTS.of(usage(0, 0)), 0);
        assert_eq!(CENTS.of(usage(1_000, 200)), 6_000);
        assert_eq!(Price { input: 1, output: 0, cached_input: None }.of(usage(1, 9)), 1);
        assert_eq!(
            Price { input: u64::MAX, output: u64::MAX, cached_input: None }.of(usage(u64::MAX, 9)),
            u64::MAX
        );
        let extreme = usage(u64::MAX, u64::MAX);
        assert_eq!(used(extreme, None), Amount { tokens: u64::MAX, cost_micro_usd: 0 });
    }

    #[test]
    fn cached_tokens_cost_their_own_price() {
        let cached = |tokens| Usage { cached_tokens: Some(tokens), ..usage(50_000, 0) };
        assert_eq!(
            CENTS.of(cached(45_000)),
            CENTS.of(usage(50_000, 0)),
            "without a price of its own"
        );
        let price = Price { cached_input: Some(300_000), ..CENTS };
        assert_eq!(price.of(cached(45_000)), 15_000 + 13_500);
        assert_eq!(price.of(cached(u64::MAX)), 15_000, "at most the tokens of the prompt");
        let dear = Price { input: u64::MAX, output: u64::MAX, cached_input: Some(u64::MAX) };
        let extreme = Usage { cached_tokens: Some(9), ..usage(u64::MAX, u64::MAX) };
        assert_eq!(dear.of(extreme), u64::MAX, "no overflow");
    }

    #[test]
    fn an_affordable_answer_costs_no_more_than_the_budget() {
        for left in [0, 1, 2_999, 3_000, 3_014, 3_015, 90_000, u64::MAX] {
            let answer = CENTS.affordable(left, 1_000);
            let cost = CENTS.of(usage(1_000, answer));
            assert!(cost <= left || answer == 0, "{left}: {answer} tokens cost {cost}");
            assert!(left == u64::MAX || CENTS.of(usage(1_000, answer + 1)) > left, "{left}");
        }
        assert_eq!(Price { input: 1, output: 0, cached_input: None }.affordable(1, 1), u64::MAX);
    }

    #[test]
    fn windows_cover_all_times_before_and_after_the_epoch() {
        let budget = policy::Budget { window_seconds: 60, ..policy::Budget::default() };
        let minute = 60 * MICROS_PER_SECOND;
        for (time, window) in [(-1, -1), (0, 0), (minute - 1, 0), (minute, 1)] {
            assert_eq!(budget.window(time), window, "{time}");
            assert_eq!(budget.window_end(time), (window + 1) * minute, "{time}");
        }
        assert!(budget.window_end(Micros::MAX) > 0, "does not overflow");
    }
}
