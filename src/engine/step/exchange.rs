//! A recorded exchange: the request and the answer of an ended step, read from the log for the caller
//! that made the request.
//!
//! The log has no index of request ids, which would cost every step a write. The id is a UUID version 7:
//! its time tells the part of the log that can contain the step.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    answer::{Answer, AnswerIds},
    error::StepError,
    replay,
    request::Caller,
};
use crate::{
    domain::ids::{Micros, Position},
    engine::{Engine, content},
    json::Fields,
    llm::{Message, Role},
    store::Record,
};

/// The time by which the log's clock may be behind the time of an id.
const BEFORE: Micros = 60 * 1_000_000;

/// The time within which an admission follows the id of its request.
const AFTER: Micros = 15 * 60 * 1_000_000;

/// The number of newest events in which a step is searched whatever its time.
const RECENT: Position = 20_000;

/// Maximum number of earlier events whose messages a request repeats: the turns of a long session of a
/// coding agent.
const EARLIER_MAX: usize = 1_000;

/// The number of earlier events that are read at a time.
const EARLIER_PAGE: usize = 64;

/// Maximum size of the messages of a request that is read from the log, in bytes.
const EXCHANGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Why an exchange cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The log cannot be read.
    #[error(transparent)]
    Step(#[from] StepError),
    /// The request repeats too much.
    #[error(
        "the conversation that the id names exceeds {EARLIER_MAX} earlier requests or \
         {EXCHANGE_BYTES_MAX} bytes; send its last part as input instead of the id"
    )]
    TooLong,
}

/// The request and the answer of a step.
pub struct Exchange {
    /// All messages of the request, in its dialect.
    pub messages: Vec<Message>,
    /// The further fields of the request.
    pub fields: Fields,
    /// The id of the response that the request continued, as the caller gave it.
    pub continued: Option<String>,
    /// The answer.
    pub answer: Answer,
}

/// The content of an admission, as far as it is read.
#[derive(Deserialize)]
struct Admission {
    chat: Option<StoredChat>,
    continued: Option<String>,
}

#[derive(Deserialize)]
struct StoredChat {
    messages: Vec<Item>,
    extra: StoredExtra,
}

/// A message, or a reference to messages in the content of an earlier event.
#[derive(Clone, Deserialize)]
struct Item {
    role: Option<Role>,
    text: Option<String>,
    raw: Option<Box<RawValue>>,
    at: Option<Position>,
    first: Option<usize>,
    count: Option<usize>,
}

#[derive(Deserialize)]
struct StoredExtra {
    fields: Option<Fields>,
    at: Option<Position>,
}

/// The exchange of a request that this caller made for the same data subject. `None` if there is
/// none, if the step failed or is running, or if a part of the request or the answer was erased.
///
/// # Errors
/// The log cannot be read, or the exchange exceeds its limit of bytes or of earlier events.
pub async fn exchange(
    engine: &Engine,
    caller: &Caller,
    request_id: &str,
) -> Result<Option<Exchange>, ExchangeError> {
    let Some(admission) = admission_of(engine, caller, request_id).await? else {
        return Ok(None);
    };
    let store = &engine.parts.store;
    let ending = if admission.kind == "step.rejected" {
        Some(admission.clone())
    } else {
        let step = admission.step.unwrap_or_default();
        let ending = store.ending_of(&engine.id, step, admission.position).await;
        ending.map_err(StepError::from)?
    };
    let folded = engine.view().state.position;
    let Some(ending) = ending.filter(|ending| ending.position <= folded) else {
        return Ok(None);
    };
    let ids = AnswerIds { id: request_id, request_id: caller.request_id() };
    let answer = match replay::replay_answer(engine, ids, &admission, &ending).await {
        Err(StepError::Failed { .. } | StepError::Erased) => return Ok(None),
        other => other?,
    };
    request_of(engine, &admission, answer).await
}

