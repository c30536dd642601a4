//! Recorded requests of coding agents: what reaches the provider is what they sent. Long texts are
//! replaced by filler of the same length, because they belong to the authors of the agents.

use mlsdm::testkit::{
    http_client, send,
    strict::{Answer, Face, turns},
};
use serde_json::Value;

use crate::gateway::{Backend, Gateway, file};

/// Fields that the server sets or leaves out: it asks for a stream, lets no provider store an answer,
/// and keeps the names of end users.
const OWN: [&str; 4] = ["stream", "stream_options", "store", "metadata"];

/// Sends a recorded request; gives what reached the provider and what was recorded.
async fn sent(name: &str, path: &str, gateway: &Gateway) -> (Value, Value) {
    let body = std::fs::read(file(&format!("recorded/{name}.json"))).unwrap();
    let headers = std::fs::read_to_string(file(&format!("recorded/{name}.headers"))).unwrap();
    let mut request = http_client().post(format!("{}{path}", gateway.server.base()));
    for (name, value) in headers.lines().filter_map(|line| line.split_once(": ")) {
        request = request.header(name, value);
    }
    let reply = send(request.body(body.clone())).await.unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(gateway.provider.refused(), Vec::<String>::new());
    let mut bodies =
        [gateway.provider.calls().pop().unwrap().json(), serde_json::from_slice(&body).unwrap()];
    for body in &mut bodies {
        let fields = body.as_object_mut().unwrap();
        fields.retain(|name, _| !OWN.contains(&name.as_str()));
    }
    let [reached, recorded] = bodies;
    (reached, recorded)
}

const OFF: [(&str, &str); 1] = [("MLSDM__MLSDM__POLICY__MEMORY__MODE", "off")];

#[tokio::test]
async fn a_request_of_claude_code_reaches_the_provider_as_it_is() {
    let script = turns(vec![Answer::text("Fine.")]);
    let gateway = Gateway::new(Backend::Anthropic, script, &OFF).await;
    let (reached, recorded) = sent("claude-code", "/v1/messages?beta=true", &gateway).await;
    assert_eq!(reached, recorded);
    let call = gateway.provider.calls().pop().unwrap();
    assert_eq!(call.face(), Some(Face::Messages));
    assert!(call.header("anthropic-beta").contains("context-management-2025-06-27"));
    gateway.is_consistent().await;
    gateway.server.stop().await;
}

#[tokio::test]
async fn a_request_of_codex_reaches_the_provider_as_it_is() {
    let script = turns(vec![Answer::text("Fine.")]);
    let gateway = Gateway::new(Backend::Responses, script, &OFF).await;
    let (reached, recorded) = sent("codex", "/v1/responses", &gateway).await;
    assert_eq!(reached, recorded);
    gateway.is_consistent().await;
    gateway.server.stop().await;
}
