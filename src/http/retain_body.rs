//! A response body that owns a value until it has been sent or the client has disconnected.
//!
//! A streamed answer outlives its handler; what belongs to the request (its permit, its log line, its
//! span) must live as long.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    body::{BodySize, BoxBody, MessageBody},
    web::Bytes,
};
use tracing::Span;

/// A body with a value that is dropped just before it.
pub(super) struct RetainBody<T> {
    retained: T,
    body: BoxBody,
    /// Entered for each chunk. The last field: a span ends when its last handle is dropped.
    span: Span,
}

impl<T: Unpin + 'static> RetainBody<T> {
    pub(super) fn boxed(body: BoxBody, retained: T, span: Span) -> BoxBody {
        BoxBody::new(Self { retained, body, span })
    }
}

impl<T: Unpin> MessageBody for RetainBody<T> {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.get_mut();
        let _entered = this.span.enter();
        Pin::new(&mut this.body).poll_next(context)
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        let Self { body, retained, span } = self;
        body.try_into_bytes().map_err(|body| Self { retained, body, span })
    }
}
