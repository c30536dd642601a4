//! A recorded call and its outcome.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::{Duration, Instant},
};

use serde_json::Value;

/// A call of the API.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Unique within a run. It is the trace id of the request, by which the log names the call.
    pub(crate) number: u64,
    /// The number of the prompt. Calls with the same idempotency key have the same prompt, all
    /// others have one of their own.
    pub(crate) prompt: u64,
    pub(crate) keyed: bool,
    /// The replica that was called.
    pub(crate) replica: usize,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    /// The longest time without a byte, from the request to the end of the answer.
    pub(crate) silence: Duration,
    pub(crate) outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// 200 and a complete answer.
    Answered(Receipt),
    /// An error response, or the error at the end of a stream.
    Refused { status: u16, code: String },
    /// The connection was refused or closed before the answer was complete.
    Cut,
    /// The client has given up waiting.
    Unanswered,
    /// The client left on purpose.
    Left,
}

/// What an answer says about its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) position: u64,
    pub(crate) step: u64,
    /// The id of the request that ran the step.
    pub(crate) id: String,
    pub(crate) chain_hash: String,
    pub(crate) accepted: bool,
    /// A hash of the whole answer without the id that each request has for itself.
    pub(crate) digest: u64,
}

impl Receipt {
    /// The receipt in the body of an answer.
    pub(crate) fn read(mut body: Value) -> Option<Self> {
        body.as_object_mut()?.remove("request_id");
        let mut hasher = DefaultHasher::new();
        body.to_string().hash(&mut hasher);
        Some(Self {
            position: body["position"].as_u64()?,
            step: body["step"].as_u64()?,
            id: body["id"].as_str()?.to_owned(),
            chain_hash: body["chain_hash"].as_str()?.to_owned(),
            accepted: body["accepted"].as_bool()?,
            digest: hasher.finish(),
        })
    }
}

impl Call {
    pub(crate) const fn receipt(&self) -> Option<&Receipt> {
        match &self.outcome {
            Outcome::Answered(receipt) => Some(receipt),
            Outcome::Refused { .. } | Outcome::Cut | Outcome::Unanswered | Outcome::Left => None,
        }
    }

    /// True if the server could not serve the call. A conflict with another call of the same key is
    /// no failure, nor is the end of a step that a killed replica has left open for that key.
    pub(crate) fn failed(&self) -> bool {
        match &self.outcome {
            Outcome::Answered(_) | Outcome::Left => false,
            Outcome::Refused { status, code } => *status != 409 && !(self.keyed && code == "E606"),
            Outcome::Cut | Outcome::Unanswered => true,
        }
    }

    /// The outcome in a table.
    pub(crate) fn outcome_name(&self) -> String {
        match &self.outcome {
            Outcome::Answered(_) => "200".to_owned(),
            Outcome::Refused { status, code } => format!("{status} {code}"),
            Outcome::Cut => "connection closed".to_owned(),
            Outcome::Unanswered if self.keyed => "no answer (key)".to_owned(),
            Outcome::Unanswered => "no answer".to_owned(),
            Outcome::Left => "left".to_owned(),
        }
    }
}
