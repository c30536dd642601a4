//! A model provider that refuses what the published APIs refuse.
//!
//! It serves chat completions, messages (with `count_tokens`) and responses, whole and streamed. A
//! script gives the answers; [`Received`] keeps the bytes of each request, so that tests compare
//! them. A refused request has the status and the error body of the real API.
#![expect(clippy::unwrap_used, reason = "test support: a panic is the report")]

mod answer;
mod asked;
mod cached;
mod chat;
mod messages;
mod ordered;
mod refusal;
mod responses;
mod script;
mod wire;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

pub use answer::{Answer, Finish, Reply, ToolUse, signature};
pub use asked::{Asked, Face};
pub use refusal::Refusal;
pub use script::{Script, echo, turns};
pub use wire::Received;

use cached::Prefixes;
use wire::Response;

/// What the provider keeps between requests.
#[derive(Default)]
struct Memory {
    received: Vec<Received>,
    prefixes: Prefixes,
    /// Input and output items of stored responses, by id.
    stored: HashMap<String, Vec<Value>>,
}

/// The provider. It stops listening when dropped.
pub struct Provider {
    /// The base URL, without `/v1`.
    pub url: String,
    memory: Arc<Mutex<Memory>>,
    task: JoinHandle<()>,
}

impl Provider {
    /// Answers by this script, on a free port.
    pub async fn new(script: Script) -> Self {
        Self::listen("127.0.0.1:0", script).await
    }

    /// Answers by this script, on this address.
    pub async fn listen(address: &str, script: Script) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let memory = Arc::new(Mutex::new(Memory::default()));
        let kept = Arc::clone(&memory);
        let task = tokio::runtime::Handle::current().spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(serve(stream, Arc::clone(&script), Arc::clone(&kept)));
            }
        });
        Self { url, memory, task }
    }

    /// The requests so far, in the order of their arrival.
    pub fn received(&self) -> Vec<Received> {
        self.memory.lock().unwrap().received.clone()
    }

    /// The requests that ask a model for an answer, which leaves out `HEAD /` and `count_tokens`.
    pub fn calls(&self) -> Vec<Received> {
        let mut received = self.received();
        received.retain(|request| request.face().is_some());
        received
    }

    /// The requests that it refused, with the reasons.
    pub fn refused(&self) -> Vec<String> {
        self.received().into_iter().filter_map(|request| request.refused).collect()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers the requests of one connection until the client closes it.
async fn serve(mut stream: TcpStream, script: Script, memory: Arc<Mutex<Memory>>) {
    while let Some(mut request) = wire::read(&mut stream).await {
        let response = {
            let mut memory = memory.lock().unwrap();
            let response = respond(&mut request, &script, &mut memory);
            memory.received.push(request);
            response
        };
        if response.write(&mut stream).await.is_err() {
            return;
        }
    }
}

/// The response to a request. A refusal is noted in the request.
fn respond(request: &mut Received, script: &Script, memory: &mut Memory) -> Response {
    let outcome = match (request.method.as_str(), request.path()) {
        ("HEAD" | "GET", "/") => Ok(Response::json(200, "{}")),
        ("POST", "/v1/messages/count_tokens") => messages::count(request),
        ("POST", _) => request.face().map_or_else(
            || Err(Refusal::not_found("no such route")),
            |face| answer(request, face, script, memory),
        ),
        _ => Err(Refusal::not_found("no such route")),
    };
    outcome.unwrap_or_else(|refusal| {
        request.refused = Some(refusal.to_string());
        refusal.response(request.path().starts_with("/v1/messages"))
    })
}

fn answer(
    request: &Received,
    face: Face,
    script: &Script,
    memory: &mut Memory,
) -> Result<Response, Refusal> {
    let mut body = request.object()?;
    match face {
        Face::Chat => chat::check(request, &body)?,
        Face::Messages => messages::check(request, &body)?,
        Face::Responses => {
            responses::resume(&mut body, &memory.stored)?;
            responses::check(request, &body)?;
        }
    }
    let asked = Asked::new(face, &body, &request.body);
    let reply = script(&asked);
    let stalls = matches!(reply, Reply::Stall(_));
    let answer = match reply {
        Reply::Answer(answer) | Reply::Stall(answer) => answer.named(&asked),
        Reply::Refuse(refusal) => return Err(refusal),
        Reply::Raw { content_type, body } => return Ok(Response::raw(content_type, body)),
    };
    let usage = memory.prefixes.usage(face, &body, &answer);
    let response = match face {
        Face::Chat => chat::render(&asked, &answer, usage),
        Face::Messages => messages::render(&asked, &answer, usage),
        Face::Responses => {
            let number = memory.received.len();
            let (response, items) = responses::render(&asked, &answer, usage, number);
            if body["store"] != false {
                memory.stored.insert(responses::id(number), items);
            }
            response
        }
    };
    Ok(if stalls { response.stalled() } else { response })
}
