//! A double of the Lambda Runtime API and Extensions API: hands out events and collects responses, chunk by
//! chunk.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    web::{self, Data, Path, Payload},
};
use futures_util::{StreamExt as _, future::pending};
use mlsdm::testkit::eventually;
use serde_json::{Value, json};
use tokio::sync::{Mutex as AsyncMutex, mpsc};

/// What a function has sent for one event.
#[derive(Clone, Debug, Default)]
pub(super) struct Response {
    pub(super) bytes: Vec<u8>,
    pub(super) chunks: usize,
    /// The header of streamed responses.
    pub(super) mode: Option<String>,
    is_complete: bool,
    is_error: bool,
}

impl Response {
    /// A buffered response.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap()
    }

    /// The head and the body of a streamed response: JSON, eight zero bytes, body.
    pub(super) fn split(&self) -> (Value, String) {
        let at = self.bytes.windows(8).position(|bytes| bytes == [0; 8]).unwrap();
        let body = String::from_utf8(self.bytes[at + 8..].to_vec()).unwrap();
        (serde_json::from_slice(&self.bytes[..at]).unwrap(), body)
    }
}

/// The events that wait, and the responses by the id of their event.
struct Shared {
    waiting: AsyncMutex<mpsc::UnboundedReceiver<(String, Value)>>,
    responses: Mutex<HashMap<String, Response>>,
}

impl Shared {
    fn responses(&self) -> MutexGuard<'_, HashMap<String, Response>> {
        self.responses.lock().unwrap()
    }
}

/// The double. It stops with the test.
pub(super) struct Runtime {
    address: String,
    events: mpsc::UnboundedSender<(String, Value)>,
    handed_out: AtomicU64,
    shared: Arc<Shared>,
}

impl Runtime {
    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    pub(super) fn start() -> Self {
        let (events, waiting) = mpsc::unbounded_channel();
        let waiting = AsyncMutex::new(waiting);
        let shared = Arc::new(Shared { waiting, responses: Mutex::default() });
        let data = Data::from(Arc::clone(&shared));
        let server = HttpServer::new(move || {
            App::new()
                .app_data(data.clone())
                .route("/2018-06-01/runtime/invocation/next", web::get().to(next))
                .route("/2018-06-01/runtime/invocation/{id}/{kind}", web::post().to(respond))
                .route("/2018-06-01/runtime/init/error", web::post().to(HttpResponse::Accepted))
                .route("/2020-01-01/extension/register", web::post().to(register))
                .route("/2020-01-01/extension/event/next", web::get().to(pending::<HttpResponse>))
        });
        let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
        let address = server.addrs()[0].to_string();
        tokio::spawn(server.run());
        Self { address, events, handed_out: AtomicU64::new(0), shared }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Hands an event out; gives its id.
    pub(super) fn hand_out(&self, event: Value) -> String {
        let id = format!("request-{}", self.handed_out.fetch_add(1, Ordering::Relaxed));
        self.events.send((id.clone(), event)).unwrap();
        id
    }

    /// Hands an event out and waits for its response.
    pub(super) async fn invoke(&self, event: Value) -> Response {
        let id = self.hand_out(event);
        self.response(&id).await
    }

    /// Waits for the complete response of an event.
    pub(super) async fn response(&self, id: &str) -> Response {
        self.until(id, |response| response.is_complete).await
    }

    /// Waits until the response of an event has this text; gives what has arrived.
    pub(super) async fn until_received(&self, id: &str, part: &[u8]) -> Vec<u8> {
        let has = |response: &Response| response.bytes.windows(part.len()).any(|at| at == part);
        self.until(id, has).await.bytes
    }

    async fn until(&self, id: &str, wanted: impl Fn(&Response) -> bool) -> Response {
        eventually("the response of a function", async || {
            let response = self.shared.responses().get(id).cloned().unwrap_or_default();
            assert!(!response.is_error, "{}", String::from_utf8_lossy(&response.bytes));
            if wanted(&response) { Ok(response) } else { Err(format!("{response:?}")) }
        })
        .await
    }
}

#[expect(clippy::disallowed_methods, reason = "the adapter looks at the time of the system")]
async fn next(shared: Data<Shared>) -> HttpResponse {
    let Some((id, event)) = shared.waiting.lock().await.recv().await else {
        // the test has ended
        return pending().await;
    };
    let deadline = SystemTime::now() + Duration::from_mins(5);
    let deadline = deadline.duration_since(UNIX_EPOCH).unwrap().as_millis();
    HttpResponse::Ok()
        .insert_header(("Lambda-Runtime-Aws-Request-Id", id))
        .insert_header(("Lambda-Runtime-Deadline-Ms", deadline.to_string()))
        .insert_header((
            "Lambda-Runtime-Invoked-Function-Arn",
            "arn:aws:lambda:eu-west-1:000000000000:function:mlsdm",
        ))
        .json(event)
}

async fn respond(
    request: HttpRequest,
    path: Path<(String, String)>,
    shared: Data<Shared>,
    mut body: Payload,
) -> HttpResponse {
    let (id, kind) = path.into_inner();
    let mode = request.headers().get("Lambda-Runtime-Function-Response-Mode");
    let mode = mode.map(|mode| mode.to_str().unwrap().to_owned());
    let is_error = kind == "error";
    shared.responses().insert(id.clone(), Response { mode, is_error, ..Response::default() });
    while let Some(chunk) = body.next().await {
        let chunk = chunk.unwrap();
        let mut responses = shared.responses();
        let response = responses.get_mut(&id).unwrap();
        response.bytes.extend_from_slice(&chunk);
        response.chunks += 1;
    }
    shared.responses().get_mut(&id).unwrap().is_complete = true;
    HttpResponse::Accepted().json(json!({"status": "OK"}))
}

async fn register() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("Lambda-Extension-Identifier", "extension-1"))
        .json(json!({"functionName": "mlsdm", "functionVersion": "1", "handler": "mlsdm"}))
}
