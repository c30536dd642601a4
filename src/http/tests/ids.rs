//! The ids of requests: the client's in the response, the server's in the answer and the event log.

use serde_json::json;

use super::*;

const OPENAI: &str = "/v1/chat/completions";
const ANTHROPIC: &str = "/v1/messages";

fn send(uri: &str, client_id: &str, stream: bool) -> test::TestRequest {
    let mut body = json!({"stream": stream});
    if uri == "/v1/generate" {
        body["prompt"] = json!("Hello");
        body["moral_value"] = json!(0.9);
    } else {
        body["messages"] = json!([{"role": "user", "content": "Hello"}]);
        body["mlsdm"] = json!({"moral_value": 0.9});
        body["max_tokens"] = json!(100);
    }
    let request = test::TestRequest::post().uri(uri).set_json(&body);
    request.insert_header(("x-request-id", client_id))
}

/// The data of the events of a stream.
fn events(answer: &Answer) -> Vec<Value> {
    let text = std::str::from_utf8(&answer.body).unwrap();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter_map(|data| serde_json::from_str(data).ok()).collect()
}

/// The object with the ids of an answer, and the id that the dialect gives the answer.
fn ids(uri: &str, answer: &Answer, stream: bool) -> (Value, Option<String>) {
    assert_eq!(answer.status, StatusCode::OK);
    let bodies = if stream { events(answer) } else { vec![answer.json()] };
    let message =
        |body: &Value| body.get("message").unwrap_or(body)["id"].as_str().map(str::to_owned);
    if uri == "/v1/generate" {
        return (bodies.last().unwrap().clone(), None);
    }
    let governed = bodies.iter().find_map(|body| body.get("mlsdm"));
    (governed.unwrap().clone(), bodies.iter().find_map(message))
}

fn is_uuid_v7(id: &Value) -> bool {
    let id = uuid::Uuid::parse_str(id.as_str().unwrap()).unwrap();
    id.get_version() == Some(uuid::Version::SortRand)
}

#[actix_web::test]
async fn an_answer_has_the_servers_id_and_the_clients() {
    let (state, _database) = app_state(&[]).await;
    let app = test::init_service(create_app(web::Data::new(state))).await;
    for (uri, prefix) in [("/v1/generate", ""), (OPENAI, "chatcmpl-"), (ANTHROPIC, "msg_")] {
        for stream in [false, true] {
            let request = send(uri, "my-own", stream).to_request();
            let response = answer(&app, request).await;
            assert_eq!(response.header("x-request-id"), "my-own");
            let (object, name) = ids(uri, &response, stream);
            assert_eq!(object["request_id"], "my-own", "{uri} {stream}");
            assert!(is_uuid_v7(&object["id"]), "{uri} {stream}: {object}");
            let id = object["id"].as_str().unwrap();
            assert_eq!(name, (uri != "/v1/generate").then(|| format!("{prefix}{id}")));

            let found = answer(&app, get(&format!("/v1/events?request_id={id}")).to_request());
            let found = found.await.json();
            let found = found["events"].as_array().unwrap();
            assert_eq!(found.len(), 2, "{found:?}");
            assert!(found.iter().all(|event| event["step"] == object["step"]), "{found:?}");
        }
    }
    let found = answer(&app, get("/v1/events?request_id=my-own").to_request()).await;
    assert_eq!(found.json()["events"], json!([]), "the log has the client's id only sealed");
}

#[actix_web::test]
async fn a_request_without_an_id_gets_the_servers() {
    let (state, _database) = app_state(&[]).await;
    let app = test::init_service(create_app(web::Data::new(state))).await;
    let response = answer(&app, send("/v1/generate", "", false).to_request()).await;
    let body = response.json();
    assert_eq!(body["id"], body["request_id"]);
    assert_eq!(body["id"], response.header("x-request-id"));
}

#[actix_web::test]
async fn an_idempotent_repetition_has_the_same_id_and_its_own_request_id() {
    let (state, _database) = app_state(&[]).await;
    let app = test::init_service(create_app(web::Data::new(state))).await;
    for uri in ["/v1/generate", OPENAI, ANTHROPIC] {
        for (stream, key) in [(false, "whole"), (true, "streamed")] {
            let once = |client_id: &str| {
                send(uri, client_id, stream).insert_header(("idempotency-key", key)).to_request()
            };
            let first = ids(uri, &answer(&app, once("first")).await, stream);
            let response = answer(&app, once("again")).await;
            assert_eq!(response.header("idempotency-replayed"), "true");
            let again = ids(uri, &response, stream);
            assert_eq!((&again.0["id"], &again.1), (&first.0["id"], &first.1), "{uri} {stream}");
            assert_eq!(
                (&first.0["request_id"], &again.0["request_id"]),
                (&json!("first"), &json!("again"))
            );
        }
    }
}

#[actix_web::test]
async fn a_log_line_has_both_ids_and_a_failure_only_the_clients() {
    let buffer = Buffer::default();
    let guard =
        tracing::subscriber::set_default(subscriber(Level::Info, Format::Json, buffer.clone()));
    let failed = ask(Stop::default(), get("/geheim").insert_header(("x-request-id", "r-1"))).await;
    drop(guard);
    assert_eq!(failed.json()["request_id"], "r-1");
    assert_eq!(failed.json().get("id"), None);
    let lines = buffer.lines();
    let line = lines.iter().find(|line| line.contains("\"http.request\"")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["request_id"], "r-1");
    assert!(is_uuid_v7(&line["request_uuid"]), "{line}");
}
