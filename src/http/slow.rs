//! Bodies that do not come: a request that has begun must have arrived within a time.
//!
//! Heads are the framework's to time; readers who do not read are the kernel's (see
//! [`server::listen`](super::server::listen)).

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

use super::AppState;

/// Time in which the answer to a body that did not come has been sent.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// Gives the body of each request so much time.
pub(super) async fn body<B: MessageBody + 'static>(
    state: web::Data<AppState>,
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let payload = request.take_payload();
    request.set_payload(if matches!(payload, Payload::None) {
        payload
    } else {
        boxed(Timed { payload, allowed: state.body_timeout, running: None })
    });
    next.call(request).await
}

fn boxed(pieces: impl Stream<Item = Result<Bytes, PayloadError>> + 'static) -> Payload {
    Payload::Stream { payload: Box::pin(pieces) }
}

/// A body under a deadline, which begins when something of it is missing.
struct Timed {
    payload: Payload,
    allowed: Duration,
    running: Option<Pin<Box<Sleep>>>,
}

impl Stream for Timed {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Poll::Ready(piece) = Pin::new(&mut this.payload).poll_next(context) {
            return Poll::Ready(piece);
        }
        let allowed = this.allowed;
        let running = this.running.get_or_insert_with(|| Box::pin(sleep(allowed)));
        ready!(running.as_mut().poll(context));
        // of a chunked body that nobody holds any more the framework waits for the rest, for ever;
        // one that is held when the answer has been sent makes it close the connection
        let unread = mem::replace(&mut this.payload, Payload::None);
        actix_web::rt::spawn(async move {
            sleep(ANSWER_MAX).await;
            drop(unread);
        });
        Poll::Ready(Some(Err(PayloadError::Io(io::ErrorKind::TimedOut.into()))))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};

    use super::*;

    fn timed(pieces: impl Stream<Item = Result<Bytes, PayloadError>> + 'static) -> Timed {
        Timed { payload: boxed(pieces), allowed: Duration::from_secs(10), running: None }
    }

    #[actix_web::test]
    async fn drops_of_a_body_do_not_win_time() {
        tokio::time::pause();
        let drops = stream::unfold((), |()| async {
            sleep(Duration::from_secs(3)).await;
            Some((Ok(Bytes::from_static(b"x")), ()))
        });
        let begun = tokio::time::Instant::now();
        let read: Vec<_> = timed(drops).take(4).collect().await;
        assert_eq!(begun.elapsed().as_secs(), 10);
        assert!(read[..3].iter().all(Result::is_ok));
        let Err(PayloadError::Io(error)) = &read[3] else { panic!("{read:?}") };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[actix_web::test]
    async fn a_body_in_time_passes() {
        tokio::time::pause();
        let late = stream::once(async {
            sleep(Duration::from_secs(9)).await;
            Ok(Bytes::from_static(b"all"))
        });
        let read: Vec<_> = timed(late).collect().await;
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].as_ref().unwrap(), "all");
    }
}
