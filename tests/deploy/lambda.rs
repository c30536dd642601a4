//! AWS Lambda: the server behind the real Lambda Web Adapter, with a double of the Runtime API.

mod event;
mod runtime;

mod heavy {
    use std::{path::PathBuf, process::Stdio, time::Instant};

    use mlsdm::testkit::{TestDatabase, TestEnv, TestServer, send};
    use serde_json::{Value, json};
    use tokio::{
        process::{Child, Command},
        task::JoinSet,
    };

    use super::{
        event::{get, post},
        runtime::Runtime,
    };
    use crate::{path, slo::measured};

    /// The adapter, which `.ci/test --extended` builds.
    fn adapter() -> PathBuf {
        let adapter = path("target/ci/lambda/bin/lambda-adapter");
        assert!(
            adapter.exists(),
            "{}: missing; cargo install --root target/ci/lambda lambda_web_adapter",
            adapter.display()
        );
        adapter
    }

    /// Starts the adapter of a function in front of the server.
    fn adapt(runtime: &Runtime, server: &TestServer, mode: &str) -> Child {
        let port = server.base().rsplit_once(':').unwrap().1;
        Command::new(adapter())
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", runtime.address())
            .env("AWS_LAMBDA_FUNCTION_NAME", "mlsdm")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1024")
            .env("AWS_LWA_PORT", port)
            .env("AWS_LWA_READINESS_CHECK_PATH", "/health/ready")
            .env("AWS_LWA_INVOKE_MODE", mode)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    fn chat(stream: bool) -> Value {
        let prompt = "Tell me a story, please, with many words in it";
        let messages = json!([{"role": "user", "content": prompt}]);
        json!({"model": "local-stub", "stream": stream, "messages": messages})
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn buffered_invocations_are_answered() {
        let database = TestDatabase::postgres().await;
        let server = TestEnv::new(database.url()).serve().await;
        let runtime = Runtime::start();
        let _adapter = adapt(&runtime, &server, "buffered");

        let health = runtime.invoke(get("/health")).await.json();
        assert_eq!(health["statusCode"], 200, "{health}");
        let step = json!({"prompt": "Hello", "moral_value": 0.8});
        for position in [3, 5] {
            let answer = runtime.invoke(post("/generate", &step)).await.json();
            assert_eq!(answer["statusCode"], 200, "{answer}");
            let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
            assert_eq!((&body["accepted"], &body["position"]), (&json!(true), &json!(position)));
        }
        let whole = runtime.invoke(post("/v1/chat/completions", &chat(true))).await.json();
        let body = whole["body"].as_str().unwrap();
        assert!(body.ends_with("data: [DONE]\n\n"), "{body}");
        let missing = runtime.invoke(get("/nowhere")).await.json();
        assert_eq!(missing["statusCode"], 404);
        server.stop().await;
    }

    /// The first words arrive while the step is still open in the log.
    #[tokio::test(flavor = "multi_thread")]
    async fn streamed_invocations_are_answered_word_by_word() {
        let database = TestDatabase::postgres().await;
        let env = TestEnv::new(database.url()).with("MLSDM__LLM__STUB__WORD_LATENCY_MS", 300);
        let server = env.serve().await;
        let runtime = Runtime::start();
        let _adapter = adapt(&runtime, &server, "response_stream");

        let invocation = runtime.hand_out(post("/v1/chat/completions", &chat(true)));
        let seen = runtime.until_received(&invocation, b"\"delta\"").await;
        assert!(!seen.ends_with(b"data: [DONE]\n\n"));
        assert_eq!(server.state("default").await["open_count"], 1);

        let whole = runtime.response(&invocation).await;
        assert_eq!(whole.mode.as_deref(), Some("streaming"));
        assert!(whole.chunks > 5, "{} chunks", whole.chunks);
        let (head, body) = whole.split();
        assert_eq!(head["statusCode"], 200, "{head}");
        assert!(body.ends_with("data: [DONE]\n\n"), "{body}");
        server.until_closed("default").await;
        server.stop().await;
    }

    /// From the start of the process to the answer of an engine that fills its memory from the log. Prints
    /// the time.
    #[tokio::test(flavor = "multi_thread")]
    #[expect(clippy::print_stdout, reason = "the guide has the time")]
    async fn a_cold_start_restores_an_engine_of_20000_items() {
        const ITEMS: usize = 20_000;
        const CLIENTS: usize = 16;
        let database = TestDatabase::postgres().await;
        let env = measured(TestEnv::new(database.url()));
        let server = env.serve().await;
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let count = ITEMS.div_ceil(CLIENTS);
            let ask = |n| server.ask("default", "ann", &format!("Thought {client} {n}"));
            let requests: Vec<_> = (0..count).map(ask).collect();
            clients.spawn(async move {
                for request in requests {
                    // a busy server may turn one away
                    while send(request.try_clone().unwrap()).await.unwrap().status != 200 {}
                }
            });
        }
        clients.join_all().await;
        assert_eq!(server.state("default").await["memory"]["used"], ITEMS);
        server.stop().await;

        let runtime = Runtime::start();
        let step = post("/generate", &json!({"prompt": "Thought 7", "moral_value": 0.9}));
        let invocation = runtime.hand_out(step);
        let started = Instant::now();
        let server = env.start();
        let _adapter = adapt(&runtime, &server, "buffered");
        let answer = runtime.response(&invocation).await.json();
        println!("cold start with {ITEMS} items: {:?}", started.elapsed());
        assert_eq!(answer["statusCode"], 200, "{answer}");
        let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        assert_eq!(body["context_items"], 5);
        server.stop().await;
    }
}
