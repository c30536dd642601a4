//! The bytes of a body, counted in the lease of its request.

use std::sync::Arc;

use actix_web::web::{Bytes, BytesMut};

use crate::{
    config::BODY_COPIES,
    http::{Code, Problem, problem::from_actix},
    inflight::Lease,
};

/// The largest buffer that is allocated before the first byte has arrived.
const CAPACITY_MAX: usize = 64 * 1024;

/// The decompressed part of a body, within the limits.
pub(super) struct Buffer {
    bytes: BytesMut,
    /// The size that the client announced; 0 if it did not.
    announced: usize,
    pub(super) max: usize,
    lease: Option<Arc<Lease>>,
}

impl Buffer {
    pub(super) fn new(announced: usize, max: usize, lease: Option<Arc<Lease>>) -> Self {
        let bytes = BytesMut::with_capacity(announced.min(CAPACITY_MAX));
        Self { bytes, announced: announced.min(max), max, lease }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends bytes, as far as the limits allow.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<(), Problem> {
        if self.bytes.len() + chunk.len() > self.max {
            return Err(from_actix::too_large(self.max));
        }
        let leased =
            self.lease.as_ref().is_none_or(|lease| lease.try_add_body(chunk.len() * BODY_COPIES));
        if !leased {
            let detail = "the requests that run hold too much memory; try again later, or raise \
                          limits.inflight_bytes";
            return Err(Problem::new(Code::OverMemory, detail));
        }
        let is_full = self.bytes.capacity() < self.bytes.len() + chunk.len();
        if is_full && self.bytes.len() + chunk.len() <= self.announced {
            // a buffer that grows by doubling takes up to three times the size of the body
            self.bytes.reserve(self.announced - self.bytes.len());
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.bytes.freeze()
    }
}
