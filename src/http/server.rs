//! The server put together: log, engines, listener; and taken apart again.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
    time::Duration,
};

use actix_web::{HttpServer, dev::ServerHandle, web::Data};

use super::{
    AppState, create_app,
    metrics::{self, Exporter},
};
use crate::{
    auth::{self, Authenticator},
    config::{self, Config, EmbeddingsProvider, LlmProvider},
    embed::{self, Embedder, OpenaiSettings},
    engine::{EngineError, Engines, Parts, Settings, recorded},
    lifecycle::Tasks,
    llm::{Llm, Replay, SetupError},
    store::{
        self, Store, StoreError, fold::FoldingError, keys::ContentKey, seal::SealError,
        writer::Limits,
    },
    tls::{self, Tls, TlsError},
};

/// How long tasks may take to end after the listener has stopped, beyond a step's own time.
const SETTLE: Duration = Duration::from_secs(5);

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log's database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The content key.
    #[error(transparent)]
    Key(#[from] SealError),
    /// PostgreSQL without a content key.
    #[error(
        "PostgreSQL needs a content key: set MLSDM_CONTENT_KEY or MLSDM_CONTENT_KEY_FILE \
         (make one with `openssl rand -hex 32`) and keep it safe; without it contents are lost"
    )]
    NoContentKey,
    /// The embedder.
    #[error(transparent)]
    Embedder(#[from] embed::OpenError),
    /// The default engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The models.
    #[error(transparent)]
    Llm(#[from] SetupError),
    /// Who may call.
    #[error(transparent)]
    Auth(#[from] auth::SetupError),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address.
    #[error("cannot listen on {address}: {source}; choose another API_PORT or stop who holds it")]
    Listen {
        /// Wanted.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The address of metrics.
    #[error(
        "cannot serve metrics on {address}: {source}; choose another METRICS_PORT, or set \
         METRICS_ENABLED=false"
    )]
    ListenMetrics {
        /// Wanted.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The process.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// The database options of a configuration.
pub fn store_options(database: &config::Database) -> store::Options {
    store::Options {
        max_connections: database.max_connections,
        pooler: database.pooler,
        statement_timeout: database.statement_timeout(),
        lock_timeout: database.lock_timeout(),
        connect_timeout: database.acquire_timeout(),
        ..store::Options::new(database.url.clone())
    }
}

/// The content key of a configuration; a SQLite database has one in a file beside it.
pub fn content_key(
    database: &config::Database,
    sqlite: Option<&Path>,
    create: bool,
) -> Result<ContentKey, StartError> {
    use secrecy::ExposeSecret as _;
    if let Some(key) = database.content_key() {
        return Ok(ContentKey::from_text(key.expose_secret())?);
    }
    let file = sqlite.ok_or(StartError::NoContentKey)?.with_extension("key");
    Ok(if create { ContentKey::load_or_create(&file)? } else { ContentKey::from_file(&file)? })
}

/// Opens the log and its engines; the default engine is made if it is missing.
pub async fn open_engines(config: &Config, llm: Llm, tasks: &Tasks) -> Result<Engines, StartError> {
    let engines = bare_engines(config, llm, tasks).await?;
    try_embedder(&engines.parts().embedder).await?;
    if engines.ensure_default(&config.mlsdm.policy).await? {
        tracing::warn!(
            event_type = "policy.drift",
            "the configured policy differs from the default engine's; `mlsdm policy apply` applies it"
        );
    }
    engines.start_background();
    Ok(engines)
}

/// Opens the log as a writer, and nothing more: no engine is made, loaded or followed.
pub async fn bare_engines(config: &Config, llm: Llm, tasks: &Tasks) -> Result<Engines, StartError> {
    let store = Store::open(&store_options(&config.database)).await?;
    store.migrate().await?;
    let content_key = Arc::new(content_key(&config.database, store.path(), true)?);
    let embedder = embedder(config)?;
    let metrics = Arc::new(metrics::metrics(config, &store, &llm, &embedder));
    let parts = Parts { store, content_key, llm, embedder, metrics };
    let settings = Settings {
        default: config.engine.default_id().clone(),
        timeout: config.api.timeout(),
        grace: config.engine.abandon_grace(),
        limits: Limits {
            queue: config.limits.writer_queue,
            batch_events: config.limits.batch_events,
            batch_bytes: config.limits.batch_bytes,
        },
        memory_budget: config.engine.memory_budget_bytes() as usize,
        idle_evict: config.engine.idle_evict(),
        audit: config.audit.pace(),
    };
    Ok(Engines::new(parts, settings, tasks.clone()))
}

/// The models of a configuration. Recorded answers are read here, from a log that exists.
pub async fn llm(config: &Config) -> Result<Llm, StartError> {
    let replay = if config.llm.providers().contains(&LlmProvider::Replay) {
        recorded_answers(config).await?
    } else {
        Replay::default()
    };
    Ok(Llm::configured(&config.llm, &Arc::new(replay))?)
}

/// The answers of the log that the `replay` provider names. The server's own may be still to come;
/// another one must be there.
async fn recorded_answers(config: &Config) -> Result<Replay, StartError> {
    let named = config.llm.replay.database();
    let own = store_options(&config.database);
    let options = store::Options { url: named.unwrap_or(&own.url).clone(), ..own };
    if named.is_none() && options.sqlite_file()?.is_some_and(|file| !file.exists()) {
        return Ok(Replay::default());
    }
    let store = Store::open_read_only(&options).await?;
    let key = Arc::new(content_key(&config.database, store.path(), false)?);
    let replay = recorded(&store, &key, &config.llm.replay.engine).await;
    store.close().await;
    match replay {
        Ok(replay) => {
            tracing::info!(
                event_type = "llm.replay_loaded",
                answers = replay.len(),
                "recorded answers are read"
            );
            Ok(replay)
        }
        Err(error) if named.is_none() && is_empty_log(&error) => Ok(Replay::default()),
        Err(error) => Err(error.into()),
    }
}

/// Whether a log has nothing yet: no tables, or not this engine.
fn is_empty_log(error: &EngineError) -> bool {
    let EngineError::Folding(folding) = error else { return false };
    matches!(
        &**folding,
        FoldingError::Store(StoreError::Unmigrated(_) | StoreError::EngineMissing(_))
    )
}

/// The embedder of a configuration. One that is a server is not asked anything yet.
pub fn embedder(config: &Config) -> Result<Embedder, embed::OpenError> {
    let (embeddings, dimension) = (&config.embeddings, config.mlsdm.policy.dimension);
    let embedder = match embeddings.provider {
        EmbeddingsProvider::Hashing => Embedder::hashing(dimension),
        EmbeddingsProvider::Minilm => Embedder::minilm(&embeddings.path)?,
        EmbeddingsProvider::Openai => Embedder::openai(&OpenaiSettings {
            base_url: embeddings.base_url.clone(),
            model: embeddings.model.clone(),
            api_key: embeddings.api_key().cloned(),
            dimension,
            timeout: embeddings.timeout(),
        })?,
    };
    Ok(embedder.cached(embeddings.cache_bytes()))
}

/// Embeds one text, so that a wrong dimension or key is found at the start and not by a caller. A
/// server that is not there just now is no reason not to start.
async fn try_embedder(embedder: &Embedder) -> Result<(), StartError> {
    match embedder.probe().await {
        Ok(()) => Ok(()),
        Err(error) if error.is_passing() => {
            tracing::warn!(
                event_type = "embedder.unavailable",
                embedder = embedder.id(),
                "no text can be embedded now: {error}"
            );
            Ok(())
        }
        Err(error) => Err(embed::OpenError::Probe(error).into()),
    }
}

/// Who may call, by a configuration, the keys of the server's own log and a clock. That log is made
/// if it is not there.
pub async fn authenticator(
    config: &Config,
    engines: &Engines,
    tasks: &Tasks,
    clock: auth::Clock,
) -> Result<Arc<Authenticator>, StartError> {
    let path = engines.parts().store.path();
    let auth = Authenticator::open(config, path, tasks, clock).await?;
    auth.follow(engines.system().await?.views(), tasks);
    Ok(auth)
}

/// Listens where the configuration says.
pub fn listen(config: &Config) -> Result<TcpListener, StartError> {
    let address = SocketAddr::new(config.api.host, config.api.port);
    let listener = TcpListener::bind(address)
        .map_err(|source| StartError::Listen { address: address.to_string(), source })?;
    // who does not read what he asked for is cut off by the kernel: nothing else sees him. What is
    // set here, connections inherit
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(&listener).set_tcp_user_timeout(Some(config.limits.write_timeout()))?;
    Ok(listener)
}

/// Where a server listens.
#[derive(Debug)]
pub struct Listener {
    /// For requests.
    pub api: TcpListener,
    /// For scrapes of metrics, if there are any.
    pub metrics: Option<TcpListener>,
}

/// Serves until the stop that `tasks` tells of, then ends steps, writers and the log in that order.
/// Gives whether everything ended in time.
pub async fn serve(
    config: &Config,
    auth: Arc<Authenticator>,
    engines: Engines,
    tasks: Tasks,
    listener: Listener,
) -> Result<bool, StartError> {
    let state = Data::new(AppState::new(config, auth, engines.clone(), tasks.clone()));
    let tls = Tls::open(&config.tls)?;
    if let Some(rates) = &state.rates {
        tasks.spawn("rates", std::sync::Arc::clone(rates).sweep_until(tasks.stop().clone()));
    }
    let server = HttpServer::new(move || create_app(state.clone()))
        .workers(config.api.workers())
        .shutdown_timeout(config.api.timeout().as_secs() + 1)
        // a streamed piece must not wait for the one before to be acknowledged
        .tcp_nodelay(true)
        .client_request_timeout(config.limits.header_timeout())
        .tls_handshake_timeout(config.limits.header_timeout())
        .keep_alive(config.limits.keep_alive())
        .on_connect(tls::on_connect)
        .disable_signals();
    let server = match tls {
        None => server.listen(listener.api)?,
        Some(Tls { config: rustls, certificate }) => {
            let watching = certificate.watch(config.tls.reload(), tasks.stop().clone())?;
            tasks.spawn("tls", watching);
            server.listen_rustls_0_23(listener.api, rustls)?
        }
    };
    let scrapes =
        listener.metrics.map(|listener| serve_metrics(config, &engines, &tasks, listener));
    let scrapes = scrapes.transpose()?;
    let server = server.run();
    let handle = server.handle();
    tasks.spawn_stopper(stop(handle, tasks.clone()));
    let hard = tasks.stop().clone();
    tokio::select! {
        ended = server => ended?,
        // a graceful stop of the listener cannot be hurried: its workers are left behind
        () = hard.hard() => {}
    }
    if let Some(scrapes) = scrapes {
        scrapes.stop(true).await;
    }
    // the engines' writers end when nobody holds their engines any more
    engines.unload_all();
    let store = engines.parts().store.clone();
    drop(engines);
    let in_time = tasks.wait(config.api.timeout() + SETTLE).await;
    store.close().await;
    Ok(in_time)
}

/// Serves metrics until the handle stops it: after the last request, so that a drain can be seen.
fn serve_metrics(
    config: &Config,
    engines: &Engines,
    tasks: &Tasks,
    listener: TcpListener,
) -> std::io::Result<ServerHandle> {
    let policy = config.mlsdm.policy.clone();
    let exporter = Exporter::new(engines.clone(), policy, tasks.runtime().clone());
    let (server, handle) = metrics::serve(exporter, listener)?;
    let (engines, listed) = (engines.clone(), config.monitoring.engines.clone());
    // gauges of an engine that was never loaded would be 0, which is no threshold
    let load = async move {
        for engine in listed {
            // one that nobody has made yet has nothing to show
            drop(engines.get(&engine).await);
        }
    };
    tasks.spawn("metrics", async move {
        let (ended, ()) = tokio::join!(server, load);
        if let Err(error) = ended {
            tracing::error!(event_type = "metrics.ended", %error, "metrics are served no more");
        }
    });
    Ok(handle)
}

/// Stops the listener: gracefully at first, at once when told so.
async fn stop(handle: ServerHandle, tasks: Tasks) {
    tasks.stop().soft().await;
    handle.stop(true).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embed::{EmbedError, OpenError};

    fn failing(error: EmbedError) -> Embedder {
        let function: embed::Function = Arc::new(move |_| {
            let error = error.clone();
            Box::pin(async move { Err(error) })
        });
        Embedder::function("own", 1, 2, function)
    }

    #[tokio::test]
    async fn an_embedder_that_is_away_is_waited_for_and_a_wrong_one_is_not() {
        try_embedder(&Embedder::default()).await.unwrap();
        try_embedder(&failing(EmbedError::Unreachable)).await.unwrap();
        let wrong = EmbedError::Dimension { expected: 2, actual: 3 };
        for error in [wrong, EmbedError::NotFinite, EmbedError::Unauthorized { status: 401 }] {
            let refused = try_embedder(&failing(error.clone())).await.unwrap_err();
            let StartError::Embedder(OpenError::Probe(found)) = refused else {
                panic!("{refused}")
            };
            assert_eq!(found, error);
        }
    }
}
