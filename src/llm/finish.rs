//! Why a model stopped, in the terms that the log uses.

/// Maximum length of a reason that this server does not know, in bytes.
const UNKNOWN_MAX: usize = 64;

/// The reason in the terms of `OpenAI`: `stop`, `length`, `tool_calls` or `content_filter`. Another
/// reason stays as the provider wrote it, because it must not look like the end of a whole answer.
pub(super) fn reason(given: &str, has_calls: bool) -> String {
    let known = match given.to_ascii_lowercase().as_str() {
        "stop" | "end_turn" | "stop_sequence" | "eos" | "eos_token" | "complete" | "completed"
        | "done" => "stop",
        "length"
        | "max_tokens"
        | "max_output_tokens"
        | "max_length"
        | "model_length"
        | "model_context_window_exceeded" => "length",
        "tool_calls" | "tool_call" | "tool_use" | "function_call" => "tool_calls",
        "content_filter" | "refusal" | "safety" | "prohibited_content" | "blocklist"
        | "recitation" => "content_filter",
        _ => return unknown(given),
    };
    // servers say `stop` of answers that end in calls
    if known == "stop" && has_calls { "tool_calls" } else { known }.to_owned()
}

/// A reason for clients of `OpenAI`'s dialect, as the provider wrote it. Only the limit that the client
/// knows as `max_tokens` has one spelling, because clients treat an answer that is cut differently.
pub(super) fn openai(given: &str) -> String {
    let is_limit =
        ["max_tokens", "max_output_tokens"].iter().any(|limit| given.eq_ignore_ascii_case(limit));
    let given = if is_limit { "length" } else { given };
    if given.is_empty() { "stop".to_owned() } else { given.to_owned() }
}

/// A word is no text of a prompt. Anything else is not recorded.
fn unknown(given: &str) -> String {
    let is_word = given.len() <= UNKNOWN_MAX
        && !given.is_empty()
        && given.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if is_word { given.to_owned() } else { "unknown".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_in_any_spelling_is_length() {
        for given in ["length", "max_tokens", "MAX_TOKENS"] {
            assert_eq!((reason(given, false), openai(given)), ("length".into(), "length".into()));
        }
        assert_eq!(reason("model_length", false), "length");
    }

    #[test]
    fn an_unknown_reason_never_becomes_stop() {
        assert_eq!(reason("pause_turn", true), "pause_turn");
        assert_eq!(reason("you said: secret", false), "unknown");
        assert_eq!(reason("", false), "unknown");
    }

    #[test]
    fn an_answer_that_ends_in_calls_says_so() {
        assert_eq!(reason("stop", true), "tool_calls");
        assert_eq!(openai("stop"), "stop", "as the provider wrote it");
    }
}
