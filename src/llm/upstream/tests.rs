use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::time::Instant;

use super::*;
use crate::breaker::Breaker;
use crate::llm::{CallLog, CallReport, Llm, Message, ProviderError, Reply, Role, UnreachableCause};

const MINUTE: Duration = Duration::from_mins(1);

/// A model that fails with the given errors and then answers. It records the times of its calls.
#[derive(Default)]
struct Flaky {
    faults: Mutex<VecDeque<LlmError>>,
    called_at: Mutex<Vec<Instant>>,
}

impl Flaky {
    fn new(faults: impl IntoIterator<Item = LlmError>) -> Arc<Self> {
        Arc::new(Self { faults: Mutex::new(faults.into_iter().collect()), ..Self::default() })
    }

    fn provider(self: &Arc<Self>) -> Provider {
        let flaky = Arc::clone(self);
        Provider::Function(Arc::new(move |_| {
            flaky.called_at.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
            let fault = flaky.faults.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            Box::pin(async move { fault.map_or_else(|| Ok(Reply::new("Hello")), Err) })
        }))
    }

    fn times(&self) -> Vec<Instant> {
        self.called_at.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A model that never answers.
fn silent() -> Provider {
    Provider::Function(Arc::new(|_| Box::pin(std::future::pending())))
}

fn resilience() -> Resilience {
    Resilience {
        retry: Retry { attempts: 3, base: Duration::from_millis(200), max: Duration::from_secs(5) },
        breaker: breaker::Settings { failures: 4, open: Duration::from_secs(30), probes: 1 },
        bulkhead: Bulkhead { concurrency: 1, queue: 1 },
    }
}

async fn call(llm: &Llm, timeout: Duration) -> CallReport {
    logged(llm, timeout).await.0
}

fn request() -> Request {
    Request {
        model: None,
        messages: vec![Message::text(Role::User, "Hi")].into(),
        prompt: "Hi".into(),
        max_tokens: Some(10.into()),
        temperature: None,
        takes_temperature: None,
        extra: Arc::default(),
    }
}

/// A call, and the code of each attempt.
async fn logged(llm: &Llm, timeout: Duration) -> (CallReport, Vec<String>) {
    let (mut sink, mut calls) = (Sink::new(None), CallLog::default());
    let report = llm.call(&request(), &mut sink, &mut calls, Instant::now() + timeout).await;
    assert_eq!(report.attempts, calls.attempts());
    (report, calls.into_calls().into_iter().map(|call| call.code).collect())
}

const RESET: LlmError = LlmError::Unreachable { cause: UnreachableCause::Reset };

const REFUSED: LlmError = LlmError::Refused { status: 400, error: ProviderError::of_status(400) };

const UPSTREAM: LlmError = LlmError::Upstream { status: 500 };

const fn overloaded(seconds: u64) -> LlmError {
    LlmError::Overloaded { status: 429, retry_after: Some(Duration::from_secs(seconds)) }
}

#[tokio::test(start_paused = true)]
async fn temporary_failures_are_retried_with_backoff() {
    let model = Flaky::new([UPSTREAM, RESET]);
    let (report, codes) = logged(&Llm::protected(model.provider(), resilience()), MINUTE).await;
    assert!(report.result.is_ok());
    assert_eq!(
        (report.attempts, codes),
        (3, vec!["upstream".into(), "unreachable".into(), "ok".into()])
    );
    let times = model.times();
    assert!(times[1] - times[0] <= Duration::from_millis(201), "{times:?}");
    assert!(times[2] - times[1] <= Duration::from_millis(401), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn attempts_are_limited_and_permanent_failures_are_not_retried() {
    let model = Flaky::new(vec![UPSTREAM; 10]);
    let report = call(&Llm::protected(model.provider(), resilience()), MINUTE).await;
    assert_eq!((report.attempts, report.result.err()), (3, Some(UPSTREAM)));
    for permanent in
        [REFUSED, LlmError::Unauthorized { status: 401 }, LlmError::Malformed { what: "x" }]
    {
        let model = Flaky::new([permanent.clone()]);
        let report = call(&Llm::protected(model.provider(), resilience()), MINUTE).await;
        assert_eq!((report.attempts, report.result.err()), (1, Some(permanent)));
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured_within_the_deadline() {
    let model = Flaky::new([overloaded(20)]);
    let llm = Llm::protected(model.provider(), resilience());
    assert!(call(&llm, MINUTE).await.result.is_ok());
    let times = model.times();
    assert!(times[1] - times[0] >= Duration::from_secs(20), "{times:?}");

    let model = Flaky::new([overloaded(61)]);
    let started = Instant::now();
    let report = call(&Llm::protected(model.provider(), resilience()), MINUTE).await;
    assert_eq!((report.attempts, report.result.err()), (1, Some(overloaded(61))));
    assert_eq!(started.elapsed(), Duration::ZERO, "it does not wait beyond the deadline");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_cancels_the_call() {
    let started = Instant::now();
    let report = call(&Llm::protected(silent(), resilience()), Duration::from_secs(3)).await;
    assert_eq!((report.attempts, report.result.err()), (1, Some(LlmError::Timeout)));
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn the_breaker_opens_after_failures_and_closes_after_a_probe() {
    let model = Flaky::new(vec![UPSTREAM; 4]);
    let llm = Llm::protected(model.provider(), resilience());
    assert_eq!(call(&llm, MINUTE).await.attempts, 3);
    let (opened, codes) = logged(&llm, MINUTE).await;
    assert_eq!(opened.attempts, 1, "the fourth fault in a row opened it");
    assert_eq!(codes, ["upstream", "breaker_open"], "an attempt that was not sent is an entry");
    assert!(matches!(opened.result, Err(LlmError::BreakerOpen { .. })));
    assert_eq!(llm.breakers()["function"], "open");
    assert_eq!(call(&llm, MINUTE).await.attempts, 0);

    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(llm.breakers()["function"], "half_open");
    assert!(call(&llm, MINUTE).await.result.is_ok());
    assert_eq!(llm.breakers()["function"], "closed");
}

#[tokio::test(start_paused = true)]
async fn a_rejected_request_shows_that_the_provider_is_available() {
    let breaker = Breaker::new("llm", "test", "m-1", resilience().breaker);
    let fault = || report(breaker.admit().unwrap(), &Err::<(), _>(UPSTREAM));
    for _ in 0..10 {
        fault();
        fault();
        report(breaker.admit().unwrap(), &Err::<(), _>(REFUSED));
    }
    assert_eq!(breaker.state().name(), "closed");
    // a disconnected client shows nothing about the provider
    (0..3).for_each(|_| fault());
    report(breaker.admit().unwrap(), &Err::<(), _>(LlmError::CallerGone));
    fault();
    assert_eq!(breaker.state().name(), "open");
}

#[tokio::test(start_paused = true)]
async fn a_full_bulkhead_refuses_calls_until_a_slot_is_free() {
    let llm = Llm::protected(silent(), resilience());
    let (running, waiting) = (call(&llm, MINUTE), call(&llm, MINUTE * 3));
    let refused = async {
        tokio::task::yield_now().await;
        call(&llm, MINUTE).await
    };
    let (running, waiting, refused) = tokio::join!(running, waiting, refused);
    assert_eq!(running.result.err(), Some(LlmError::Timeout));
    assert_eq!((waiting.attempts, waiting.result.err()), (1, Some(LlmError::Timeout)));
    assert_eq!((refused.attempts, refused.result.err()), (0, Some(LlmError::BulkheadFull)));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_until_its_deadline_is_not_sent() {
    let llm = Llm::protected(silent(), resilience());
    let (running, waiting) = tokio::join!(call(&llm, MINUTE * 2), call(&llm, MINUTE));
    assert_eq!(running.attempts, 1);
    assert_eq!((waiting.attempts, waiting.result.err()), (0, Some(LlmError::BulkheadFull)));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_shows_its_duration_and_what_was_sent() {
    let request = Request {
        model: Some("m-1".to_owned()),
        messages: vec![Message::text(Role::User, "Hi")].into(),
        prompt: "Hi".into(),
        max_tokens: Some(10.into()),
        temperature: Some(0.5),
        takes_temperature: None,
        extra: Arc::default(),
    };
    let llm = Llm::protected(silent(), resilience());
    let (mut sink, mut calls) = (Sink::new(None), CallLog::default());
    let call = llm.call(&request, &mut sink, &mut calls, Instant::now() + MINUTE);
    assert!(tokio::time::timeout(Duration::from_secs(3), call).await.is_err());
    calls.cancel();
    assert_eq!(calls.attempts(), 1);
    assert_eq!(calls.last_sent().unwrap().provider, "function");
    let calls = calls.into_calls();
    assert_eq!(calls.len(), 1);
    assert_eq!((calls[0].model.as_str(), calls[0].code.as_str()), ("m-1", "client_gone"));
    assert!(calls[0].ms >= 3_000.0, "{calls:?}");
    assert_eq!(calls[0].sampling.unwrap().temperature, Some(0.5));
}

#[tokio::test(start_paused = true)]
async fn a_call_without_time_left_is_not_sent_and_does_not_open_the_breaker() {
    let model = Flaky::new([]);
    let llm = Llm::protected(model.provider(), resilience());
    for _ in 0..10 {
        let (late, codes) = logged(&llm, Duration::from_millis(50)).await;
        assert_eq!((late.attempts, late.result.err()), (0, Some(LlmError::NoTimeLeft)));
        assert_eq!(codes, ["deadline"]);
    }
    assert_eq!(model.times(), []);
    assert_eq!(llm.breakers()["function"], "closed");
}

#[tokio::test(start_paused = true)]
async fn only_a_time_out_with_the_time_of_the_provider_opens_the_breaker() {
    let llm = Llm::protected(silent(), resilience());
    let late = async || {
        let deadline = Deadline::from(Instant::now() + MINUTE);
        // what came before the call took most of the time
        tokio::time::advance(MINUTE * 3 / 4).await;
        let (mut sink, mut calls) = (Sink::new(None), CallLog::default());
        llm.call(&request(), &mut sink, &mut calls, deadline).await
    };
    for _ in 0..10 {
        let report = late().await;
        assert_eq!((report.attempts, report.result.err()), (1, Some(LlmError::CutOff)));
    }
    assert_eq!(llm.breakers()["function"], "closed");
    for _ in 0..resilience().breaker.failures {
        assert_eq!(call(&llm, MINUTE).await.result.err(), Some(LlmError::Timeout));
    }
    assert_eq!(llm.breakers()["function"], "open");
}
