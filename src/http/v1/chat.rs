//! Chat routes in the dialect of `OpenAI`.

pub mod completions;
