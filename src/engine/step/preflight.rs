//! Checks of a request before anything is recorded: a request that cannot be answered costs no commit.

use std::sync::Arc;

use super::{error::StepError, request::Step};
use crate::{
    domain::{confidence::is_blank, policy::MemoryMode},
    embed::EmbedError,
    llm::{LlmError, Messages, Request},
    store::IdempotencyKey,
};

/// Maximum number of models that an error names.
const NAMED_MAX: usize = 20;

/// Checks that the model may be named, that a provider has a form for the request, and that the model
/// and the embedder may be called.
pub(super) async fn check(step: Step<'_>) -> Result<(), StepError> {
    check_name(step)?;
    let open = match check_model(step) {
        Err(error @ StepError::ModelUnavailable { .. }) => error,
        Err(error) => return Err(error),
        Ok(()) => match check_embedder(step) {
            Err(error) => error,
            Ok(()) => return Ok(()),
        },
    };
    // the decision on the request knows more: an operator has shut the engine down, or an earlier
    // request has the answer
    let is_shut_down = step.engine.view().state.shutdown.is_some();
    if is_shut_down || has_earlier(step).await? { Ok(()) } else { Err(open) }
}

fn check_name(step: Step<'_>) -> Result<(), StepError> {
    let llm = &step.engine.parts.llm;
    if step.request.model.as_ref().is_none_or(|model| llm.allows(model)) {
        return Ok(());
    }
    let mut models = llm.models();
    let more = models.len() > NAMED_MAX;
    models.truncate(NAMED_MAX);
    let models = models.join(", ") + if more { " …" } else { "" };
    Err(StepError::ModelNotAllowed { models })
}

fn check_model(step: Step<'_>) -> Result<(), StepError> {
    let request = step.request;
    let (messages, extra) = match &request.chat {
        Some(chat) => (chat.messages.clone(), Arc::clone(&chat.extra)),
        None => (Messages::from(Vec::new()), Arc::default()),
    };
    let request = Request {
        model: request.model.clone(),
        messages,
        prompt: Arc::from(""),
        max_tokens: request.max_tokens,
        temperature: request.temperature,
        takes_temperature: None,
        extra,
    };
    match step.engine.parts.llm.check(&request) {
        Err(LlmError::Untranslatable { what }) => Err(StepError::Untranslatable { what }),
        Err(LlmError::BreakerOpen { retry_after }) => {
            Err(StepError::ModelUnavailable { retry_after })
        }
        // a request that names no model fails when it is called
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Checks that the prompt can be embedded, if the step uses the memory.
fn check_embedder(step: Step<'_>) -> Result<(), StepError> {
    let policy = &step.engine.view().state.policy;
    if step.request.memory(policy) == MemoryMode::Off || is_blank(&step.request.prompt) {
        return Ok(());
    }
    match step.engine.parts.embedder.check(step.request.embedded()) {
        Err(EmbedError::BreakerOpen { retry_after }) => {
            Err(StepError::EmbedderUnavailable { retry_after })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// True if the idempotency key of the request may belong to an earlier one.
async fn has_earlier(step: Step<'_>) -> Result<bool, StepError> {
    let (engine, caller) = (step.engine, step.caller);
    let Some(key) = &caller.idempotency_key else { return Ok(false) };
    let Some(subject) = engine.subjects.by_name(caller.subject()).await? else { return Ok(false) };
    let key = IdempotencyKey {
        name_hmac: subject.name_hmac,
        route: caller.route.clone(),
        key: key.clone(),
    };
    Ok(engine.parts.store.idempotency_row(&engine.id, &key).await?.is_some())
}
