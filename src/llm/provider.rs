//! One provider, asked once: a closed set behind one function.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use super::{Anthropic, LlmError, OpenAi, ProviderCompletion, Replay, Reply, Request, Sink, Stub};

/// An answer on its way.
pub type ReplyFuture = Pin<Box<dyn Future<Output = Result<Reply, LlmError>> + Send>>;

/// A model of the caller's own.
pub type Function = Arc<dyn Fn(Request) -> ReplyFuture + Send + Sync>;

/// Who answers.
#[derive(Clone)]
pub enum Provider {
    /// Built in: deterministic, needs nothing.
    Stub(Stub),
    /// Chat completions, by `OpenAI` or others.
    OpenAi(OpenAi),
    /// Anthropic's messages.
    Anthropic(Anthropic),
    /// What a log has recorded.
    Replay(Arc<Replay>),
    /// A function of the program this library is part of.
    Function(Function),
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Provider {
    /// Its name in events and metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Stub(_) => "local_stub",
            Self::OpenAi(_) => "openai",
            Self::Anthropic(_) => "anthropic",
            Self::Replay(_) => "replay",
            Self::Function(_) => "function",
        }
    }

    /// Asks once. The text goes to the sink; dropping the future cancels the call.
    pub(super) async fn call(
        &self,
        request: &Request,
        sink: &mut Sink,
    ) -> Result<ProviderCompletion, LlmError> {
        match self {
            Self::Stub(stub) => stub.call(request, sink).await,
            Self::OpenAi(openai) => openai.call(request, sink).await,
            Self::Anthropic(anthropic) => anthropic.call(request, sink).await,
            Self::Replay(replay) => replay.call(request, sink).await,
            Self::Function(function) => {
                let reply = function(request.clone()).await?;
                sink.push_text(&reply.text).await?;
                let Reply { model, finish_reason, usage, .. } = reply;
                Ok(ProviderCompletion { model, finish_reason, usage: Some(usage) })
            }
        }
    }
}
