//! Models: who answers an admitted step.
//!
//! A closed set of providers behind one function. Deliberately not here: deadlines (the step's), and
//! what an answer is worth (the domain's).

mod stub;

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use crate::domain::event::Usage;
pub use stub::Stub;

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The application.
    System,
    /// The end user, and everything remembered.
    User,
    /// The model.
    Assistant,
}

/// One message of a chat.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub text: String,
}

/// A text must not reach a log by way of a debug print.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({:?}, {} bytes)", self.role, self.text.len())
    }
}

/// What a model is asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// The model wanted; the provider's own without.
    pub model: Option<String>,
    /// The chat so far, the prompt last.
    pub messages: Vec<Message>,
    /// Most tokens of the answer.
    pub max_tokens: u32,
}

/// What a model answers.
#[derive(Clone)]
pub struct Reply {
    /// The answer.
    pub text: String,
    /// The model as the provider reports it.
    pub model: String,
    /// Why the answer ended: `stop`, `length`.
    pub finish_reason: String,
    /// Tokens, as the provider counts them.
    pub usage: Usage,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({} bytes, {})", self.text.len(), self.finish_reason)
    }
}

/// Why a model did not answer. Never holds what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LlmError {
    /// It could not be reached or refused to work.
    #[error("the model is unavailable ({code})")]
    Unavailable {
        /// A short name of the cause.
        code: &'static str,
    },
    /// It took longer than the step's deadline.
    #[error("the model did not answer before the deadline")]
    Timeout,
}

impl LlmError {
    /// The short name recorded in `step.failed`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unavailable { code } => code,
            Self::Timeout => "timeout",
        }
    }
}

/// An answer on its way.
pub type Answering = Pin<Box<dyn Future<Output = Result<Reply, LlmError>> + Send>>;

/// A model of the caller's own.
pub type Function = Arc<dyn Fn(Request) -> Answering + Send + Sync>;

/// A provider.
#[derive(Clone)]
pub enum Llm {
    /// Built in: deterministic, needs nothing.
    Stub(Stub),
    /// A function of the program this library is part of.
    Function(Function),
}

impl fmt::Debug for Llm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.provider())
    }
}

impl Llm {
    /// Its name in events and metrics.
    pub const fn provider(&self) -> &'static str {
        match self {
            Self::Stub(_) => "local_stub",
            Self::Function(_) => "function",
        }
    }

    /// Asks for an answer. Dropping the future cancels the call.
    pub async fn generate(&self, request: Request) -> Result<Reply, LlmError> {
        match self {
            Self::Stub(stub) => stub.generate(&request).await,
            Self::Function(function) => function(request).await,
        }
    }
}
