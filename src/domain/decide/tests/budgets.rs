//! Budgets: no amount is counted twice, lost, or carried into another window.

use proptest::prelude::*;

use super::{Log, admission, answer, subject};
use crate::domain::{
    budget::{Amount, HOLDERS_MAX, Price, Reservation},
    command::{AbandonCause, Admit, BudgetUnit, Complete, Refusal},
    decide::tests::driver::small_policy,
    event::{Event, StepAdmitted, Usage},
    ids::Micros,
    policy::{Budget, Policy},
};

/// The window length in most tests.
pub(super) const WINDOW: Micros = 60_000_000;

/// A log with a budget of `tokens` per minute, at the start of a minute.
pub(super) fn log(tokens: u64, cost_micro_usd: u64) -> Log {
    let budget = Budget { tokens, cost_micro_usd, window_seconds: 60 };
    let mut log = Log::of(Policy { budget, ..small_policy() });
    log.now = log.state.policy.budget.window_end(log.now);
    log
}

/// A request with the given prompt tokens and `max_tokens`.
pub(super) fn request(by: u128, prompt_tokens: u64, max_tokens: u32) -> Admit {
    Admit { prompt_tokens: Some(prompt_tokens), max_tokens: Some(max_tokens), ..admission(by) }
}

pub(super) fn admitted(log: &mut Log, request: Admit) -> StepAdmitted {
    let mut events = log.admit(request).unwrap();
    let Event::StepAdmitted(event) = events.remove(0) else { panic!("{events:?}") };
    *event
}

pub(super) fn ended(log: &mut Log, step: u64, prompt_tokens: u64, completion_tokens: u64) {
    let usage = Usage::new(prompt_tokens, completion_tokens);
    log.complete(Complete { usage, ..answer(step, step) }).unwrap();
}

/// The spent and the reserved tokens in the current window.
fn tokens(log: &Log, by: u128) -> (u64, u64) {
    let window = log.state.policy.budget.window(log.now);
    let account = log.state.accounts.get(subject(by), window);
    (account.spent.tokens, account.reserved.tokens)
}

fn reservation(event: &StepAdmitted) -> Amount {
    event.budget.unwrap().reserved
}

#[test]
fn a_policy_without_a_budget_reserves_and_counts_nothing() {
    let mut log = Log::new();
    let event = admitted(&mut log, request(1, 10, 100));
    assert_eq!((event.budget, event.request.prompt_tokens), (None, Some(10)));
    ended(&mut log, 1, 10, 100);
    assert_eq!(log.state.accounts.iter().len(), 0);
}

#[test]
fn a_policy_without_a_budget_keeps_its_hash() {
    let json = serde_json::to_string(&Policy::default()).unwrap();
    assert!(!json.contains("budget"));
    assert_eq!(
        Policy::default().hash().to_string(),
        "98fcb4aff32c15c46b145b5819153fc5c349b70eb3df07df01308cdb580d1167"
    );
}

#[test]
fn a_reservation_is_replaced_by_the_amount_used() {
    let mut log = log(1_000, 0);
    let event = admitted(&mut log, request(1, 100, 200));
    assert_eq!((event.request.max_tokens, reservation(&event).tokens), (200, 300));
    assert_eq!(tokens(&log, 1), (0, 300));
    ended(&mut log, 1, 90, 50);
    assert_eq!(tokens(&log, 1), (140, 0));
    log.assert_replays();
}

#[test]
fn an_answer_is_limited_to_the_remaining_budget() {
    let mut log = log(1_000, 0);
    admitted(&mut log, request(1, 100, 700));
    let event = admitted(&mut log, request(1, 100, 700));
    assert_eq!((event.request.max_tokens_asked, event.request.max_tokens), (Some(700), 100));
    assert_eq!(reservation(&event).tokens, 200);
    ended(&mut log, 1, 0, 1);
    let event = admitted(&mut log, request(1, 5_000, 700));
    assert_eq!(event.request.max_tokens, 1, "at least one token");
    assert_eq!(reservation(&event).tokens, 799, "no more than the remaining budget");
    log.assert_replays();
}

