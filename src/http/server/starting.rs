//! Answers requests while the server starts: a long log takes its time to replay, and the listening
//! socket accepts connections from the first moment.

use std::net::TcpListener;

use actix_web::{
    App, HttpResponse, HttpServer, ResponseError as _, dev::ServerHandle, http::KeepAlive,
    middleware::from_fn, web,
};

use super::{Listener, ServeError};
use crate::{
    config::Config,
    http::{Code, Endpoint, Problem, health::live, middleware::request_context::request_context},
    lifecycle::Tasks,
    tls::{self, Tls},
};

/// Most connections at once; further ones wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 256;

/// Most time for a response that is being sent when the server has started, in seconds.
const STOP_SECONDS: u64 = 1;

/// A server that is alive and answers everything else with 503.
pub struct Starting(ServerHandle);

impl Starting {
    /// Answers the connections of these sockets until [`Self::stop`].
    ///
    /// # Errors
    /// When the sockets cannot be shared, or TLS is not configured properly.
    pub fn answer(config: &Config, listener: &Listener, tasks: &Tasks) -> Result<Self, ServeError> {
        let server = HttpServer::new(|| {
            App::new()
                .service(Endpoint::at("/health/live").get(live::get).build())
                .default_service(web::to(async || not_yet()))
                .wrap(from_fn(request_context))
        })
        .workers(1)
        // the next request of a client is for the server that has started
        .keep_alive(KeepAlive::Disabled)
        .max_connections(CONNECTIONS_MAX)
        .client_request_timeout(config.limits.header_timeout())
        .tls_handshake_timeout(config.limits.header_timeout())
        .on_connect(tls::on_connect)
        .shutdown_timeout(STOP_SECONDS)
        .disable_signals();
        let api = listener.api.try_clone()?;
        let server = match Tls::open(&config.tls)? {
            None => server.listen(api)?,
            Some(Tls { config: rustls, .. }) => server.listen_rustls_0_23(api, rustls)?,
        };
        let metrics = listener.metrics.as_ref().map(TcpListener::try_clone).transpose()?;
        let server = match metrics {
            None => server,
            Some(metrics) => server.listen(metrics)?,
        };
        let server = server.run();
        let handle = server.handle();
        tasks.spawn("starting", async move {
            if let Err(error) = server.await {
                tracing::error!(event_type = "server.starting_failed", %error, "requests wait until the server has started");
            }
        });
        Ok(Self(handle))
    }

    /// Leaves further connections to the server that has started.
    pub async fn stop(self) {
        self.0.stop(true).await;
    }
}

fn not_yet() -> HttpResponse {
    let detail = "the server is starting and replays its event logs; try again later";
    Problem::new(Code::Starting, detail).error_response()
}
