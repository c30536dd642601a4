use tokio::time::advance;

use super::*;
use crate::{
    config::{Format, Level},
    telemetry::logs::{buffer::Buffer, subscriber},
};

const OPEN: Duration = Duration::from_secs(30);

fn breaker(probes: u32) -> Breaker {
    Breaker::new("llm", "test", Settings { failures: 3, open: OPEN, probes })
}

fn fail(breaker: &Breaker, times: u32) {
    for _ in 0..times {
        breaker.admit().unwrap().failed();
    }
}

fn opened() -> Breaker {
    let breaker = breaker(1);
    fail(&breaker, 3);
    breaker
}

#[tokio::test(start_paused = true)]
async fn only_faults_in_a_row_open_it() {
    let breaker = breaker(1);
    for _ in 0..5 {
        fail(&breaker, 2);
        breaker.admit().unwrap().succeeded();
    }
    assert_eq!(breaker.state(), State::Closed);
    fail(&breaker, 2);
    assert_eq!(breaker.state(), State::Closed, "a success between them");
    fail(&breaker, 1);
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn open_it_turns_away_and_says_for_how_long() {
    let breaker = opened();
    assert_eq!(breaker.admit().unwrap_err(), OPEN);
    advance(Duration::from_secs(10)).await;
    assert_eq!(breaker.admit().unwrap_err(), Duration::from_secs(20));
    assert_eq!(breaker.state(), State::Open);
    advance(Duration::from_secs(20)).await;
    assert_eq!(breaker.state(), State::HalfOpen, "as the next call finds it");
    assert!(breaker.admit().is_ok());
}

#[tokio::test(start_paused = true)]
async fn half_open_it_lets_one_call_through_whose_success_closes_it() {
    let breaker = opened();
    advance(OPEN).await;
    let probe = breaker.admit().unwrap();
    assert_eq!(breaker.state(), State::HalfOpen);
    assert_eq!(breaker.admit().unwrap_err(), HALF_OPEN_RETRY, "one probe at a time");
    probe.succeeded();
    assert_eq!(breaker.state(), State::Closed);
    fail(&breaker, 2);
    assert_eq!(breaker.state(), State::Closed, "counts from 0 again");
}

#[tokio::test(start_paused = true)]
async fn half_open_a_fault_opens_it_again_for_the_whole_time() {
    let breaker = opened();
    advance(OPEN).await;
    fail(&breaker, 1);
    assert_eq!(breaker.admit().unwrap_err(), OPEN);
}

#[tokio::test(start_paused = true)]
async fn of_two_probes_the_first_to_end_tells() {
    let breaker = breaker(2);
    fail(&breaker, 3);
    advance(OPEN).await;
    let (first, second) = (breaker.admit().unwrap(), breaker.admit().unwrap());
    assert!(breaker.admit().is_err(), "two probes at a time");
    first.failed();
    assert_eq!(breaker.state(), State::Open);
    second.succeeded();
    assert_eq!(breaker.state(), State::Open, "what began before tells nothing");
    advance(OPEN / 2).await;
    assert!(breaker.admit().is_err());
    advance(OPEN / 2).await;
    assert!(breaker.admit().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_counts_neither_way() {
    let closed = breaker(1);
    fail(&closed, 2);
    for _ in 0..10 {
        drop(closed.admit().unwrap());
    }
    assert_eq!(closed.state(), State::Closed);
    let breaker = opened();
    advance(OPEN).await;
    drop(breaker.admit().unwrap());
    // its place is free
    breaker.admit().unwrap().succeeded();
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_late_verdict_does_not_count() {
    let breaker = breaker(1);
    let (late_good, late_bad) = (breaker.admit().unwrap(), breaker.admit().unwrap());
    fail(&breaker, 3);
    late_good.succeeded();
    assert_eq!(breaker.state(), State::Open);
    advance(OPEN).await;
    breaker.admit().unwrap().succeeded();
    late_bad.failed();
    fail(&breaker, 2);
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn each_change_is_one_line() {
    let buffer = Buffer::default();
    let guard =
        tracing::subscriber::set_default(subscriber(Level::Info, Format::Json, buffer.clone()));
    let breaker = opened();
    assert!(breaker.admit().is_err());
    advance(OPEN).await;
    fail(&breaker, 1);
    advance(OPEN).await;
    breaker.admit().unwrap().succeeded();
    drop(guard);
    let line = |line: &String| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["provider"], "test");
        format!("{} {}", line["level"].as_str().unwrap(), line["event_type"].as_str().unwrap())
    };
    let lines: Vec<String> = buffer.lines().iter().map(line).collect();
    let opened = "WARNING llm.breaker_opened";
    assert_eq!(lines, [opened, opened, "INFO llm.breaker_closed"]);
}

#[tokio::test(start_paused = true)]
async fn without_a_threshold_it_never_opens() {
    let settings = Settings { failures: 0, open: OPEN, probes: 1 };
    let breaker = Breaker::new("llm", "test", settings);
    fail(&breaker, 100);
    assert_eq!(breaker.state(), State::Closed);
}
