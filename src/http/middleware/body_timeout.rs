//! Limits the time in which a request body must arrive.
//!
//! The framework limits the time of the head, and the kernel that of clients which do not read their
//! response (see [`server::listen`](crate::http::server::listen)).

use std::{
    io, mem,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::{
    Error, HttpMessage as _,
    body::MessageBody,
    dev::{Payload, ServiceRequest, ServiceResponse},
    error::PayloadError,
    middleware::Next,
    web::{self, Bytes},
};
use futures_util::Stream;
use tokio::time::{Sleep, sleep};

use crate::http::{AppState, time_limit};

/// Time for sending the 408 response before the connection is closed.
const RESPONSE_MAX: Duration = Duration::from_secs(1);

/// Puts the body of a request under the time limit.
pub(in crate::http) async fn body_timeout<B: MessageBody + 'static>(
    state: web::Data<AppState>,
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let payload = request.take_payload();
    request.set_payload(if matches!(payload, Payload::None) {
        payload
    } else {
        boxed(BodyTimeout { payload, limit: state.body_timeout, deadline: None })
    });
    next.call(request).await
}

fn boxed(chunks: impl Stream<Item = Result<Bytes, PayloadError>> + 'static) -> Payload {
    Payload::Stream { payload: Box::pin(chunks) }
}

/// A body with a deadline. The time starts at the first read that has to wait.
struct BodyTimeout {
    payload: Payload,
    limit: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Stream for BodyTimeout {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Poll::Ready(chunk) = Pin::new(&mut this.payload).poll_next(context) {
            time_limit::restart_after(Duration::ZERO);
            return Poll::Ready(chunk);
        }
        time_limit::restart_after(this.limit);
        let limit = this.limit;
        let deadline = this.deadline.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(deadline.as_mut().poll(context));
        // if a chunked payload is dropped, actix waits for its rest without a limit; if it is still
        // alive when the response has been sent, actix closes the connection
        let unread = mem::replace(&mut this.payload, Payload::None);
        actix_web::rt::spawn(async move {
            sleep(RESPONSE_MAX).await;
            drop(unread);
        });
        Poll::Ready(Some(Err(PayloadError::Io(io::ErrorKind::TimedOut.into()))))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};

    use super::*;

    fn limited(chunks: impl Stream<Item = Result<Bytes, PayloadError>> + 'static) -> BodyTimeout {
        BodyTimeout { payload: boxed(chunks), limit: Duration::from_secs(10), deadline: None }
    }

    #[actix_web::test]
    async fn a_body_that_arrives_byte_by_byte_does_not_extend_the_limit() {
        tokio::time::pause();
        let slow = stream::unfold((), |()| async {
            sleep(Duration::from_secs(3)).await;
            Some((Ok(Bytes::from_static(b"x")), ()))
        });
        let started = tokio::time::Instant::now();
        let read: Vec<_> = limited(slow).take(4).collect().await;
        assert_eq!(started.elapsed().as_secs(), 10);
        assert!(read[..3].iter().all(Result::is_ok));
        let Err(PayloadError::Io(error)) = &read[3] else { panic!("{read:?}") };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[actix_web::test]
    async fn a_body_within_the_limit_passes() {
        tokio::time::pause();
        let late = stream::once(async {
            sleep(Duration::from_secs(9)).await;
            Ok(Bytes::from_static(b"all"))
        });
        let read: Vec<_> = limited(late).collect().await;
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].as_ref().unwrap(), "all");
    }
}
