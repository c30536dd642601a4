//! The library interface: one governed engine inside a program, with the program's own model.
//!
//! [`Engine::builder`] opens a log and returns an [`Engine`]. [`Engine::generate`] runs one step as the
//! server does: it scores the prompt, adds context, calls the model, and records and remembers the
//! answer before it returns. Deliberately not here: HTTP, configuration files, several engines in one
//! log (see [`Engines`]).

use std::{future::Future, sync::Arc, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};
use tokio::runtime::Handle;

use crate::{
    domain::{
        confidence::is_blank,
        event::Usage,
        ids::EngineId,
        policy::{EmbedderId, Policy},
    },
    embed::Embedder,
    engine::{self, Answer, EngineError, Engines, Parts, Settings, StateReport, StepError},
    lifecycle::Tasks,
    llm::{Llm, LlmError, Reply, ReplyFuture, Request, estimate_tokens},
    store::{Options, Store, StoreError, keys::ContentKey, seal::SealError},
};

/// The actor and the route in the events of a step.
const ACTOR: &str = "program";
const ROUTE: &str = "library";

/// Time for the writer to end when an engine is closed, in addition to the timeout of a step.
const WRITER_TIMEOUT: Duration = Duration::from_secs(5);

/// Why an engine cannot be opened, a step has no answer, or an engine did not close.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The builder has no model.
    #[error("the engine has no model: call Builder::llm or Builder::provider before open")]
    NoModel,
    /// A PostgreSQL log was opened without a content key.
    #[error(
        "PostgreSQL needs a content key: call Builder::content_key with 64 hexadecimal digits \
         (`openssl rand -hex 32` prints some) and store them safely; contents cannot be read without \
         the key"
    )]
    NoContentKey,
    /// The prompt is blank.
    #[error("the prompt is blank: it needs some text")]
    BlankPrompt,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The content key is invalid.
    #[error(transparent)]
    Key(#[from] SealError),
    /// The engine cannot be loaded, or its policy is invalid.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The step was refused or failed.
    #[error(transparent)]
    Step(#[from] StepError),
    /// A step or the writer was still running at the timeout.
    #[error(
        "the engine did not close in time; open steps are recorded as failed when it is opened again"
    )]
    Unfinished,
}

/// The settings of an engine; [`Self::open`] opens it.
#[derive(Debug)]
#[must_use = "nothing happens before `open`"]
pub struct Builder {
    llm: Option<Llm>,
    embedder: Option<Embedder>,
    policy: Policy,
    settings: Settings,
    content_key: Option<SecretString>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            llm: None,
            embedder: None,
            policy: Policy::of_new_engine(),
            settings: Settings::default(),
            content_key: None,
        }
    }
}

impl Builder {
    /// The model: a function from a request to an answer, which is a text or a [`Reply`]. Token counts
    /// that it does not report are estimated.
    pub fn llm<F, Fut, T>(self, model: F) -> Self
    where
        F: Fn(Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, LlmError>> + Send + 'static,
        T: Into<Reply>,
    {
        let answer = move |request: Request| -> ReplyFuture {
            let prompt_tokens = request.messages.iter().map(|m| estimate_tokens(&m.text)).sum();
            let reply = model(request);
            Box::pin(
                async move { reply.await.map(|reply| with_usage(reply.into(), prompt_tokens)) },
            )
        };
        self.provider(Llm::function(Arc::new(answer)))
    }

    /// The model: a provider of this library.
    pub fn provider(self, llm: Llm) -> Self {
        Self { llm: Some(llm), ..self }
    }

    /// The embedder, e.g. [`Embedder::function`]. Default: the built-in one. It cannot change during
    /// the life of the log, and it sets [`Self::dimension`].
    pub fn embedder(mut self, embedder: Embedder) -> Self {
        self.policy.dimension = embedder.dimension();
        self.policy.embedder =
            EmbedderId { id: embedder.id().to_owned(), version: embedder.version() };
        Self { embedder: Some(embedder), ..self }
    }

    /// The dimension of memory vectors, 1..=4096. It cannot change during the life of the log. Default:
    /// 384.
    pub fn dimension(mut self, dimension: usize) -> Self {
        self.policy.dimension = dimension;
        self
    }

    /// The maximum number of remembered items, 1..=1,000,000. Default: 20,000.
    pub fn capacity(mut self, items: usize) -> Self {
        self.policy.capacity = items;
        self
    }

    /// Changes any other field of the policy, e.g. `|policy| policy.budget.tokens = 10_000`.
    pub fn policy(mut self, change: impl FnOnce(&mut Policy)) -> Self {
        change(&mut self.policy);
        self
    }

    /// The deadline of a step. Default: 30 seconds until the model begins to answer and between two
    /// pieces of its answer, 10 minutes in total.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self.settings.total_timeout = timeout;
        self
    }

