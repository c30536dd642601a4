//! Routing: which providers are called for a request, and what each of them gets.

use std::{borrow::Cow, sync::Arc};

use super::{LimitField, Llm, LlmError, ModelRule, Request, Target, TokenLimit, model_facts};

impl Llm {
    /// The order in which providers are called for a request that names a model: the provider that has
    /// the model, then the others.
    pub(super) fn order(&self, model: Option<&str>) -> Cow<'_, [Target]> {
        let provider = model.and_then(|model| self.rule(model)).and_then(|rule| rule.provider);
        let named = |target: &Target| Some(target.upstream.provider.name()) == provider;
        if provider.is_none() || self.targets.first().is_some_and(named) {
            return Cow::Borrowed(&self.targets);
        }
        let upstreams = &self.shared.upstreams;
        let upstream = upstreams.iter().find(|it| Some(it.provider.name()) == provider);
        let first = upstream.map(|it| Target { upstream: Arc::clone(it), model: None });
        let others = self.targets.iter().filter(|target| !named(target)).cloned();
        Cow::Owned(first.into_iter().chain(others).collect())
    }

    /// The request for one provider. A model that the client names belongs to the first provider; it
    /// has no meaning for the others.
    pub(super) fn request_for(
        &self,
        target: &Target,
        request: &Request,
        is_first: bool,
    ) -> Request {
        let named = request.model.clone().filter(|_| is_first);
        let model = named.or_else(|| target.model.clone());
        let temperature = request.temperature.or_else(|| self.temperature(model.as_deref()));
        // the client's name of the limit has a meaning only in its own dialect
        let same_dialect = target.upstream.provider.speaks(request.extra.dialect);
        let own_field = request.max_tokens.and_then(|limit| limit.field).filter(|_| same_dialect);
        let named_field = own_field.or_else(|| self.limit_field(model.as_deref()?));
        let model_rule = model.as_deref().and_then(|model| self.rule(model));
        Request {
            model,
            messages: request.messages.clone(),
            prompt: Arc::clone(&request.prompt),
            max_tokens: self.limit(request.max_tokens, named_field),
            temperature,
            takes_temperature: model_rule.and_then(ModelRule::takes_temperature),
            extra: Arc::clone(&request.extra),
        }
    }

    /// The temperature of requests that name none.
    fn temperature(&self, model: Option<&str>) -> Option<f64> {
        let rule = model.and_then(|model| self.rule(model));
        let takes = model.is_none_or(|model| model_facts::facts(model, rule).takes_temperature);
        rule.and_then(|rule| rule.temperature).or(self.shared.temperature).filter(|_| takes)
    }

    /// The field that limits an answer of the model, if it is known.
    fn limit_field(&self, model: &str) -> Option<LimitField> {
        model_facts::facts(model, self.rule(model)).limit_field
    }

    /// The caller's limit, at most the configured one.
    fn limit(&self, asked: Option<TokenLimit>, field: Option<LimitField>) -> Option<TokenLimit> {
        let asked = asked.map(|limit| limit.tokens);
        let max = self.shared.max_tokens;
        let tokens = asked.zip(max).map(|(asked, max)| asked.min(max)).or(asked).or(max)?;
        Some(TokenLimit { tokens, field })
    }

    /// Checks that a provider has a form for a request and may be called, before anything is recorded.
    /// A refusal by circuit breakers counts as an attempt that they rejected.
    ///
    /// # Errors
    /// [`LlmError::Untranslatable`] of the first provider, if none has a form.
    /// [`LlmError::BreakerOpen`] with the shortest wait, if the breakers of all that have one are open.
    pub fn check(&self, request: &Request) -> Result<(), LlmError> {
        let order = self.order(request.model.as_deref());
        let (mut untranslatable, mut waits) = (Ok(()), Vec::new());
        for (index, target) in order.iter().enumerate() {
            let request = self.request_for(target, request, index == 0);
            match target.upstream.provider.check(&request) {
                Ok(()) => match target.upstream.breakers.of(request.model.as_deref()).check() {
                    Ok(()) => return Ok(()),
                    Err(wait) => waits.push((target, wait)),
                },
                Err(error) if index == 0 => untranslatable = Err(error),
                Err(_) => {}
            }
        }
        let Some((first, _)) = waits.first() else { return untranslatable };
        let retry_after = waits.iter().map(|(_, wait)| *wait).min().unwrap_or_default();
        let open = Err(LlmError::BreakerOpen { retry_after });
        first.upstream.attempts.count(&open);
        open
    }
}