/// The admission of a request by this caller for the same data subject.
async fn admission_of(
    engine: &Engine,
    caller: &Caller,
    request_id: &str,
) -> Result<Option<Record>, StepError> {
    let time = Uuid::parse_str(request_id).ok().and_then(|id| id.get_timestamp());
    let Some((seconds, nanos)) = time.map(|time| time.to_unix()) else { return Ok(None) };
    let time = seconds as Micros * 1_000_000 + Micros::from(nanos / 1_000);
    let (Some(subject), Some(actor)) = (
        engine.subjects.ref_by_name(caller.subject()).await?,
        engine.subjects.ref_by_name(&caller.actor).await?,
    ) else {
        return Ok(None);
    };
    let store = &engine.parts.store;
    let head = engine.view().state.position;
    let after = store.position_at(&engine.id, head, time - BEFORE).await?.unwrap_or(0);
    let until = store.position_at(&engine.id, head, time + AFTER).await?.unwrap_or(0);
    let mut admission = store.admission_of(&engine.id, request_id, after, until).await?;
    if admission.is_none() {
        // the clock of the server that made the id differs from that of the log
        let after = head.saturating_sub(RECENT);
        admission = store.admission_of(&engine.id, request_id, after, head).await?;
    }
    Ok(admission.filter(|admission| {
        admission.subject_ref == Some(subject)
            && admission.actor.as_deref() == Some(&*actor.to_string())
    }))
}

/// The request of an admission, together with its answer.
async fn request_of(
    engine: &Engine,
    admission: &Record,
    answer: Answer,
) -> Result<Option<Exchange>, ExchangeError> {
    let position = admission.position;
    let own = content::open(engine, &[position]).await.map_err(StepError::from)?;
    let Some(own) = own.get(&position) else { return Ok(None) };
    let Admission { chat, continued } = content::parse(own).map_err(StepError::from)?;
    let Some(chat) = chat else { return Ok(None) };
    let referred: HashSet<Position> =
        chat.messages.iter().filter_map(|item| item.at).chain(chat.extra.at).collect();
    if referred.len() > EARLIER_MAX {
        return Err(ExchangeError::TooLong);
    }
    let referred: Vec<Position> = referred.into_iter().collect();
    let earlier = earlier_chats(engine, &referred, own).await?;
    let fields = match (chat.extra.fields, chat.extra.at) {
        (Some(fields), _) => Some(fields),
        (None, Some(at)) => earlier.get(&at).and_then(|chat| chat.extra.fields.clone()),
        (None, None) => Some(Fields::default()),
    };
    let messages: Option<Vec<Vec<Message>>> =
        chat.messages.iter().map(|item| messages(item, &earlier)).collect();
    let (Some(messages), Some(fields)) = (messages, fields) else { return Ok(None) };
    Ok(Some(Exchange { messages: messages.concat(), fields, continued, answer }))
}

/// The chats of the events that a request with the content `own` repeats. They are read page by page, so that a conversation beyond the limit of
/// bytes does not fill the memory first.
async fn earlier_chats(
    engine: &Engine,
    positions: &[Position],
    own: &[u8],
) -> Result<HashMap<Position, StoredChat>, ExchangeError> {
    let mut earlier = HashMap::with_capacity(positions.len());
    let mut bytes = 0;
    let mut count = |content: &[u8]| {
        bytes += content.len();
        if bytes > EXCHANGE_BYTES_MAX { Err(ExchangeError::TooLong) } else { Ok(()) }
    };
    count(own)?;
    for page in positions.chunks(EARLIER_PAGE) {
        for (at, content) in content::open(engine, page).await.map_err(StepError::from)? {
            count(&content)?;
            let Admission { chat, .. } = content::parse(&content).map_err(StepError::from)?;
            earlier.extend(chat.map(|chat| (at, chat)));
        }
    }
    Ok(earlier)
}

/// The messages of an item; `None` if they were erased.
fn messages(item: &Item, earlier: &HashMap<Position, StoredChat>) -> Option<Vec<Message>> {
    let Some(at) = item.at else { return Some(vec![message(item)?]) };
    let first = item.first?;
    let items = earlier.get(&at)?.messages.get(first..first.checked_add(item.count?)?)?;
    items.iter().map(message).collect()
}

fn message(item: &Item) -> Option<Message> {
    let raw = item.raw.clone().map(std::sync::Arc::from);
    Some(Message { role: item.role?, text: item.text.clone()?, raw })
}
