//! An answer in the dialect of its provider, for a client of the same dialect: everything that the
//! provider sent, with the ids and the governance of this server.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::governance::Governance;
use crate::{
    engine::Answer,
    json::{self, Fields},
    llm::{Citation, Dialect, NativeAnswer},
};

/// The fields of the provider's answer, if the provider has this dialect.
pub(super) fn fields(answer: &Answer, dialect: Dialect) -> Option<Fields> {
    let native = answer.native.as_ref().filter(|native| native.dialect == dialect)?;
    serde_json::from_str(native.message.get()).ok()
}

/// The sources of an answer whose provider has another dialect.
pub(super) fn citations(answer: &Answer, dialect: Dialect) -> Vec<Citation> {
    let native = answer.native.as_ref().filter(|native| native.dialect != dialect);
    native.map(NativeAnswer::citations).unwrap_or_default()
}

/// The text of a whole answer: the fields that this server writes, those of the provider, and the
/// governance.
pub(super) fn body(answer: &Answer, dialect: Dialect, own: &[(&str, String)]) -> Option<String> {
    let given = fields(answer, dialect)?;
    let mut body = Fields::default();
    for (name, value) in own {
        body.insert(*name, raw(value)?);
    }
    for (name, value) in given.iter() {
        if body.get(name).is_none() {
            body.insert(name, Arc::clone(value));
        }
    }
    body.insert("mlsdm", json::raw(&Governance::from(answer)).ok()?);
    serde_json::to_string(&body).ok()
}

fn raw(text: &str) -> Option<Arc<RawValue>> {
    RawValue::from_string(text.to_owned()).ok().map(Arc::from)
}
