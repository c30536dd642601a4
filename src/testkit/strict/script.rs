//! Scripts of answers.

use std::sync::Arc;

use serde_json::json;

use super::{Answer, Asked, Refusal, Reply};

/// The answer to a valid request.
pub type Script = Arc<dyn Fn(&Asked<'_>) -> Reply + Send + Sync>;

/// Answers the n-th turn of each conversation by the n-th of these answers, and the turns after
/// them by "Done.". Requests without tools, by which agents name a conversation, get a short text.
pub fn turns(answers: Vec<Answer>) -> Script {
    Arc::new(move |asked| {
        let answer = if asked.tools().is_empty() {
            Answer::text("A task in a folder")
        } else {
            answers.get(asked.turn).cloned().unwrap_or_else(|| Answer::text("Done."))
        };
        Reply::Answer(answer)
    })
}

/// Calls the first tool twice in parallel, for Rome and for Oslo, and then repeats their results;
/// answers by the schema of a structured answer; repeats the prompt of all other requests. A prompt
/// "fail …" gets the error of that name.
pub fn echo() -> Script {
    Arc::new(|asked| {
        if let Some(refusal) = asked.prompt.strip_prefix("fail ").map(failure) {
            return Reply::Refuse(refusal);
        }
        let tool = asked.tools().first().map(|name| (*name).to_owned());
        let structured = asked.has_schema();
        let answer = match tool {
            Some(tool) if asked.round == 0 && asked.body["tool_choice"] != "none" => {
                let city = |city: &str| super::ToolUse {
                    id: String::new(),
                    name: tool.clone(),
                    arguments: json!({ "city": city }),
                };
                Answer { calls: vec![city("Rome"), city("Oslo")], ..Answer::default() }
            }
            Some(_) if !asked.results.is_empty() => Answer::text(asked.results.join(" and ")),
            _ if structured => Answer { structured: true, ..Answer::default() },
            _ => Answer::text(format!("You said: {}", asked.prompt)),
        };
        let thinks = asked.body["thinking"]["type"].as_str().is_some_and(|kind| kind != "disabled")
            || asked.body["reasoning"].is_object();
        let answer = if thinks { answer.thinking("Let me think about it.") } else { answer };
        Reply::Answer(answer)
    })
}

/// An error of a provider by its code. The message has a text that must not appear in logs.
fn failure(code: &str) -> Refusal {
    let refusal = Refusal::invalid("", "SECRET-TEXT-OF-THE-PROVIDER");
    match code {
        "context_length_exceeded" => Refusal {
            message: "prompt is too long: 212000 tokens > 200000 maximum".to_owned(),
            param: Some("messages".to_owned()),
            ..refusal.code("context_length_exceeded")
        },
        "model_not_found" => refusal.code("model_not_found").status(404, "not_found_error"),
        "request_too_large" => refusal.status(413, "request_too_large"),
        "insufficient_quota" => {
            refusal.code("insufficient_quota").status(429, "insufficient_quota")
        }
        _ => refusal.status(500, "api_error"),
    }
}
