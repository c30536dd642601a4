//! The Responses API of `OpenAI`.
//!
//! A request in this dialect goes as it is to a provider that has the route. For any other provider it is
//! translated to chat completions, from which the dialect of Anthropic is one more step. A hint without a
//! form there is left out and named; an input item or a tool without a form there is refused.

mod items;
mod refuse;
mod request;
mod response;
mod tools;
mod translate;

pub(super) use request::body;
pub use request::is_instructions;
pub(super) use response::{streamed, whole};
pub use tools::{NamedTool, custom_input, renamed_tools};
pub use translate::{Translated, to_chat};
