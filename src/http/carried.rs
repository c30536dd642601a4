//! A body that keeps something with it until it has been sent, or whoever asked went away: an answer may be
//! streamed, and then its request lasts as long.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    body::{BodySize, BoxBody, MessageBody},
    web::Bytes,
};
use tracing::Span;

/// The body, and what is dropped with it, just before.
pub(super) struct Carried<T> {
    kept: T,
    body: BoxBody,
    /// Entered for each piece; last, since a span ends when it is left for the last time.
    span: Span,
}

impl<T: Unpin + 'static> Carried<T> {
    pub(super) fn boxed(body: BoxBody, kept: T, span: Span) -> BoxBody {
        BoxBody::new(Self { kept, body, span })
    }
}

impl<T: Unpin> MessageBody for Carried<T> {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.get_mut();
        let _inside = this.span.enter();
        Pin::new(&mut this.body).poll_next(context)
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        let Self { body, kept, span } = self;
        body.try_into_bytes().map_err(|body| Self { kept, body, span })
    }
}
