//! Budgets of API keys: they are charged for all subjects the key acts for.

use super::{
    Log,
    budgets::{WINDOW, admitted, ended, log, request},
    subject,
};
use crate::domain::{
    budget::{Amount, KeyLimit},
    command::{AbandonCause, Admit, Refusal},
};

/// The limit of the key in most tests.
fn with_key(request: Admit, tokens: u64) -> Admit {
    let limit = Amount { tokens, cost_micro_usd: 0 };
    Admit { key_limit: Some(KeyLimit { holder: subject(99), limit }), ..request }
}

#[test]
fn the_budget_of_a_key_is_charged_for_every_subject() {
    // no budget of the policy at all, then one that leaves enough
    for mut log in [log(0, 0), log(10_000, 0)] {
        let own = log.state.policy.budget.is_set();
        let event = admitted(&mut log, with_key(request(1, 100, 200), 500));
        assert_eq!(event.key_budget.unwrap().reserved.tokens, 300);
        assert_eq!(event.budget.is_some(), own);
        ended(&mut log, 1, 90, 10);
        let event = admitted(&mut log, with_key(request(2, 100, 700), 500));
        assert_eq!(event.request.max_tokens, 300, "what is left of the key");
        log.assert_replays();
        let Err(Refusal::Budget { limit, .. }) = log.admit(with_key(request(3, 1, 1), 500)) else {
            panic!("a spent key");
        };
        assert_eq!(limit, 500);
        admitted(&mut log, request(3, 1, 1));
        let window = log.state.policy.budget.window(log.now);
        let account = |log: &Log| log.state.key_accounts.get(subject(99), window);
        assert_eq!((account(&log).spent.tokens, account(&log).reserved.tokens), (100, 400));
        log.now = log.state.open.get(&2).unwrap().deadline + 1;
        log.abandon(2, AbandonCause::Deadline).unwrap();
        assert_eq!((account(&log).spent.tokens, account(&log).reserved.tokens), (500, 0));
        log.now += WINDOW * 60 * 24;
        admitted(&mut log, with_key(request(1, 1, 1), 500));
        log.assert_replays();
    }
}

#[test]
fn the_smaller_of_two_budgets_limits_a_step() {
    let mut log = log(1_000, 0);
    admitted(&mut log, request(1, 100, 700));
    let event = admitted(&mut log, with_key(request(1, 100, 700), 10_000));
    assert_eq!(event.request.max_tokens, 100, "of the data subject");
    assert_eq!(event.budget.unwrap().reserved.tokens, event.key_budget.unwrap().reserved.tokens);
    let unpriced = Admit {
        key_limit: Some(KeyLimit {
            holder: subject(99),
            limit: Amount { tokens: 0, cost_micro_usd: 1 },
        }),
        ..request(2, 1, 1)
    };
    assert_eq!(log.admit(unpriced).unwrap_err(), Refusal::NoPrice);
    log.assert_replays();
}
