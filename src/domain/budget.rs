//! Budgets: what each data subject spent, and what its running steps may still spend.
//!
//! Time is cut into tumbling windows of the log's clock, and only the open one is kept: it is
//! replaced by an empty one as a whole, so a turn costs the same however many there were. An API key
//! may have a limit too, whomever it speaks for: then it holds an account beside that of the data
//! subject, in a second set of the same windows, and a step has to fit both. A step reserves what it may cost when it is admitted; its ending replaces that by what it did cost.
//! Deliberately not here: who is refused (`decide`), and what a model costs (the shell's).

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};

use super::{
    ids::{Micros, SubjectRef},
    policy,
};

/// Most holders with an account in one window; another one is refused until the next.
pub const HOLDERS_MAX: usize = 100_000;

const MICROS_PER_SECOND: i64 = 1_000_000;

/// Prices are per this many tokens.
const PRICED_TOKENS: u128 = 1_000_000;

/// Tokens, and what they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Tokens of prompts, contexts and answers.
    pub tokens: u64,
    /// Millionths of a US dollar.
    pub cost_micro_usd: u64,
}

impl Amount {
    /// The sum; no figure grows beyond what it can hold.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_add(other.tokens),
            cost_micro_usd: self.cost_micro_usd.saturating_add(other.cost_micro_usd),
        }
    }

    /// The difference; no figure falls below 0.
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
}

/// What a model costs, in millionths of a US dollar per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Tokens of the prompt and its context.
    pub input: u64,
    /// Tokens of the answer.
    pub output: u64,
}

impl Price {
    /// What so many tokens cost, rounded up: nothing is free by being small.
    pub fn of(self, usage: Usage) -> u64 {
        let cost = self.input_share(usage.prompt_tokens).saturating_add(
            u128::from(usage.completion_tokens).saturating_mul(u128::from(self.output)),
        );
        u64::try_from(cost.div_ceil(PRICED_TOKENS)).unwrap_or(u64::MAX)
    }

    /// The longest answer that `cost` pays for, after a prompt of so many tokens.
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

/// What a step used, at the price that was recorded when it was admitted.
pub fn used(usage: Usage, price: Option<Price>) -> Amount {
    Amount {
        tokens: usage.prompt_tokens.saturating_add(usage.completion_tokens),
        cost_micro_usd: price.map_or(0, |price| price.of(usage)),
    }
}

/// The limit of the API key that a step came with, whomever the key speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLimit {
    /// The key, by its pseudonym in this engine.
    pub holder: SubjectRef,
    /// What it may spend in a window; 0 for no limit.
    pub limit: Amount,
}

/// What an admitted step may spend: `budget` and `key_budget` in `step.admitted`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Who pays.
    pub holder: SubjectRef,
    /// The limits in force; 0 for none.
    pub limit: Amount,
    /// The window it belongs to: the log's time divided by the window's length.
    pub window: i64,
    /// The amount reserved until the step ends.
    pub reserved: Amount,
}

/// One holder's window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// By steps that have ended.
    pub spent: Amount,
    /// For steps that have not.
    pub reserved: Amount,
}

impl Account {
    /// Spent or kept back.
    pub const fn taken(&self) -> Amount {
        self.spent.plus(self.reserved)
    }
}

/// The accounts of the open window.
#[derive(Clone, Debug)]
pub struct Accounts {
    window: i64,
    holders: RedBlackTreeMapSync<SubjectRef, Account>,
}

impl Accounts {
    /// A window in which nobody has spent anything.
    pub fn open(window: i64) -> Self {
        Self { window, holders: RedBlackTreeMapSync::new_sync() }
    }

    /// The account of a holder in a window; an empty one in any window but the open one.
    pub fn get(&self, holder: SubjectRef, window: i64) -> Account {
        let open = Some(&self.holders).filter(|_| window == self.window);
        open.and_then(|holders| holders.get(&holder)).copied().unwrap_or_default()
    }

