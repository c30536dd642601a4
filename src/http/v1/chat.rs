//! `/v1/chat`: the routes of `OpenAI`'s API for chats.

pub mod completions;
