//! Events of a function URL, which are those of an HTTP API of version 2.0.

use serde_json::{Value, json};

pub(super) fn get(path: &str) -> Value {
    event("GET", path, &Value::Null)
}

pub(super) fn post(path: &str, body: &Value) -> Value {
    event("POST", path, &Value::String(body.to_string()))
}

fn event(method: &str, path: &str, body: &Value) -> Value {
    let host = "function.lambda-url.eu-west-1.on.aws";
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"content-type": "application/json", "host": host, "x-mlsdm-end-user": "ann"},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "function",
            "domainName": host,
            "domainPrefix": "function",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "test",
            },
            "requestId": "1",
            "routeKey": "$default",
            "stage": "$default",
            "time": "12/Mar/2026:19:03:58 +0000",
            "timeEpoch": 1_773_342_238_000_i64,
        },
        "body": body,
        "isBase64Encoded": false,
    })
}
