//! The library face: one governed engine inside your own program, with your own model.
//!
//! [`Engine::builder`] opens a log and gives an [`Engine`]; [`Engine::generate`] runs one step,
//! exactly as the server does: scored, given context, answered by your model, remembered, and
//! recorded before you have the answer. Deliberately not here: HTTP, configuration files, several
//! engines in one log (see [`Engines`]).

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

/// Who asks where a request names no end user, and the route it came by, as the log has them.
const ACTOR: &str = "program";
const ROUTE: &str = "library";

/// How long the writer may take to end when an engine is closed, beyond a step's own time.
const SETTLE: Duration = Duration::from_secs(5);

/// Why an engine cannot be opened, gives no answer, or did not close.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody to ask.
    #[error("the engine has no model: call Builder::llm or Builder::provider before open")]
    NoModel,
    /// A server database without a content key.
    #[error(
        "PostgreSQL needs a content key: call Builder::content_key with 64 hexadecimal digits \
         (make them with `openssl rand -hex 32`) and keep them safe; without it contents are lost"
    )]
    NoContentKey,
    /// A prompt without a text.
    #[error("the prompt is blank: send some text")]
    BlankPrompt,
    /// The log's database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The content key.
    #[error(transparent)]
    Key(#[from] SealError),
    /// The engine or its policy.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The step was refused, or it failed.
    #[error(transparent)]
    Step(#[from] StepError),
    /// A step or the writer still ran when the time to close was over.
    #[error("the engine did not end in time; steps without an ending are closed at the next open")]
    Unfinished,
}

/// How an engine is to be; [`Self::open`] makes it.
#[derive(Debug, Default)]
#[must_use = "nothing happens before `open`"]
pub struct Builder {
    llm: Option<Llm>,
    embedder: Option<Embedder>,
    policy: Policy,
    settings: Settings,
    content_key: Option<SecretString>,
}

impl Builder {
    /// The model: a function from a request (the messages, the most tokens) to an answer, either a
    /// text or a [`Reply`]. Tokens that it does not count are estimated.
    pub fn llm<F, Fut, T>(self, model: F) -> Self
    where
        F: Fn(Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, LlmError>> + Send + 'static,
        T: Into<Reply>,
    {
        let answer = move |request: Request| -> ReplyFuture {
            let prompt_tokens = request.messages.iter().map(|m| estimate_tokens(&m.text)).sum();
            let said = model(request);
            Box::pin(async move { said.await.map(|reply| counted(reply.into(), prompt_tokens)) })
        };
        self.provider(Llm::function(Arc::new(answer)))
    }

    /// The model: one that this library brings along.
    pub fn provider(self, llm: Llm) -> Self {
        Self { llm: Some(llm), ..self }
    }

    /// What makes prompts vectors: another one than the built-in, e.g. [`Embedder::function`]. It is
    /// fixed for the life of the log, and sets [`Self::dimension`].
    pub fn embedder(mut self, embedder: Embedder) -> Self {
        self.policy.dimension = embedder.dimension();
        self.policy.embedder =
            EmbedderId { id: embedder.id().to_owned(), version: embedder.version() };
        Self { embedder: Some(embedder), ..self }
    }

    /// Components of a memory vector, 1..=4096; fixed for the life of the log. Default 384.
    pub fn dimension(mut self, dimension: usize) -> Self {
        self.policy.dimension = dimension;
        self
    }

    /// Items that are remembered, 1..=1,000,000. Default 20,000.
    pub fn capacity(mut self, items: usize) -> Self {
        self.policy.capacity = items;
        self
    }

    /// Any other field of the policy, e.g. `|policy| policy.budget.tokens = 10_000`.
    pub fn policy(mut self, change: impl FnOnce(&mut Policy)) -> Self {
        change(&mut self.policy);
        self
    }

    /// How long a step may take, all told. Default 30 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// The key that seals what is said: 64 hexadecimal digits. A SQLite log makes a file of its own
    /// beside the database without one.
    pub fn content_key(self, key: impl Into<SecretString>) -> Self {
        Self { content_key: Some(key.into()), ..self }
    }

    /// Opens the log, `sqlite://PATH` or `postgres://USER:PASSWORD@HOST/NAME`, and makes it if it is
    /// not there. A log that exists keeps its policy but for fields that this builder sets otherwise
    /// than the last one did; on PostgreSQL it keeps all of it. After an error it is closed again.
    pub async fn open(self, url: &str) -> Result<Engine, Error> {
        let llm = self.llm.ok_or(Error::NoModel)?;
        let store = Store::open(&Options::new(url)).await?;
        let content_key = match prepared(&store, self.content_key.as_ref()).await {
            Ok(key) => Arc::new(key),
            Err(error) => {
                store.close().await;
                return Err(error);
            }
        };
        let embedder = self.embedder.unwrap_or_default();
        let parts = Parts { store, content_key, llm, embedder, metrics: Arc::default() };
        let tasks = Tasks::new(Handle::current());
        let engine = Engine { engines: Engines::new(parts, self.settings, tasks.clone()), tasks };
        if let Err(error) = engine.engines.ensure_default(&self.policy).await {
            // the first error is the one that matters
            engine.close().await.ok();
            return Err(error.into());
        }
        engine.engines.start_background();
        Ok(engine)
    }
}

/// The tables, and the key of what is in them.
async fn prepared(store: &Store, key: Option<&SecretString>) -> Result<ContentKey, Error> {
    store.migrate().await?;
    Ok(match (key, store.path()) {
        (Some(key), _) => ContentKey::from_text(key.expose_secret())?,
        (None, Some(file)) => ContentKey::load_or_create(&file.with_extension("key"))?,
        (None, None) => return Err(Error::NoContentKey),
    })
}

/// A reply with its tokens, estimated where nobody counted them.
fn counted(mut reply: Reply, prompt_tokens: u64) -> Reply {
    if reply.usage == Usage::default() {
        let completion_tokens = estimate_tokens(&reply.text);
        reply.usage = Usage { prompt_tokens, completion_tokens };
    }
    reply
}

/// A request: a prompt and what is to be known of it.
#[derive(Clone)]
#[must_use = "nothing happens before `Engine::generate`"]
pub struct Generate {
    request: engine::StepRequest,
    end_user: Option<String>,
    idempotency_key: Option<String>,
}

impl Generate {
    /// A prompt; the built-in scorer judges it unless the caller does.
    pub fn new(prompt: impl Into<String>) -> Self {
        let request =
            engine::StepRequest { prompt: prompt.into(), ..engine::StepRequest::default() };
        Self { request, end_user: None, idempotency_key: None }
    }

    /// The caller's own score, 0 (harmful) to 1 (harmless).
    pub fn moral_value(mut self, value: f64) -> Self {
        self.request.moral_value = Some(value);
        self
    }

    /// Most tokens of the answer, at least 1.
    pub fn max_tokens(mut self, tokens: u32) -> Self {
        self.request.max_tokens = Some(tokens.max(1));
        self
    }

    /// The model wanted, as the function of [`Builder::llm`] understands it.
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.request.model = Some(model.into());
        self
    }

    /// Whose words the prompt is: nobody is ever told of another's.
    pub fn end_user(self, name: impl Into<String>) -> Self {
        Self { end_user: Some(name.into()), ..self }
    }

    /// Makes a repeated request safe: it gets the answer of the first.
    pub fn idempotency_key(self, key: impl Into<String>) -> Self {
        Self { idempotency_key: Some(key.into()), ..self }
    }
}

/// A governed engine of this program. Close it when done: a SQLite log belongs to one process.
pub struct Engine {
    engines: Engines,
    tasks: Tasks,
}

impl Engine {
    /// Begins to describe an engine.
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

    /// Runs one step; dropping the future cancels it, and the log says so. A request under the moral
    /// threshold is an answer with `accepted` false.
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
    /// See [`Error`]: nothing was recorded, or the step is recorded as failed.
    pub async fn generate(&self, generate: Generate) -> Result<Answer, Error> {
        let Generate { request, end_user, idempotency_key } = generate;
        if is_blank(&request.prompt) {
            return Err(Error::BlankPrompt);
        }
        let caller = engine::Caller {
            actor: ACTOR.to_owned(),
            end_user,
            request_id: crate::ids::request_id(),
            trace_id: None,
            route: ROUTE.to_owned(),
            idempotency_key,
            key_limit: None,
        };
        let engine = self.engines.get(&EngineId::default()).await?;
        let told = engine.start(&self.tasks, caller, request, None).response().await?;
        Ok(told.answer)
    }

    /// What the engine knows, with the threshold and the budget of an end user.
    pub async fn state(&self, end_user: Option<&str>) -> Result<StateReport, Error> {
        let engine = self.engines.get(&EngineId::default()).await?;
        Ok(engine.state(end_user.unwrap_or(ACTOR)).await?)
    }

    /// Lets running steps end, then ends the writer and closes the log.
    ///
    /// # Errors
    /// [`Error::Unfinished`]; the log is closed all the same.
    pub async fn close(self) -> Result<(), Error> {
        let store = self.engines.parts().store.clone();
        let longest = self.engines.settings().timeout.saturating_add(SETTLE);
        let tasks = self.tasks.clone();
        drop(self);
        let in_time = tasks.wait(longest).await;
        store.close().await;
        if in_time { Ok(()) } else { Err(Error::Unfinished) }
    }
}

/// An engine that is not closed takes nothing new either; its log is closed some time later.
impl Drop for Engine {
    fn drop(&mut self) {
        self.tasks.stop().begin();
        self.engines.unload_all();
    }
}
