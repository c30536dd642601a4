use tokio::time::advance;

use super::*;
use crate::{
    config::{Format, Level},
    telemetry::logs::{buffer::Buffer, subscriber},
};

const OPEN: Duration = Duration::from_secs(30);

fn breaker(probes: u32) -> Breaker {
    Breaker::new("llm", "test", "m-1", Settings { failures: 3, open: OPEN, probes })
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
async fn only_consecutive_failures_open_the_breaker() {
    let breaker = breaker(1);
    for _ in 0..5 {
        fail(&breaker, 2);
        breaker.admit().unwrap().succeeded();
    }
    assert_eq!(breaker.state(), State::Closed);
    fail(&breaker, 2);
    assert_eq!(breaker.state(), State::Closed, "a success resets the count");
    fail(&breaker, 1);
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_rejects_calls_and_returns_the_remaining_time() {
    let breaker = opened();
    assert_eq!((breaker.admit().unwrap_err(), breaker.check()), (OPEN, Err(OPEN)));
    advance(Duration::from_secs(10)).await;
    assert_eq!(breaker.admit().unwrap_err(), Duration::from_secs(20));
    assert_eq!(breaker.state(), State::Open);
    advance(Duration::from_secs(20)).await;
    assert_eq!(breaker.state(), State::HalfOpen, "half open for the next call");
    assert_eq!((breaker.check(), breaker.check()), (Ok(()), Ok(())), "a check takes no place");
    let _probe = breaker.admit().unwrap();
    assert_eq!(breaker.check(), Err(HALF_OPEN_RETRY));
}

#[tokio::test(start_paused = true)]
async fn a_successful_probe_closes_the_breaker() {
    let breaker = opened();
    advance(OPEN).await;
    let probe = breaker.admit().unwrap();
    assert_eq!(breaker.state(), State::HalfOpen);
    assert_eq!(breaker.admit().unwrap_err(), HALF_OPEN_RETRY, "one probe at a time");
    probe.succeeded();
    assert_eq!(breaker.state(), State::Closed);
    fail(&breaker, 2);
    assert_eq!(breaker.state(), State::Closed, "the count restarts at 0");
}

#[tokio::test(start_paused = true)]
async fn a_failed_probe_opens_the_breaker_for_the_whole_duration() {
    let breaker = opened();
    advance(OPEN).await;
    fail(&breaker, 1);
    assert_eq!(breaker.admit().unwrap_err(), OPEN);
}

#[tokio::test(start_paused = true)]
async fn the_first_of_two_probes_decides() {
    let breaker = breaker(2);
    fail(&breaker, 3);
    advance(OPEN).await;
    let (first, second) = (breaker.admit().unwrap(), breaker.admit().unwrap());
    assert!(breaker.admit().is_err(), "two probes at a time");
    first.failed();
    assert_eq!(breaker.state(), State::Open);
    second.succeeded();
    assert_eq!(breaker.state(), State::Open, "the outcome of an earlier epoch is ignored");
    advance(OPEN / 2).await;
    assert!(breaker.admit().is_err());
    advance(OPEN / 2).await;
    assert!(breaker.admit().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_counts_as_neither_success_nor_failure() {
    let closed = breaker(1);
    fail(&closed, 2);
    for _ in 0..10 {
        drop(closed.admit().unwrap());
    }
    assert_eq!(closed.state(), State::Closed);
    let breaker = opened();
    advance(OPEN).await;
    drop(breaker.admit().unwrap());
    // its slot is free
    breaker.admit().unwrap().succeeded();
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_late_outcome_is_ignored() {
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
async fn each_change_of_state_is_logged_once() {
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
        assert_eq!((&line["provider"], &line["model"]), (&"test".into(), &"m-1".into()));
        format!("{} {}", line["level"].as_str().unwrap(), line["event_type"].as_str().unwrap())
    };
    let lines: Vec<String> = buffer.lines().iter().map(line).collect();
    let opened = "WARNING llm.breaker_opened";
    assert_eq!(lines, [opened, opened, "INFO llm.breaker_closed"]);
}

#[tokio::test(start_paused = true)]
async fn a_threshold_of_0_disables_the_breaker() {
    let settings = Settings { failures: 0, open: OPEN, probes: 1 };
    let breaker = Breaker::new("llm", "test", "m-1", settings);
    fail(&breaker, 100);
    assert_eq!(breaker.state(), State::Closed);
}
