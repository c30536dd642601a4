//! Notices that a client of HTTP/2 has left before its response has begun.
//!
//! actix drops the handler of a client that closes a connection of HTTP/1. Over HTTP/2 it notices only
//! when it sends a byte. The body of the request tells sooner: at its end it is an error if the client
//! has reset the stream or closed the connection.

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    HttpMessage as _,
    dev::{Payload, ServiceRequest},
    error::PayloadError,
    web::Bytes,
};
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use tokio::time::sleep;

/// Time between two looks at a body, which wakes nobody when its stream is reset.
const INTERVAL: Duration = Duration::from_secs(1);

/// The body of a request that the handler and [`Departure`] share.
struct SharedBody {
    payload: Payload,
    /// True once the handler has read all of it.
    has_ended: bool,
}

/// The stream of the handler.
struct BodyStream(Rc<RefCell<SharedBody>>);

impl Stream for BodyStream {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut body = self.0.borrow_mut();
        let next = body.payload.poll_next_unpin(context);
        if matches!(next, Poll::Ready(None)) {
            body.has_ended = true;
        }
        next
    }
}

impl Drop for BodyStream {
    /// A decoder stops at the end of its format, without a poll of the end of the body.
    fn drop(&mut self) {
        if let Ok(mut body) = self.0.try_borrow_mut() {
            body.has_ended = true;
        }
    }
}

/// The departure of the client of one request.
pub(super) struct Departure(Option<Rc<RefCell<SharedBody>>>);

impl Departure {
    /// Watches a request over HTTP/2; other requests need no watch.
    pub(super) fn watch(request: &mut ServiceRequest) -> Self {
        let payload = request.take_payload();
        if !matches!(payload, Payload::H2 { .. }) {
            request.set_payload(payload);
            return Self(None);
        }
        let body = Rc::new(RefCell::new(SharedBody { payload, has_ended: false }));
        let stream = Box::pin(BodyStream(Rc::clone(&body)));
        request.set_payload(Payload::Stream { payload: stream });
        Self(Some(body))
    }

    /// Resolves when the client has left after it had sent its request.
    pub(super) async fn left(&self) {
        let Some(body) = &self.0 else { return std::future::pending().await };
        loop {
            sleep(INTERVAL).await;
            let mut body = body.borrow_mut();
            while body.has_ended {
                match body.payload.next().now_or_never() {
                    Some(Some(Err(_))) => return,
                    // what a decoder left
                    Some(Some(Ok(_))) => {}
                    Some(None) | None => break,
                }
            }
        }
    }
}
