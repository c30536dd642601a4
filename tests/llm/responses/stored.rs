//! Responses that are read from the event log.

use actix_web::{test, web};
use mlsdm::{http::create_app, testkit::app_state};
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, matchers::path};

use super::{CHAT, RESPONSES, Setup, said, tools, whole};

#[actix_web::test]
async fn a_response_is_continued_from_the_log() {
    let call = whole(
        &json!({ "role": "assistant", "content": null, "tool_calls": [
            { "id": "c1", "type": "function", "function": { "name": "see", "arguments": "{}" } }
        ] }),
        "tool_calls",
    );
    let (setup, app) = server!(&[], CHAT, [call, said("A cat."), said("Yes.")]);
    let good = json!({ "moral_value": 0.9 });
    let (_, first) = post!(
        &app,
        json!({ "instructions": "Be brief", "input": "Look", "tools": tools(), "mlsdm": good }),
    );
    let result = json!([{ "type": "function_call_output", "call_id": "c1", "output": "cat" }]);
    let (status, second) = post!(
        &app,
        json!({ "input": result, "previous_response_id": first["id"], "tools": tools(), "mlsdm": good }),
    );
    assert_eq!(status, 200, "{second}");
    let (_, third) = post!(
        &app,
        json!({ "input": "Sure?", "previous_response_id": second["id"], "mlsdm": good }),
    );
    assert_eq!(third["previous_response_id"], second["id"]);
    let sent = setup.sent().await;
    assert_eq!(
        sent[2]["messages"],
        json!([
            { "role": "user", "content": "Look" },
            { "role": "assistant", "content": null, "tool_calls": [
                { "id": "c1", "type": "function", "function": { "name": "see", "arguments": "{}" } }
            ] },
            { "role": "tool", "tool_call_id": "c1", "content": "cat" },
            { "role": "assistant", "content": "A cat." },
            { "role": "user", "content": "Sure?" }
        ]),
        "the instructions are not inherited"
    );
    let id = third["id"].as_str().unwrap();
    let (status, got) = get!(&app, &format!("{RESPONSES}/{id}"));
    assert_eq!(status, 200, "{got}");
    for field in ["id", "output", "usage", "status", "created_at", "previous_response_id"] {
        assert_eq!(got[field], third[field], "{field}");
    }
    let uri = format!("{RESPONSES}/{id}/input_items?order=asc&limit=2");
    let (_, items) = get!(&app, &uri);
    assert_eq!(items["has_more"], true);
    assert_eq!(items["data"][0]["content"][0], json!({ "type": "input_text", "text": "Look" }));
    assert_eq!(items["data"][1]["type"], "function_call");
    let uri = format!("{uri}&after={}", items["last_id"].as_str().unwrap());
    let (_, items) = get!(&app, &uri);
    assert_eq!(items["data"][0]["type"], "function_call_output");
}

#[actix_web::test]
async fn references_to_items_are_resolved_from_the_log() {
    let call = whole(
        &json!({ "role": "assistant", "content": "I look.", "tool_calls": [
            { "id": "c1", "type": "function", "function": { "name": "see", "arguments": "{}" } }
        ] }),
        "tool_calls",
    );
    let (setup, app) = server!(&[], CHAT, [call, said("A cat.")]);
    let good = json!({ "moral_value": 0.9 });
    let (_, first) = post!(&app, json!({ "input": "Look", "tools": tools(), "mlsdm": good }));
    let reference =
        |at: usize| json!({ "type": "item_reference", "id": first["output"][at]["id"] });
    let input = json!([
        { "role": "user", "content": "Look" },
        reference(0),
        reference(1),
        { "type": "function_call_output", "call_id": "c1", "output": "cat" }
    ]);
    let (status, body) = post!(&app, json!({ "input": input, "tools": tools(), "mlsdm": good }));
    assert_eq!(status, 200, "{body}");
    let sent = &setup.sent().await[1]["messages"];
    assert_eq!(
        (&sent[1]["content"], &sent[1]["tool_calls"][0]["id"]),
        (&json!("I look."), &json!("c1"))
    );
    let unknown = json!([{ "type": "item_reference", "id": "fc_nowhere" }, { "role": "user", "content": "x" }]);
    assert_eq!(post!(&app, json!({ "input": unknown, "mlsdm": good })).0, 404);
}

#[actix_web::test]
async fn only_the_caller_s_stored_responses_are_found() {
    let (_setup, app) = server!(&[], CHAT, [said("One."), said("Two."), said("Three.")]);
    let good = json!({ "moral_value": 0.9 });
    let ann = |request: test::TestRequest| request.insert_header(("X-MLSDM-End-User", "ann"));
    let body = json!({ "input": "Hi", "mlsdm": good });
    let (_, first) = send!(&app, ann(test::TestRequest::post().uri(RESPONSES).set_json(&body)));
    let (_, unstored) = post!(&app, json!({ "input": "Hi", "store": false, "mlsdm": good }));
    let id = |response: &Value| response["id"].as_str().unwrap().to_owned();
    let uri = format!("{RESPONSES}/{}", id(&first));
    assert_eq!(send!(&app, ann(test::TestRequest::get().uri(&uri))).0, 200);
    for missing in [id(&first), id(&unstored), "resp_x".to_owned(), "x".to_owned()] {
        let uri = format!("{RESPONSES}/{missing}");
        let (status, error) = get!(&app, &uri);
        assert_eq!((status, error["error"]["code"].is_string()), (404, true), "{error}");
        let body = json!({ "input": "More", "previous_response_id": missing, "mlsdm": good });
        let (status, continued) = post!(&app, body);
        assert_eq!(status, 404);
        assert_eq!(continued["error"]["message"], error["error"]["message"]);
    }
}

#[actix_web::test]
async fn a_refused_turn_is_not_repeated_to_the_model() {
    let (setup, app) = server!(&[], CHAT, [said("Hello."), said("Fine.")]);
    let (_, first) = post!(&app, json!({ "input": "Hi", "mlsdm": { "moral_value": 0.9 } }));
    let harmful = json!({ "input": "harm", "previous_response_id": first["id"],
                          "mlsdm": { "moral_value": 0.1 } });
    let (_, refused) = post!(&app, harmful);
    let (status, _) = post!(
        &app,
        json!({ "input": "Sorry", "previous_response_id": refused["id"],
                "mlsdm": { "moral_value": 0.9 } }),
    );
    assert_eq!(status, 200);
    let texts: Vec<Value> = setup.sent().await[1]["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["content"].clone())
        .collect();
    assert_eq!(texts, ["Hi", "Hello.", "Sorry"]);
}
