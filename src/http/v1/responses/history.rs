//! Earlier responses of this server that a request continues or refers to.
//!
//! They are read from the event log, and only for the caller and the data subject of the request. What
//! another caller made, what was erased and what was not stored look the same.

use std::{collections::HashMap, sync::Arc};

use serde_json::value::RawValue;

use super::{echo::Echo, items, output};
use crate::{
    engine::{self, Caller, Engine, Exchange, ExchangeError},
    http::{
        Code, Problem,
        v1::chat::completions::request::{MESSAGES_MAX, bad},
    },
    json::{self, Fields},
    llm::{Message, Role, is_instructions},
};

/// The prefix of the ids of responses.
const PREFIX: &str = "resp_";

/// The stored response with this id.
pub(super) async fn stored(
    engine: &Engine,
    caller: &Caller,
    id: &str,
) -> Result<Exchange, Problem> {
    let request_id = id.strip_prefix(PREFIX).ok_or_else(missing)?;
    exchange(engine, caller, request_id).await?.ok_or_else(missing)
}

fn missing() -> Problem {
    let detail = "there is no response with this id that the caller made for the same data subject, \
                  or it was erased or not stored";
    Problem::new(Code::NotFound, detail)
}

async fn exchange(
    engine: &Engine,
    caller: &Caller,
    request_id: &str,
) -> Result<Option<Exchange>, Problem> {
    let exchange = match engine::exchange(engine, caller, request_id).await {
        Ok(exchange) => exchange,
        Err(ExchangeError::Step(error)) => return Err(error.into()),
        Err(error @ ExchangeError::TooLong) => return Err(bad(error.to_string())),
    };
    Ok(exchange.filter(is_stored))
}

fn is_stored(exchange: &Exchange) -> bool {
    exchange.fields.get("store").is_none_or(|store| store.get() != "false")
}

/// The earlier responses of one request.
pub(super) struct History<'a> {
    engine: &'a Engine,
    caller: &'a Caller,
    /// Output items by the ids that the client knows.
    items: HashMap<String, Arc<RawValue>>,
    /// The ids of the requests whose output was read.
    read: Vec<String>,
}

impl<'a> History<'a> {
    pub(super) fn new(engine: &'a Engine, caller: &'a Caller) -> Self {
        Self { engine, caller, items: HashMap::new(), read: Vec::new() }
    }

    /// The input and the output of a response. Of a refused one, the turn that was refused is left out:
    /// a model gets only what was admitted.
    pub(super) async fn continued(&mut self, id: &str) -> Result<Vec<Message>, Problem> {
        let Exchange { mut messages, fields, answer, .. } =
            stored(self.engine, self.caller, id).await?;
        messages.retain(|message| !is_instructions(message));
        if answer.refusal().is_some() {
            let answered = messages.iter().rposition(|message| message.role == Role::Assistant);
            messages.truncate(answered.map_or(0, |answered| answered + 1));
            return Ok(messages);
        }
        let echo = Echo::of(&[], fields, None);
        for (id, item) in output::originals(&answer, &echo) {
            messages.push(items::message(Arc::clone(&item)).map_err(bad)?);
            self.items.insert(id, item);
        }
        if messages.len() > MESSAGES_MAX {
            return Err(bad(format!(
                "the conversation that previous_response_id names exceeds {MESSAGES_MAX} items; send \
                 its last part as input instead of the id"
            )));
        }
        Ok(messages)
    }

    /// Replaces references to items of earlier responses by the items.
    pub(super) async fn resolve(&mut self, messages: &mut [Message]) -> Result<(), Problem> {
        let references: Vec<(usize, String)> = messages
            .iter()
            .enumerate()
            .filter_map(|(index, message)| Some((index, reference(message)?)))
            .collect();
        for (_, id) in &references {
            self.read_output(id).await?;
        }
        for (index, id) in references {
            let item = self.items.get(&id).ok_or_else(|| {
                let detail = "an item_reference of the input names no item of a response that the \
                              caller made for the same data subject, or it was erased or not stored";
                Problem::new(Code::NotFound, detail)
            })?;
            messages[index] = items::message(Arc::clone(item)).map_err(bad)?;
        }
        Ok(())
    }

    /// Reads the output of the response that an item belongs to.
    async fn read_output(&mut self, item: &str) -> Result<(), Problem> {
        let Some(request_id) = request_of(item) else { return Ok(()) };
        if self.items.contains_key(item) || self.read.iter().any(|read| read == request_id) {
            return Ok(());
        }
        self.read.push(request_id.to_owned());
        let Some(exchange) = exchange(self.engine, self.caller, request_id).await? else {
            return Ok(());
        };
        let echo = Echo::of(&[], exchange.fields, None);
        self.items.extend(output::originals(&exchange.answer, &echo));
        Ok(())
    }
}

/// The id of the request in the id of an item that this server named.
fn request_of(item: &str) -> Option<&str> {
    let (_, rest) = item.split_once('_')?;
    Some(rest.split('_').next().unwrap_or(rest))
}

/// The id of an item that a message refers to.
fn reference(message: &Message) -> Option<String> {
    let item: Fields = json::read(message.raw.as_deref()?).ok()?;
    let kind: Option<String> = item.read("type").ok().flatten();
    let id: Option<String> = item.read("id").ok().flatten();
    match kind.as_deref() {
        Some("item_reference") => id,
        // the type of a reference may be left out
        None if item.len() == 1 => id,
        _ => None,
    }
}