    /// Whether a window has no room for a holder.
    pub fn is_full_for(&self, holder: SubjectRef, window: i64) -> bool {
        window == self.window
            && self.holders.size() >= HOLDERS_MAX
            && !self.holders.contains_key(&holder)
    }

    /// The open window.
    pub const fn window(&self) -> i64 {
        self.window
    }

    /// Everybody with an account, by pseudonym.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&SubjectRef, &Account)> {
        self.holders.iter()
    }

    /// Makes `window` the open one.
    pub(super) fn turn(&mut self, window: i64) {
        if window != self.window {
            *self = Self::open(window);
        }
    }

    /// Keeps back what a step may spend.
    pub(super) fn reserve(&mut self, reservation: &Reservation) {
        self.turn(reservation.window);
        let account = self.get(reservation.holder, self.window);
        let reserved = account.reserved.plus(reservation.reserved);
        self.holders.insert_mut(reservation.holder, Account { reserved, ..account });
    }

    /// Replaces a reservation by what was spent. One of an earlier window, or of a holder who was
    /// forgotten meanwhile, changes nothing.
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

    /// Closes the account of an erased holder.
    pub(super) fn forget(&mut self, holder: SubjectRef) {
        self.holders.remove_mut(&holder);
    }
}

impl policy::Budget {
    /// The window that a time lies in.
    pub const fn window(&self, time: Micros) -> i64 {
        time.div_euclid(self.length())
    }

    /// When the window of a time ends: the first time of the next.
    pub const fn window_end(&self, time: Micros) -> Micros {
        (self.window(time) + 1).saturating_mul(self.length())
    }

    /// What may be spent; 0 for no limit.
    pub const fn limit(&self) -> Amount {
        Amount { tokens: self.tokens, cost_micro_usd: self.cost_micro_usd }
    }

    /// In microseconds. A window of no length is not a valid policy.
    const fn length(&self) -> i64 {
        let seconds = if self.window_seconds == 0 { 1 } else { self.window_seconds };
        seconds as i64 * MICROS_PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CENTS: Price = Price { input: 3_000_000, output: 15_000_000 };

    fn usage(prompt_tokens: u64, completion_tokens: u64) -> Usage {
        Usage { prompt_tokens, completion_tokens }
    }

    #[test]
    fn a_cost_is_rounded_up_and_never_overflows() {
        assert_eq!(CENTS.of(usage(0, 0)), 0);
        assert_eq!(CENTS.of(usage(1_000, 200)), 6_000);
        assert_eq!(Price { input: 1, output: 0 }.of(usage(1, 9)), 1);
        assert_eq!(Price { input: u64::MAX, output: u64::MAX }.of(usage(u64::MAX, 9)), u64::MAX);
        let extreme = usage(u64::MAX, u64::MAX);
        assert_eq!(used(extreme, None), Amount { tokens: u64::MAX, cost_micro_usd: 0 });
    }

    #[test]
    fn an_affordable_answer_costs_no_more_than_there_is() {
        for left in [0, 1, 2_999, 3_000, 3_014, 3_015, 90_000, u64::MAX] {
            let answer = CENTS.affordable(left, 1_000);
            let cost = CENTS.of(usage(1_000, answer));
            assert!(cost <= left || answer == 0, "{left}: {answer} tokens cost {cost}");
            assert!(left == u64::MAX || CENTS.of(usage(1_000, answer + 1)) > left, "{left}");
        }
        assert_eq!(Price { input: 1, output: 0 }.affordable(1, 1), u64::MAX);
    }

    #[test]
    fn windows_tile_the_time_before_and_after_the_epoch() {
        let budget = policy::Budget { window_seconds: 60, ..policy::Budget::default() };
        let minute = 60 * MICROS_PER_SECOND;
        for (time, window) in [(-1, -1), (0, 0), (minute - 1, 0), (minute, 1)] {
            assert_eq!(budget.window(time), window, "{time}");
            assert_eq!(budget.window_end(time), (window + 1) * minute, "{time}");
        }
        assert!(budget.window_end(Micros::MAX) > 0, "no overflow");
    }
}
