//! `GET /metrics`, on a port of its own.
//!
//! A scrape reads the current values (engines, queues, pools, the process), then writes all
//! metrics. It shares no thread and no limit with requests: a busy server can still be scraped, and
//! a scrape cannot slow it down. Deliberately not on the public port, because metrics reveal a lot
//! about a service.

pub mod contract;
mod exporter;
mod requests;

use std::{net::TcpListener, time::Duration};

use actix_web::{
    App, HttpResponse, HttpServer,
    dev::{Server, ServerHandle},
    http::header,
    web,
};

pub use exporter::Exporter;
pub use requests::{HttpMetrics, Route, UNMATCHED};

/// The media type of a scrape.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Most connections at once; further ones wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 16;

/// Most time for the head of a request to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Most time for a running scrape when the server stops, in seconds.
const STOP_SECONDS: u64 = 2;

/// A server of scrapes, to be run until its handle stops it.
pub(super) fn serve(
    exporter: Exporter,
    listener: TcpListener,
) -> std::io::Result<(Server, ServerHandle)> {
    let exporter = web::Data::new(exporter);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(exporter.clone())
            .service(web::resource("/metrics").route(web::get().to(answer)))
    })
    .workers(1)
    .max_connections(CONNECTIONS_MAX)
    .client_request_timeout(HEAD_TIMEOUT)
    .shutdown_timeout(STOP_SECONDS)
    .disable_signals()
    .listen(listener)?
    .run();
    let handle = server.handle();
    Ok((server, handle))
}

async fn answer(exporter: web::Data<Exporter>) -> HttpResponse {
    match web::block(move || exporter.scrape()).await {
        Ok(Ok(text)) => {
            HttpResponse::Ok().insert_header((header::CONTENT_TYPE, CONTENT_TYPE)).body(text)
        }
        Ok(Err(_)) | Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

#[cfg(test)]
mod tests;