    /// The key that protects the contents: 64 hexadecimal digits. Without it, a SQLite log creates a key
    /// file next to the database.
    pub fn content_key(self, key: impl Into<SecretString>) -> Self {
        Self { content_key: Some(key.into()), ..self }
    }

    /// Opens the log, `sqlite://PATH` or `postgres://USER:PASSWORD@HOST/NAME`, and creates it if it does
    /// not exist. An existing SQLite log applies the fields of the policy in which this builder differs
    /// from the builder of the previous open; an existing PostgreSQL log keeps its policy.
    pub async fn open(self, url: &str) -> Result<Engine, Error> {
        let llm = self.llm.ok_or(Error::NoModel)?;
        let store = Store::open(&Options::new(url)).await?;
        let content_key = match prepare(&store, self.content_key.as_ref()).await {
            Ok(key) => Arc::new(key),
            Err(error) => {
                store.close().await;
                return Err(error);
            }
        };
        let embedder = self.embedder.unwrap_or_default();
        let replica = store.replica();
        let metrics = Arc::default();
        let parts = Parts { store, replica, content_key, llm, embedder, metrics };
        let tasks = Tasks::new(Handle::current());
        let engine = Engine { engines: Engines::new(parts, self.settings, tasks.clone()), tasks };
        if let Err(error) = engine.engines.ensure_default(&self.policy).await {
            // the first error is reported
            engine.close().await.ok();
            return Err(error.into());
        }
        engine.engines.start_background();
        Ok(engine)
    }
}

/// Creates the tables and returns the content key.
async fn prepare(store: &Store, key: Option<&SecretString>) -> Result<ContentKey, Error> {
    store.migrate().await?;
    Ok(match (key, store.path()) {
        (Some(key), _) => ContentKey::from_text(key.expose_secret())?,
        (None, Some(file)) => ContentKey::load_or_create(&file.with_extension("key"))?,
        (None, None) => return Err(Error::NoContentKey),
    })
}

/// Estimates the token counts of a reply that reports none.
fn with_usage(mut reply: Reply, prompt_tokens: u64) -> Reply {
    if reply.usage == Usage::default() {
        let completion_tokens = estimate_tokens(&reply.text);
        reply.usage = Usage::new(prompt_tokens, completion_tokens);
    }
    reply
}

/// A request: a prompt and its parameters.
#[derive(Clone)]
#[must_use = "nothing happens before `Engine::generate`"]
pub struct Generate {
    request: engine::StepRequest,
    end_user: Option<String>,
    idempotency_key: Option<String>,
}

impl Generate {
    /// A prompt. The built-in scorer scores it unless [`Self::moral_value`] is set.
    pub fn new(prompt: impl Into<String>) -> Self {
        let request =
            engine::StepRequest { prompt: prompt.into().into(), ..engine::StepRequest::default() };
        Self { request, end_user: None, idempotency_key: None }
    }

    /// The caller's moral score of the prompt, from 0 (harmful) to 1 (harmless).
    pub fn moral_value(mut self, value: f64) -> Self {
        self.request.moral_value = Some(value);
        self
    }

