//! The budget of thinking in requests of Anthropic's API, which must be below the limit of the answer.

use super::{LlmError, body};
use crate::json::Fields;

/// The least budget that the API takes.
pub(super) const BUDGET_MIN: u32 = 1_024;

/// The field with the budget.
const THINKING: &str = "thinking";

/// The field with edits of the context.
const CONTEXT: &str = "context_management";

/// Lowers the budget of thinking in proportion, after a limit was lowered from `asked` to `granted`.
/// Below the least budget there is no thinking.
pub(super) fn lower(body: &mut Fields, asked: u32, granted: u32) -> Result<(), LlmError> {
    let Some(mut thinking) = body.read::<Fields>(THINKING).ok().flatten() else { return Ok(()) };
    let Some(budget) = thinking.read::<u32>("budget_tokens").ok().flatten() else { return Ok(()) };
    // the product fits: both are below 2^32
    let lowered = (u64::from(budget) * u64::from(granted) / u64::from(asked.max(1))) as u32;
    if lowered < BUDGET_MIN {
        body.remove(THINKING);
        // edits of earlier thinking are refused without thinking
        if body.get(CONTEXT).is_some_and(|edits| edits.get().contains("clear_thinking")) {
            body.remove(CONTEXT);
        }
        return Ok(());
    }
    body::set(&mut thinking, "budget_tokens", &lowered)?;
    body::set(body, THINKING, &thinking)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lowered(granted: u32) -> String {
        let text = r#"{"thinking":{"type":"enabled","budget_tokens":10000},"top_k":1}"#;
        let mut body = serde_json::from_str(text).unwrap();
        lower(&mut body, 16_000, granted).unwrap();
        serde_json::to_string(&body).unwrap()
    }

    #[test]
    fn the_budget_stays_below_a_lowered_limit() {
        let half = r#"{"thinking":{"type":"enabled","budget_tokens":5000},"top_k":1}"#;
        assert_eq!(lowered(8_000), half);
    }

    #[test]
    fn a_limit_without_room_for_thinking_has_none() {
        assert_eq!(lowered(1_600), r#"{"top_k":1}"#);
    }

    #[test]
    fn thinking_without_a_budget_stays() {
        let text = r#"{"thinking":{"type":"adaptive"}}"#;
        let mut body = serde_json::from_str(text).unwrap();
        lower(&mut body, 100, 10).unwrap();
        assert_eq!(serde_json::to_string(&body).unwrap(), text);
    }
}
