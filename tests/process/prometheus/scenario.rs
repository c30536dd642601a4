//! A scripted scenario that changes every metric of a server.

use mlsdm::testkit::{
    TestDatabase, TestEnv, TestServer,
    double::{Double, failing},
    send,
};
use reqwest::RequestBuilder;
use serde_json::json;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use crate::streaming::frames;

/// The API keys of users and of the administrator.
const USER: &str = "the-key-of-all-users";
const ADMIN: &str = "the-key-of-the-administrator";

/// The engine whose provider fails.
const BROKEN: &str = "broken";

/// The number of failures of that provider.
const FAILURES: usize = 12;

/// The server of the scenario, its provider and its telemetry sinks.
pub(super) struct Scenario {
    pub(super) server: TestServer,
    _database: TestDatabase,
    double: Double,
    /// Accepts spans and log lines.
    _sink: MockServer,
}

/// Starts the server of the scenario.
pub(super) async fn start() -> Scenario {
    let database = TestDatabase::sqlite();
    let double = Double::new(failing(FAILURES)).await;
    let sink = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&sink).await;
    let server = env(&database)
        .with("MLSDM__LLM__ENGINES", format!("{BROKEN}=openai:m-1"))
        .with("MLSDM__LLM__OPENAI__BASE_URL", &double.url)
        .with("MLSDM__LLM__RETRY__ATTEMPTS", 1)
        .with("MLSDM__LLM__BREAKER__FAILURES", 0)
        .with("MLSDM__MONITORING__ENGINES", BROKEN)
        .with("MLSDM_CAPACITY", 5)
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", sink.uri())
        .with("MLSDM_LOKI_URL", sink.uri())
        .serve()
        .await;
    Scenario { server, _database: database, double, _sink: sink }
}

/// A server of the next release without authentication, on its own database.
pub(super) async fn canary() -> (TestDatabase, TestServer) {
    let database = TestDatabase::sqlite();
    let server = TestEnv::new(database.url()).with("MLSDM_TRACK", "canary").serve().await;
    (database, server)
}

/// The environment of a server with API keys and a low rate limit for users.
pub(super) fn env(database: &TestDatabase) -> TestEnv {
    TestEnv::new(database.url())
        .with("MLSDM__AUTH__MODE", "keys")
        .with("API_KEY", USER)
        .with("ADMIN_API_KEY", ADMIN)
        .with("DISABLE_RATE_LIMIT", false)
        .with("RATE_LIMIT_REQUESTS", 1_000_000)
        .with("MLSDM__LIMITS__RATE__BURST", 1_000_000)
        .with("MLSDM__LIMITS__RATE__ROLES", "service=2/3600/2,admin=1000000/1/1000000")
        .with("MLSDM__MLSDM__POLICY__RHYTHM__SLEEP_MODE", "refuse")
}

/// Adds the key of the administrator.
pub(super) fn admin(request: RequestBuilder) -> RequestBuilder {
    request.header("X-API-Key", ADMIN)
}

async fn status(request: RequestBuilder) -> u16 {
    send(request).await.unwrap().status
}

impl Scenario {
    fn ask(&self, engine: &str, prompt: &str) -> RequestBuilder {
        admin(self.server.ask(engine, "ann", prompt))
    }

    /// Runs the scenario once.
    pub(super) async fn play(&self) {
        self.answers().await;
        self.refusals().await;
        self.failures().await;
        self.strangers().await;
    }

    /// Complete and streamed answers on all routes, repeated prompts, and a memory that overflows.
    async fn answers(&self) {
        for number in 0..30 {
            let prompt = format!("My dog number {} is called Rex", number % 10);
            let reply = send(self.ask("default", &prompt)).await.unwrap();
            // the engine refuses during sleep
            assert!([200, 503].contains(&reply.status), "{reply:?}");
        }
        self.awake().await;
        let body = json!({"prompt": "Hello there", "moral_value": 0.9, "stream": true});
        assert!(frames(admin(self.server.post("/v1/generate").json(&body))).await.len() > 1);
        self.awake().await;
        let chat = json!({"messages": [{"role": "user", "content": "Hello"}]});
        let chat = self.server.post("/v1/chat/completions").json(&chat);
        assert_eq!(status(admin(chat)).await, 200);
        assert_eq!(status(admin(self.server.get("/v1/state"))).await, 200);
    }

    /// Sends prompts until the engine is awake.
    async fn awake(&self) {
        for _ in 0..10 {
            let state = send(admin(self.server.get("/v1/state"))).await.unwrap().ok();
            if state["phase"] == "wake" {
                return;
            }
            send(self.ask("default", "Good morning")).await.unwrap();
        }
        panic!("it does not wake");
    }

    async fn refusals(&self) {
        for number in 0..5 {
            let body = json!({"prompt": format!("no {number}"), "moral_value": 0.1});
            let asked = admin(self.server.post("/v1/generate").json(&body));
            assert_eq!(send(asked).await.unwrap().body["accepted"], false);
        }
    }

    /// A provider that fails, and an engine that is shut down and resumed.
    async fn failures(&self) {
        let create = self.server.post("/v1/engines").json(&json!({"engine_id": BROKEN}));
        // the engine exists if the scenario runs again
        assert!([201, 200, 409].contains(&status(admin(create)).await));
        for _ in 0..3 {
            assert_eq!(status(self.ask(BROKEN, "Hello")).await, 502);
        }
        assert!(self.double.times() > 0);
        let act = |act: &str| {
            let path = format!("/v1/engines/{BROKEN}/admin/{act}");
            admin(self.server.post(&path).json(&json!({"reason": "drill"})))
        };
        assert_eq!(status(act("shutdown")).await, 200);
        assert_eq!(status(self.ask(BROKEN, "Hello")).await, 503);
        assert_eq!(status(act("resume")).await, 200);
    }

    /// Invalid credentials, a missing permission, a rate limit, an unknown path and an invalid
    /// request.
    async fn strangers(&self) {
        let state = |key: &str| self.server.get("/v1/state").header("X-API-Key", key);
        assert_eq!(status(state("not-a-key-of-anybody")).await, 401);
        assert_eq!(status(self.server.get("/v1/state").bearer_auth("nor-a-token")).await, 401);
        let mut last = 0;
        for _ in 0..4 {
            last = status(state(USER)).await;
        }
        assert_eq!(last, 429);
        assert_eq!(status(self.server.get("/nowhere")).await, 404);
        let bad = self.server.post("/v1/generate").json(&json!({"moral_value": 0.9}));
        assert!((400..500).contains(&status(admin(bad)).await));
    }
}