#[test]
fn a_spent_budget_refuses_before_the_verdict_and_leaves_no_event() {
    let mut log = log(300, 0);
    admitted(&mut log, request(1, 100, 200));
    let position = log.state.position;
    let refused = |log: &mut Log| {
        // a missing score is not even checked
        let request = Admit { caller_score: Some(f64::NAN), ..request(1, 1, 1) };
        let refused = log.admit(request).unwrap_err();
        let retry_after = log.state.policy.budget.window_end(log.now) - log.now;
        assert_eq!(refused, Refusal::Budget { unit: BudgetUnit::Tokens, limit: 300, retry_after });
        assert_eq!(refused.retry_after(), Some(retry_after));
    };
    refused(&mut log);
    assert_eq!((log.state.position, log.state.step), (position, 1));
    ended(&mut log, 1, 100, 200);
    refused(&mut log);
    admitted(&mut log, request(2, 100, 200));
    log.shutdown();
    let refused = log.admit(request(1, 1, 1)).unwrap_err();
    assert!(matches!(refused, Refusal::Shutdown { .. }), "a shutdown is checked first");
}

#[test]
fn a_rejected_step_spends_nothing() {
    let mut log = log(300, 0);
    let events = log.admit(Admit { caller_score: Some(0.1), ..request(1, 100, 900) }).unwrap();
    let [Event::StepRejected(event)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((event.request.prompt_tokens, event.request.max_tokens), (Some(100), 200));
    assert_eq!(tokens(&log, 1), (0, 0));
    assert_eq!(log.state.accounts.iter().len(), 0);
}

#[test]
fn an_abandoned_step_pays_its_reservation_and_a_failed_one_its_usage() {
    let mut log = log(1_000, 0);
    admitted(&mut log, request(1, 100, 200));
    admitted(&mut log, request(1, 10, 20));
    log.abandon(1, AbandonCause::SoleOwner).unwrap();
    assert_eq!(tokens(&log, 1), (300, 30));
    log.fail(2).unwrap();
    assert_eq!(tokens(&log, 1), (300, 0));
    log.assert_replays();
}

#[test]
fn a_window_starts_empty_and_ignores_steps_of_the_previous_one() {
    let mut log = log(300, 0);
    admitted(&mut log, request(1, 100, 200));
    log.now += WINDOW;
    admitted(&mut log, request(1, 10, 20));
    assert_eq!(tokens(&log, 1), (0, 30));
    ended(&mut log, 1, 100, 200);
    assert_eq!(tokens(&log, 1), (0, 30), "a step of the previous window");
    ended(&mut log, 2, 10, 10);
    assert_eq!(tokens(&log, 1), (20, 0));
    log.now += WINDOW;
    assert_eq!(tokens(&log, 1), (0, 0), "before the first event of the window");
    log.shutdown();
    assert_eq!(log.state.accounts.iter().len(), 0, "any event opens the window");
    log.assert_replays();
}

#[test]
fn a_cost_budget_counts_at_the_recorded_price() {
    let price = Some(Price { input: 1_000_000, output: 10_000_000, cached_input: None });
    let mut log = log(0, 1_000);
    assert_eq!(log.admit(request(1, 100, 10)).unwrap_err(), Refusal::NoPrice);
    let event = admitted(&mut log, Admit { price, ..request(1, 100, 500) });
    assert_eq!((event.request.max_tokens, event.request.price), (90, price));
    assert_eq!(reservation(&event), Amount { tokens: 190, cost_micro_usd: 1_000 });
    let refused = log.admit(Admit { price, ..request(1, 1, 1) }).unwrap_err();
    assert!(
        matches!(refused, Refusal::Budget { unit: BudgetUnit::MicroUsd, limit: 1_000, .. }),
        "{refused}"
    );
    ended(&mut log, 1, 100, 40);
    let account = log.state.accounts.get(subject(1), log.state.accounts.window());
    assert_eq!(account.spent, Amount { tokens: 140, cost_micro_usd: 500 });
    assert_eq!(account.reserved, Amount::default());
    log.assert_replays();
}

#[test]
fn a_changed_limit_applies_to_amounts_already_spent() {
    let mut log = log(1_000, 0);
    admitted(&mut log, request(1, 100, 200));
    ended(&mut log, 1, 100, 200);
    log.change(|policy| policy.budget.tokens = 300).unwrap();
    assert!(matches!(log.admit(request(1, 1, 1)), Err(Refusal::Budget { limit: 300, .. })));
    let events = log.change(|policy| policy.budget = Budget::default()).unwrap();
    let [Event::PolicyChanged(event)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(event.diff, ["budget.tokens", "budget.window_seconds"]);
    admitted(&mut log, request(1, 1, 1));
    log.assert_replays();
}

#[test]
fn a_changed_window_length_resets_the_accounts() {
    let mut log = log(1_000, 0);
    admitted(&mut log, request(1, 100, 200));
    ended(&mut log, 1, 100, 200);
    admitted(&mut log, request(1, 100, 200));
    let number = log.state.accounts.window();
    log.change(|policy| policy.budget.window_seconds = 61).unwrap();
    assert_eq!(tokens(&log, 1), (0, 0));
    // years later a window of the new length has the same number
    log.now = (number * 61 + 1) * 1_000_000;
    admitted(&mut log, request(1, 10, 20));
    ended(&mut log, 2, 100, 200);
    assert_eq!(log.state.accounts.window(), number);
    assert_eq!(tokens(&log, 1), (0, 30), "the step of the old window changes nothing");
    log.assert_replays();
}

#[test]
fn an_erased_subject_has_no_account() {
    let mut log = log(1_000, 0);
    admitted(&mut log, request(1, 100, 200));
    log.erase(subject(1));
    assert_eq!(log.state.accounts.iter().len(), 0);
    ended(&mut log, 1, 100, 200);
    assert_eq!(log.state.accounts.iter().len(), 0);
    log.assert_replays();
}

#[test]
fn a_full_window_refuses_a_new_holder() {
    let mut log = log(1_000, 0);
    let window = log.state.policy.budget.window(log.now);
    for holder in 0..HOLDERS_MAX {
        let reserved = Amount { tokens: 1, cost_micro_usd: 0 };
        let holder = subject(holder as u128);
        let reservation = Reservation { holder, limit: Amount::default(), window, reserved };
        log.state.accounts.reserve(&reservation);
    }
    admitted(&mut log, request(7, 1, 1));
    let stranger = HOLDERS_MAX as u128;
    let refused = log.admit(request(stranger, 1, 1)).unwrap_err();
    assert!(matches!(refused, Refusal::BudgetHolders { retry_after } if retry_after <= WINDOW));
    log.now += WINDOW;
    admitted(&mut log, request(stranger, 1, 1));
}

/// A random action.
#[derive(Clone, Debug)]
enum Act {
    Admit { by: u128, prompt: u64, answer: u32, value: f64 },
    Complete { which: usize, prompt: u64, answer: u64 },
    Fail { which: usize },
    Abandon { which: usize },
    Pass(Micros),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (0..3_u128, 0..300_u64, 1..300_u32, 0.4..=1.0)
            .prop_map(|(by, prompt, answer, value)| Act::Admit { by, prompt, answer, value }),
        6 => (any::<usize>(), 0..300_u64, 0..300_u64)
            .prop_map(|(which, prompt, answer)| Act::Complete { which, prompt, answer }),
        1 => any::<usize>().prop_map(|which| Act::Fail { which }),
        1 => any::<usize>().prop_map(|which| Act::Abandon { which }),
        1 => (0..2 * WINDOW).prop_map(Act::Pass),
    ]
}

const LIMIT: u64 = 500;

/// A log and an independent model of its budgets.
struct World {
    log: Log,
    window: i64,
    /// The amount spent by each subject in the window, and the amount by which steps exceeded their
    /// reservations.
    spent: [u64; 3],
    overdrawn: [u64; 3],
}

impl World {
    fn happen(&mut self, act: &Act) {
        let taken = |log: &Log, by: u128| {
            let (spent, reserved) = tokens(log, by);
            spent + reserved
        };
        match *act {
            Act::Admit { by, prompt, answer, value } => {
                let request = Admit { caller_score: Some(value), ..request(by, prompt, answer) };
                // the clock of the driver advances with each command
                self.log.now += 1_000;
                let has_some = taken(&self.log, by) < LIMIT;
                self.log.now -= 1_000;
                assert_eq!(self.log.admit(request).is_ok(), has_some);
            }
            Act::Complete { which, prompt, answer } => {
                self.end(
                    which,
                    |log, step| ended(log, step, prompt, answer),
                    Some(prompt + answer),
                );
            }
            Act::Fail { which } => self.end(which, |log, step| drop(log.fail(step)), Some(0)),
            Act::Abandon { which } => {
                let abandon =
                    |log: &mut Log, step| drop(log.abandon(step, AbandonCause::SoleOwner));
                self.end(which, abandon, None);
            }
            Act::Pass(time) => self.log.now += time,
        }
        self.turn();
    }

    fn turn(&mut self) {
        let window = self.log.state.policy.budget.window(self.log.now);
        if window != self.window {
            (self.window, self.spent, self.overdrawn) = (window, [0; 3], [0; 3]);
        }
    }

    /// Ends a step that used `used` tokens, or the reserved amount.
    fn end(&mut self, which: usize, ending: impl Fn(&mut Log, u64), used: Option<u64>) {
        let open: Vec<u64> = self.log.state.open.keys().copied().collect();
        if open.is_empty() {
            return;
        }
        let step = open[which % open.len()];
        let reservation = self.log.state.open[&step].budget.unwrap();
        ending(&mut self.log, step);
        self.turn();
        if reservation.window == self.window {
            let by = reservation.holder.get() as usize;
            let used = used.unwrap_or(reservation.reserved.tokens);
            self.spent[by] += used;
            self.overdrawn[by] += used.saturating_sub(reservation.reserved.tokens);
        }
    }

    fn check(&self) {
        for by in 0..3 {
            let (spent, reserved) = tokens(&self.log, by as u128);
            let held = self.log.state.open.values().filter_map(|open| open.budget);
            let held = held.filter(|r| r.holder == subject(by as u128) && r.window == self.window);
            assert_eq!(reserved, held.map(|r| r.reserved.tokens).sum::<u64>());
            assert_eq!(spent, self.spent[by]);
            assert!(spent + reserved <= LIMIT + self.overdrawn[by]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn budgets_add_up_and_only_a_step_itself_overdraws(
        acts in proptest::collection::vec(act(), 1..150),
    ) {
        let log = log(LIMIT, 0);
        let window = log.state.policy.budget.window(log.now);
        let mut world = World { log, window, spent: [0; 3], overdrawn: [0; 3] };
        for act in &acts {
            world.happen(act);
            world.check();
        }
        world.log.assert_replays();
    }

    /// Sequential steps, each of which uses at most its reservation.
    #[test]
    fn the_last_step_of_a_window_overdraws_by_its_prompt_at_most(
        steps in proptest::collection::vec((0..300_u64, 1..300_u32), 1..40),
    ) {
        let mut log = log(LIMIT, 0);
        for (prompt, answer) in steps {
            let before = tokens(&log, 1).0;
            match log.admit(request(1, prompt, answer)) {
                Ok(_) => {
                    let (step, granted) = (log.state.step, log.rows.last().unwrap().event.clone());
                    let Event::StepAdmitted(granted) = granted else { panic!("{granted:?}") };
                    ended(&mut log, step, prompt, u64::from(granted.request.max_tokens));
                    prop_assert!(tokens(&log, 1).0 <= LIMIT + prompt);
                }
                Err(refused) => {
                    let spent = matches!(refused, Refusal::Budget { .. });
                    prop_assert!(spent, "{refused}");
                    prop_assert!(before >= LIMIT);
                }
            }
        }
    }
}
