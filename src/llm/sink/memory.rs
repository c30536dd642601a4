//! The memory that an answer takes while it arrives, counted in the lease of its request.

use std::sync::Arc;

use crate::{inflight::Lease, llm::LlmError};

/// The memory that an answer takes, in multiples of its size: its text, its form in the provider's
/// dialect, and the content that is sealed or the pieces that are not sent yet.
const ANSWER_COPIES: usize = 3;

/// The memory of a tree of values, in multiples of its JSON form.
const TREE_FACTOR: usize = 8;

/// Bytes that are added to the lease at once, so that small pieces cost nothing.
const STEP: usize = 16 * 1024;

/// The share of an answer in the memory of all requests. Without a lease it is not bounded.
#[derive(Default)]
pub(super) struct AnswerMemory {
    lease: Option<Arc<Lease>>,
    /// Bytes of the lease that are not used yet.
    spare: usize,
}

impl AnswerMemory {
    pub(super) const fn new(lease: Option<Arc<Lease>>) -> Self {
        Self { lease, spare: 0 }
    }

    /// Counts bytes of the answer, with their copies.
    ///
    /// # Errors
    /// [`LlmError::OverMemory`] if the memory of all requests is spent.
    pub(super) fn add_answer(&mut self, bytes: usize) -> Result<(), LlmError> {
        self.add(bytes.saturating_mul(ANSWER_COPIES))
    }

    /// Counts a tree of values by the bytes of its JSON form.
    ///
    /// # Errors
    /// As [`Self::add_answer`].
    pub(super) fn add_tree(&mut self, bytes: usize) -> Result<(), LlmError> {
        self.add(bytes.saturating_mul(TREE_FACTOR))
    }

    /// Counts bytes that are held once.
    ///
    /// # Errors
    /// As [`Self::add_answer`].
    pub(super) fn add(&mut self, bytes: usize) -> Result<(), LlmError> {
        let Some(lease) = &self.lease else { return Ok(()) };
        if bytes > self.spare {
            let more = (bytes - self.spare).next_multiple_of(STEP);
            if !lease.try_add(more) {
                return Err(LlmError::OverMemory);
            }
            self.spare += more;
        }
        self.spare -= bytes;
        Ok(())
    }
}
