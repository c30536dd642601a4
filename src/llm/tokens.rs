//! Estimated token counts, for providers that do not report them.

/// Average number of characters per token, roughly, in the languages most used with models.
pub const TOKEN_CHARS: usize = 4;

/// Estimated number of tokens of a text.
pub fn estimate_tokens(text: &str) -> u64 {
    text.chars().count().div_ceil(TOKEN_CHARS) as u64
}
