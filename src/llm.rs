//! Models: who answers an admitted step.
//!
//! [`Llm::call`] asks one of a closed set of providers, under one deadline, and says what came of it
//! with the number of attempts. The answer itself goes to a [`Sink`], piece by piece, so that a
//! caller can have it as it is made and the log has what was said before a failure.
//! Deliberately not here: what an answer is worth (the domain's), and any record of it (the log's).

mod chat;
mod error;
mod provider;
mod sink;
mod stub;

use std::fmt;

use tokio::time::{Instant, timeout_at};

pub use chat::{Dialect, Ending, Extra, Message, Reply, Request, Role, ToolCall};
pub use error::LlmError;
pub use provider::{Answering, Function, Provider};
pub use sink::{ANSWER_MAX, Delta, PIECES_MAX, Sink};
pub use stub::Stub;

use crate::domain::event::Usage;

/// The models of an engine; cheap to clone.
#[derive(Clone)]
pub struct Llm {
    provider: Provider,
}

/// What came of a call.
#[derive(Clone, Debug)]
pub struct Called {
    /// Who was asked last.
    pub provider: &'static str,
    /// How many calls were made to providers.
    pub attempts: u32,
    /// How the answer ended, or why there is none.
    pub result: Result<Ended, LlmError>,
}

/// How an answer ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The model as the provider reports it.
    pub model: String,
    /// Why it ended: `stop`, `length`, `tool_calls`, `content_filter`.
    pub finish_reason: String,
    /// Tokens: the provider's figures, else estimates.
    pub usage: Usage,
    /// Whether the answer was cut to its size limit.
    pub cut: bool,
}

impl fmt::Debug for Llm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.provider())
    }
}

impl Llm {
    /// Asks this provider only.
    pub const fn new(provider: Provider) -> Self {
        Self { provider }
    }

    /// The built-in model.
    pub const fn stub(stub: Stub) -> Self {
        Self::new(Provider::Stub(stub))
    }

    /// A function of the program this library is part of.
    pub const fn function(function: Function) -> Self {
        Self::new(Provider::Function(function))
    }

    /// The name of the provider that is asked first.
    pub const fn provider(&self) -> &'static str {
        self.provider.name()
    }

    /// Asks for an answer until `deadline`. Dropping the future cancels the call; what was said until
    /// then is in the sink.
    pub async fn call(&self, request: &Request, sink: &mut Sink, deadline: Instant) -> Called {
        let call = self.provider.call(request, sink);
        let result = timeout_at(deadline, call).await.unwrap_or(Err(LlmError::Timeout));
        Called {
            provider: self.provider(),
            attempts: 1,
            result: result.map_or_else(
                |error| cut(error, request, sink),
                |ending| Ok(ended(ending, request, sink)),
            ),
        }
    }
}

fn ended(ending: Ending, request: &Request, sink: &Sink) -> Ended {
    let Ending { model, finish_reason, usage } = ending;
    let usage = usage.unwrap_or_else(|| estimated(request, sink));
    Ended { model, finish_reason, usage, cut: false }
}

/// An answer that grew too long is an answer, cut.
fn cut(error: LlmError, request: &Request, sink: &Sink) -> Result<Ended, LlmError> {
    if error != LlmError::TooLong {
        return Err(error);
    }
    Ok(Ended {
        model: request.model.clone().unwrap_or_default(),
        finish_reason: "length".to_owned(),
        usage: estimated(request, sink),
        cut: true,
    })
}

/// Characters of a token, roughly, in the languages models are mostly asked in.
pub const TOKEN_CHARS: usize = 4;

/// How many tokens a text has, roughly, where nobody counts them.
pub fn estimate_tokens(text: &str) -> u64 {
    text.chars().count().div_ceil(TOKEN_CHARS) as u64
}

fn estimated(request: &Request, sink: &Sink) -> Usage {
    Usage {
        prompt_tokens: request.messages.iter().map(|m| estimate_tokens(&m.text)).sum(),
        completion_tokens: estimate_tokens(sink.said()),
    }
}
