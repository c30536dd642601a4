//! The memory of the server under large requests and answers.

use std::fs;

use mlsdm::testkit::{
    TestDatabase, TestEnv, TestResponse, TestServer,
    double::{Act, Double, completion, head},
    eventually, send,
};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

const MIB: usize = 1024 * 1024;

fn env(database: &TestDatabase, model: &Double) -> TestEnv {
    TestEnv::new(database.url())
        .with("LLM_BACKEND", "openai")
        .with("MLSDM__LLM__OPENAI__BASE_URL", &model.url)
        .with("MLSDM__LLM__MODEL", "m")
        .with("MLSDM__LLM__RETRY__ATTEMPTS", 1)
}

fn chat(server: &TestServer, body: &Value) -> RequestBuilder {
    server.post("/v1/chat/completions").json(body)
}

/// Checks that a request was told to come back because of the memory limit.
#[track_caller]
fn is_over_memory(reply: &TestResponse) {
    assert_eq!((reply.status, reply.body["error"]["code"].as_str()), (503, Some("E706")));
    assert_eq!(reply.header("retry-after"), "1");
}

/// A stream of a text in pieces of a kilobyte.
fn stream_of(bytes: usize) -> Act {
    let piece = json!({"choices": [{"delta": {"content": "x".repeat(1024)}}]});
    let events = format!("data: {piece}\n\n").repeat(bytes / 1024);
    let head = head("200 OK", "Content-Type: text/event-stream\r\n");
    Act::Send([head, events, "data: [DONE]\n\n".to_owned()].concat().into_bytes())
}

/// Waits until the memory of an earlier request is given back, shortly after the end of its response.
async fn is_given_back(server: &TestServer, body: &Value) {
    eventually("an answer", async || {
        let reply = send(chat(server, body)).await.unwrap();
        if reply.status == 200 { Ok(()) } else { Err(format!("{reply:?}")) }
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_exceeds_the_memory_of_all_requests_is_broken_off() {
    let database = TestDatabase::sqlite();
    let large = || completion(&"x".repeat(200_000));
    let model =
        Double::new([large(), completion("Hello"), stream_of(200_000), completion("Hello")]).await;
    let server = env(&database, &model)
        .with("MLSDM__LIMITS__BODY_BYTES", 65_536)
        .with("MLSDM__LIMITS__INFLIGHT_BYTES", 262_144)
        .serve()
        .await;
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "Hello"}]});

    is_over_memory(&send(chat(&server, &body)).await.unwrap());
    let event = server.read(&format!("/v1/events/{}", server.head().await)).await;
    assert_eq!(
        (&event["type"], &event["clear"]["code"]),
        (&json!("step.failed"), &json!("over_memory"))
    );
    is_given_back(&server, &body).await;

    let mut streamed = body.clone();
    streamed["stream"] = json!(true);
    let text = chat(&server, &streamed).send().await.unwrap().text().await.unwrap();
    let last = text.trim_end().rsplit("\n\n").next().unwrap();
    assert!(text.matches("xxxx").count() > 10 && last.contains("E706"), "{last}");
    is_given_back(&server, &body).await;
    server.stop().await;
}

/// The current and the largest resident memory of a process, in bytes.
#[cfg(target_os = "linux")]
fn resident(server: &TestServer) -> [usize; 2] {
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    ["VmRSS:", "VmHWM:"].map(|name| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    })
}

/// Slow, because it decodes gigabytes.
#[cfg(target_os = "linux")]
mod heavy {
    use std::time::Duration;

    use tokio::{sync::oneshot, task::JoinSet};

    use super::*;

    /// Maximum time of a request. A build without optimisation takes minutes for all of them.
    const TIMEOUT: Duration = Duration::from_mins(10);

    const CHATS: usize = 300;
    const BYTES: usize = 950_000;

    /// The default of `limits.inflight_bytes`.
    const INFLIGHT: usize = 128 * MIB;

    /// The memory that the process may hold beside its requests' budget, in budgets: searches, the batch
    /// that is written, cached contents, and memory that was freed and is kept by the allocator.
    const OTHERS: usize = 4;

    /// The memory of a container, less that of a full engine.
    const CONTAINER: usize = (1024 - 128) * MIB;

    /// A chat that no other one equals: a history of many messages, or one long message.
    fn large(n: usize) -> Value {
        let text = |bytes: usize, k: usize| {
            let mut text = format!("chat {n}, message {k}. ");
            text.push_str(&"The quick brown fox jumps over the lazy dog.\n".repeat(bytes / 46));
            text
        };
        let messages: Vec<Value> = if n.is_multiple_of(2) {
            vec![json!({"role": "user", "content": text(BYTES, 0)})]
        } else {
            let role = |k: usize| if k.is_multiple_of(2) { "user" } else { "assistant" };
            (0..101).map(|k| json!({"role": role(k), "content": text(BYTES / 101, k)})).collect()
        };
        json!({"model": "m", "messages": messages})
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn three_hundred_large_chats_fit_into_the_memory_of_a_container() {
        let database = TestDatabase::sqlite();
        let (mut allowed, script): (Vec<_>, Vec<_>) =
            (0..CHATS).map(|_| oneshot::channel()).unzip();
        let answer = || {
            let body =
                json!({"choices": [{"message": {"content": "Yes"}, "finish_reason": "stop"}]});
            let head = head("200 OK", "Content-Type: application/json\r\n");
            format!("{head}{body}").into_bytes()
        };
        let model = Double::new(script.into_iter().map(|when| Act::SendWhen(when, answer()))).await;
        let server = env(&database, &model)
            .with("API_TIMEOUT", 600)
            .with("MLSDM__DATABASE__ACQUIRE_TIMEOUT_SECONDS", 600)
            .with("MLSDM__LIMITS__BODY_TIMEOUT_MS", 600_000)
            .serve()
            .await;
        let [before, _] = resident(&server);

        let (mut left, mut answered, mut rounds): (Vec<usize>, usize, usize) =
            ((0..CHATS).collect(), 0, 0);
        while !left.is_empty() {
            let mut chats = JoinSet::new();
            let sent = left.len();
            for n in left.drain(..) {
                let request = chat(&server, &large(n)).timeout(TIMEOUT);
                chats.spawn(async move { (n, send(request).await.unwrap()) });
            }
            // all chats are refused or wait for the model at once
            while model.times() - answered + left.len() < sent {
                tokio::select! {
                    () = model.asked(model.times() + 1) => {}
                    Some(refused) = chats.join_next() => {
                        let (n, reply) = refused.unwrap();
                        assert_eq!(reply.status, 503, "{:?}", reply.body);
                        assert!(!reply.header("retry-after").is_empty());
                        left.push(n);
                    }
                }
            }
            let waiting = model.times() - answered;
            for allowed in allowed.drain(..waiting) {
                allowed.send(()).unwrap();
            }
            while let Some(reply) = chats.join_next().await {
                reply.unwrap().1.ok();
            }
            let [now, peak] = resident(&server);
            let bound = (before + (1 + OTHERS) * INFLIGHT).min(CONTAINER);
            assert!(
                peak < bound,
                "round {rounds}: {waiting} of {sent} chats ran; resident {now} bytes, at most {peak}, \
                 before {before}"
            );
            (answered, rounds) = (answered + waiting, rounds + 1);
        }
        assert_eq!(answered, CHATS);
        server.stop().await;
    }
}
