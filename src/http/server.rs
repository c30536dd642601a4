//! Listens, serves, and stops in order.
//!
//! Deliberately not here: building what is served ([`startup`](crate::startup)).

mod descriptors;
mod error;
mod starting;

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use actix_web::{
    HttpServer,
    dev::{Server, ServerHandle},
    web::Data,
};
use tokio::time::{sleep, timeout};

pub use error::ServeError;
pub use starting::Starting;

use super::{
    AppState, create_app,
    metrics::{self, Exporter, HttpMetrics},
};
use crate::{
    config::Config,
    engine::Engines,
    lifecycle::Tasks,
    tls::{self, Tls},
};

/// The maximum time that background tasks may take to end after the listener has stopped, in
/// addition to the timeout of a step.
const SETTLE: Duration = Duration::from_secs(5);

/// The time for the last bytes of responses to reach their clients, before connections that are open
/// after the last response are closed.
const FLUSH: Duration = Duration::from_secs(1);

/// The maximum time for recording the requests that left no step.
const RECORDING: Duration = Duration::from_secs(2);

/// Binds the address of the API.
pub fn listen(config: &Config) -> Result<TcpListener, ServeError> {
    let address = SocketAddr::new(config.api.host, config.api.port);
    let listener = TcpListener::bind(address)
        .map_err(|source| ServeError::Listen { address: address.to_string(), source })?;
    // the kernel closes connections whose client does not read its answer: nothing else notices
    // such a client. Accepted connections inherit the option
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(&listener).set_tcp_user_timeout(Some(config.limits.write_timeout()))?;
    Ok(listener)
}

/// Binds the configured address for scrapes, if metrics are enabled.
///
/// # Errors
/// When the address cannot be bound.
pub fn listen_for_scrapes(config: &Config) -> Result<Option<TcpListener>, ServeError> {
    if !config.monitoring.enabled {
        return Ok(None);
    }
    let address = SocketAddr::new(config.api.host, config.monitoring.metrics_port);
    TcpListener::bind(address)
        .map(Some)
        .map_err(|source| ServeError::ListenMetrics { address: address.to_string(), source })
}

/// The listening sockets of a server.
#[derive(Debug)]
pub struct Listener {
    /// For the API.
    pub api: TcpListener,
    /// For scrapes; `None` if metrics are disabled.
    pub metrics: Option<TcpListener>,
}

/// Serves until the stop that the state's tasks announce, then ends steps, writers and the event log
/// in that order. Returns false if they did not end in time.
pub async fn serve(
    config: &Config,
    state: AppState,
    listener: Listener,
) -> Result<bool, ServeError> {
    let state = Data::new(state);
    let (engines, tasks) = (state.engines.clone(), state.tasks.clone());
    let metrics = Arc::clone(&state.metrics);
    let tls = Tls::open(&config.tls)?;
    // only TLS negotiates HTTP/2
    let (has_http_2, serving) = (tls.is_some(), state.clone());
    if let Some(rates) = &state.rates {
        tasks.spawn("rates", Arc::clone(rates).sweep_until(tasks.stop().clone()));
    }
    let server = http_server(config, state, tls, listener.api)?;
    let scrapes = match listener.metrics {
        Some(listener) => Some(serve_metrics(config, &engines, &metrics, &tasks, listener)?),
        None => None,
    };
    tasks.spawn_stopper(stop(server.handle(), tasks.clone(), config.llm.drain_timeout()));
    let hard = tasks.stop().clone();
    tokio::select! {
        ended = server => ended?,
        // actix cannot shorten a graceful stop that has begun: its workers are left behind
        () = hard.hard() => {}
        // a graceful stop of actix waits for idle connections of HTTP/2, which it cannot close
        () = last_response(serving), if has_http_2 => {}
    }
    if let Some(scrapes) = scrapes {
        // a scrape may wait for the database
        drop(timeout(RECORDING, scrapes.stop(true)).await);
    }
    // after the last request, and while the engines are loaded; a database that hangs loses the counts
    drop(timeout(RECORDING, engines.record_all_refusals()).await);
    // a writer ends when the last reference to its engine is dropped
    engines.unload_all();
    let store = engines.parts().store.clone();
    drop(engines);
    let in_time = tasks.wait(config.api.timeout() + SETTLE).await;
    store.close().await;
    Ok(in_time)
}

/// Resolves after the last response of a server that stops.
async fn last_response(state: Data<AppState>) {
    state.stop.soft().await;
    state.step_limiter.until_idle().await;
    state.limiter.until_idle().await;
    sleep(FLUSH).await;
}

/// The server of the API, which starts when it is polled.
fn http_server(
    config: &Config,
    state: Data<AppState>,
    tls: Option<Tls>,
    listener: TcpListener,
) -> Result<Server, ServeError> {
    let tasks = state.tasks.clone();
    let workers = config.api.workers();
    let connections = descriptors::connections_per_worker(workers, config.database.max_connections);
    let server = HttpServer::new(move || create_app(state.clone()))
        .workers(workers)
        .max_connections(connections)
        .shutdown_timeout((config.llm.drain_timeout() + SETTLE).as_secs())
        // a client that has closed its side is gone: without this it is noticed only when bytes are
        // sent to it
        .h1_allow_half_closed(false)
        // Nagle's algorithm would delay the pieces of a stream
        .tcp_nodelay(true)
        .client_request_timeout(config.limits.header_timeout())
        .tls_handshake_timeout(config.limits.header_timeout())
        .keep_alive(config.limits.keep_alive())
        .on_connect(tls::on_connect)
        .disable_signals();
    let server = match tls {
        None => server.listen(listener)?,
        Some(Tls { config: rustls, certificate }) => {
            let watching = certificate.watch(config.tls.reload(), tasks.stop().clone())?;
            tasks.spawn("tls", watching);
            server.listen_rustls_0_23(listener, rustls)?
        }
    };
    Ok(server.run())
}

/// Serves metrics until the returned handle stops it: after the last request, so that a drain is
/// visible in the metrics.
fn serve_metrics(
    config: &Config,
    engines: &Engines,
    metrics: &HttpMetrics,
    tasks: &Tasks,
    listener: TcpListener,
) -> std::io::Result<ServerHandle> {
    let policy = config.mlsdm.policy.clone();
    let exporter = Exporter::new(engines.clone(), metrics, policy, tasks.runtime().clone());
    let (server, handle) = metrics::serve(exporter, listener)?;
    let (engines, listed) = (engines.clone(), config.monitoring.engines.clone());
    // the gauges of an engine that was never loaded would be 0, which is not a valid threshold
    let load = async move {
        for engine in listed {
            // an engine that does not exist yet has no metrics
            drop(engines.get(&engine).await);
        }
    };
    tasks.spawn("metrics", async move {
        let (ended, ()) = tokio::join!(server, load);
        if let Err(error) = ended {
            tracing::error!(event_type = "metrics.ended", %error, "the metrics server failed");
        }
    });
    Ok(handle)
}

/// Stops the listener gracefully when the soft stop begins. Answers that are not complete after the
/// drain time end with an error.
async fn stop(handle: ServerHandle, tasks: Tasks, drain: Duration) {
    let stop = tasks.stop();
    stop.soft().await;
    let drained = async {
        sleep(drain).await;
        stop.end_drain();
    };
    tokio::select! {
        () = handle.stop(true) => {}
        () = async { drained.await; std::future::pending().await } => {}
    }
}