    /// The maximum number of tokens of the answer, at least 1.
    pub fn max_tokens(mut self, tokens: u32) -> Self {
        self.request.max_tokens = Some(tokens.max(1).into());
        self
    }

    /// The name of the requested model, which the function of [`Builder::llm`] receives.
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.request.model = Some(model.into());
        self
    }

    /// The end user whose prompt it is. An end user's memories are not context for others.
    pub fn end_user(self, name: impl Into<String>) -> Self {
        Self { end_user: Some(name.into()), ..self }
    }

    /// Makes a retry safe: a request with the same key gets the answer of the first one.
    pub fn idempotency_key(self, key: impl Into<String>) -> Self {
        Self { idempotency_key: Some(key.into()), ..self }
    }
}

/// A governed engine of this program. Call [`Self::close`] at the end: a SQLite log belongs to one
/// process.
pub struct Engine {
    engines: Engines,
    tasks: Tasks,
}

impl Engine {
    /// The settings of a new engine.
    ///
    /// ```no_run
    /// # async fn open() -> Result<mlsdm::Engine, mlsdm::Error> {
    /// let builder = mlsdm::Engine::builder()
    ///     .llm(|request| async move { Ok(format!("{} messages, noted", request.messages.len())) })
    ///     .dimension(384)
    ///     .capacity(20_000)
    ///     .policy(|policy| policy.budget.tokens = 100_000);
    /// builder.open("sqlite://memory.db").await
    /// # }
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Runs one step. Dropping the future cancels the step, which is then recorded as failed. A prompt
    /// below the moral threshold gets an answer with `accepted` false.
    ///
    /// ```
    /// use mlsdm::Generate;
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let url = format!("sqlite://{}", folder.path().join("memory.db").display());
    /// # let engine = mlsdm::Engine::builder().llm(|_| async { Ok("Hello to you too.") }).open(&url).await?;
    /// let step = engine.generate(Generate::new("Hello").moral_value(0.8)).await?;
    /// assert!(step.accepted);
    /// assert_eq!(step.response, "Hello to you too.");
    /// # engine.close().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`Error`]. Either nothing was recorded, or the step was recorded as failed.
    pub async fn generate(&self, generate: Generate) -> Result<Answer, Error> {
        let Generate { request, end_user, idempotency_key } = generate;
        if is_blank(&request.prompt) {
            return Err(Error::BlankPrompt);
        }
        let caller = engine::Caller {
            actor: ACTOR.to_owned(),
            end_user,
            id: crate::ids::request_id(),
            client_request_id: None,
            trace_id: None,
            route: ROUTE.to_owned(),
            idempotency_key,
            may_assert: true,
            auth: None,
            key_limit: None,
            lease: None,
        };
        let engine = self.engines.get(&EngineId::default()).await?;
        let response = engine.start(&self.tasks, caller, request, None).response().await?;
        Ok(response.answer)
    }

    /// The state of the engine, with the threshold and the budget of an end user.
    pub async fn state(&self, end_user: Option<&str>) -> Result<StateReport, Error> {
        let engine = self.engines.get(&EngineId::default()).await?;
        Ok(engine.state(end_user.unwrap_or(ACTOR)).await?)
    }

    /// Waits for running steps, ends the writer and closes the log.
    ///
    /// # Errors
    /// [`Error::Unfinished`]. The log is closed nevertheless.
    pub async fn close(self) -> Result<(), Error> {
        let store = self.engines.parts().store.clone();
        let longest = self.engines.settings().timeout.saturating_add(WRITER_TIMEOUT);
        let tasks = self.tasks.clone();
        drop(self);
        let in_time = tasks.wait(longest).await;
        store.close().await;
        if in_time { Ok(()) } else { Err(Error::Unfinished) }
    }
}

/// A dropped engine accepts no further requests. Its log closes in the background.
impl Drop for Engine {
    fn drop(&mut self) {
        self.tasks.stop().begin();
        self.engines.unload_all();
    }
}
