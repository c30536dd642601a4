//! The closed set of providers, behind one function that makes a single attempt.

use std::{borrow::Cow, fmt, future::Future, pin::Pin, sync::Arc};

use super::{
    Anthropic, Dialect, LlmError, OpenAi, ProviderCompletion, Replay, Reply, Request, Sink, Stub,
    Translated, anthropic, responses, translate,
};
use crate::domain::event::Sampling;

/// The future of a [`Function`]'s answer.
pub type ReplyFuture = Pin<Box<dyn Future<Output = Result<Reply, LlmError>> + Send>>;

/// A model in the program that uses this library.
pub type Function = Arc<dyn Fn(Request) -> ReplyFuture + Send + Sync>;

/// A model provider.
#[derive(Clone)]
pub enum Provider {
    /// The built-in stub: deterministic, without a network.
    Stub(Stub),
    /// Chat completions by `OpenAI` or a compatible server.
    OpenAi(OpenAi),
    /// Anthropic's messages API.
    Anthropic(Anthropic),
    /// The recorded answers of a log.
    Replay(Arc<Replay>),
    /// A function of the program that uses this library.
    Function(Function),
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Provider {
    /// The sampling parameters that the provider gets.
    pub(super) fn sampling(&self, request: &Request) -> Option<Sampling> {
        match self {
            Self::Stub(_) | Self::Replay(_) => None,
            Self::OpenAi(_) | Self::Function(_) => request.sampling(),
            Self::Anthropic(_) => request.sampling().map(anthropic::sampling),
        }
    }

    /// The provider's name in events, metrics and configuration.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Stub(_) => "local_stub",
            Self::OpenAi(openai) => openai.name,
            Self::Anthropic(anthropic) => anthropic.name,
            Self::Replay(_) => "replay",
            Self::Function(_) => "function",
        }
    }

    /// Checks that a request has a form in the provider's dialect.
    ///
    /// # Errors
    /// [`LlmError::Untranslatable`].
    pub(super) fn check(&self, request: &Request) -> Result<(), LlmError> {
        let translation = self.translation(request)?;
        let request = translation.as_ref().map_or(request, |translated| &translated.request);
        match self.dialect_for(request.extra.dialect) {
            Some(dialect) if !self.speaks(request.extra.dialect) => {
                translate::translate(request, dialect).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// The request in the provider's dialect. The names of hints that were left out go to the sink.
    fn translated<'r>(
        &self,
        request: &'r Request,
        sink: &mut Sink,
    ) -> Result<Cow<'r, Request>, LlmError> {
        // those of a provider that was called before
        sink.set_dropped(Vec::new());
        let Some(Translated { request, dropped }) = self.translation(request)? else {
            return Ok(Cow::Borrowed(request));
        };
        sink.set_dropped(dropped);
        Ok(Cow::Owned(request))
    }

    /// The translation of a request of the Responses API for a provider that does not have it.
    fn translation(&self, request: &Request) -> Result<Option<Translated>, LlmError> {
        if request.extra.dialect != Some(Dialect::Responses) {
            return Ok(None);
        }
        match self.dialect_for(request.extra.dialect) {
            None | Some(Dialect::Responses) => Ok(None),
            Some(target) => responses::to_chat(request, target).map(Some),
        }
    }

    /// The dialect in which the provider gets a request of a client with this dialect; `None` for a
    /// provider that takes any.
    fn dialect_for(&self, client: Option<Dialect>) -> Option<Dialect> {
        match self {
            Self::OpenAi(openai) => Some(openai.dialect_for(client)),
            Self::Anthropic(_) => Some(Dialect::Anthropic),
            Self::Stub(_) | Self::Replay(_) | Self::Function(_) => None,
        }
    }

    /// True if a request in this dialect needs no translation.
    pub(super) fn speaks(&self, client: Option<Dialect>) -> bool {
        client.is_none() || self.dialect_for(client).is_none_or(|own| Some(own) == client)
    }

    /// Makes one attempt. The text goes to the sink. Dropping the future cancels the call.
    pub(super) async fn call(
        &self,
        request: &Request,
        sink: &mut Sink,
    ) -> Result<ProviderCompletion, LlmError> {
        match self {
            Self::Stub(stub) => stub.call(request, sink).await,
            Self::OpenAi(openai) => {
                let request = self.translated(request, sink)?;
                openai.call(&request, sink).await
            }
            Self::Anthropic(anthropic) => {
                let request = self.translated(request, sink)?;
                anthropic.call(&request, sink).await
            }
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
