//! The content of `step.admitted` and `step.rejected`.
//!
//! With `record.messages = new` it has only the messages that no earlier event of the data subject has;
//! the others are references to these events. A conversation thus grows in the log with its length and
//! not with its square.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::request::{Chat, Step};
use crate::{
    domain::{
        ids::{Position, SubjectRef},
        policy::RecordedMessages,
    },
    engine::caches::{ItemAt, ItemDigest},
    llm::{Extra, Message},
    store::subject::Subject,
};

/// Separates the HMACs of whole requests from those of prompts, under one key.
const REQUEST_LABEL: &str = "request";

/// The content of an admission.
#[derive(Serialize)]
pub(super) struct SealedPrompt<'a> {
    prompt: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    chat: Option<SealedChat<'a>>,
    /// The id that the caller gave the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    /// The id of the response that the request continues.
    #[serde(skip_serializing_if = "Option::is_none")]
    continued: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, String>,
    /// The messages that this content has itself, with their indices in it.
    #[serde(skip)]
    own: Vec<(ItemDigest, usize)>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum SealedChat<'a> {
    All(&'a Chat),
    New(NewChat<'a>),
}

/// A chat whose earlier messages are references.
#[derive(Serialize)]
struct NewChat<'a> {
    messages: Vec<Item<'a>>,
    prompt: usize,
    shortenable: bool,
    extra: ExtraItem<'a>,
    /// HMAC of the whole request under the data subject's key: it shows that a request that was put
    /// together again is complete.
    hmac: String,
}

/// A message, or a reference to consecutive messages in the content of an earlier event.
#[derive(Serialize)]
#[serde(untagged)]
enum Item<'a> {
    Own(&'a Message),
    Earlier { at: Position, first: usize, count: usize },
}

/// The further fields, or a reference to the earlier event that has them.
#[derive(Serialize)]
#[serde(untagged)]
enum ExtraItem<'a> {
    Own(&'a Extra),
    Earlier { at: Position },
}

impl<'a> SealedPrompt<'a> {
    /// The content of a request of this data subject.
    pub(super) fn of(step: Step<'a>, subject: &Subject, messages: RecordedMessages) -> Self {
        let Step { caller, request, engine, .. } = step;
        let mut own = Vec::new();
        let chat = request.chat.as_ref().map(|chat| match messages {
            RecordedMessages::All => SealedChat::All(chat),
            RecordedMessages::New => {
                let digests = digests(chat);
                let places = engine.caches.recorded.places(subject.subject_ref, &digests);
                let (chat, kept) = new_chat(chat, subject, (&digests, &places));
                own = kept;
                SealedChat::New(chat)
            }
        });
        Self {
            prompt: &request.prompt,
            chat,
            request_id: caller.client_request_id.as_deref(),
            continued: request.continued.as_deref(),
            metadata: &request.metadata,
            own,
        }
    }

    /// The messages that the content has itself, to be referred to by later requests.
    pub(super) fn into_own(self) -> Vec<(ItemDigest, usize)> {
        self.own
    }
}

/// The digests of the messages, and last that of the further fields.
fn digests(chat: &Chat) -> Vec<ItemDigest> {
    let messages = chat.messages.iter().map(|message| {
        let raw = message.raw.as_ref().map_or("", |raw| raw.get());
        digest([&format!("{:?}", message.role), &message.text, raw])
    });
    let fields = chat.extra.fields.iter().flat_map(|(name, value)| [name, value.get()]);
    messages.chain([digest(fields)]).collect()
}

fn digest<'t>(texts: impl IntoIterator<Item = &'t str>) -> ItemDigest {
    let mut digest = Sha256::new();
    for text in texts {
        digest.update((text.len() as u64).to_be_bytes());
        digest.update(text.as_bytes());
    }
    let mut short = ItemDigest::default();
    short.copy_from_slice(&digest.finalize()[..size_of::<ItemDigest>()]);
    short
}

fn new_chat<'a>(
    chat: &'a Chat,
    subject: &Subject,
    (digests, places): (&[ItemDigest], &[Option<ItemAt>]),
) -> (NewChat<'a>, Vec<(ItemDigest, usize)>) {
    let (mut items, mut own) = (Vec::new(), Vec::new());
    for ((message, digest), place) in chat.messages.iter().zip(digests).zip(places) {
        match (*place, items.last_mut()) {
            (Some(ItemAt { at, item }), Some(Item::Earlier { at: same, first, count }))
                if at == *same && item == *first + *count =>
            {
                *count += 1;
            }
            (Some(ItemAt { at, item }), _) => {
                items.push(Item::Earlier { at, first: item, count: 1 });
            }
            (None, _) => {
                own.push((*digest, items.len()));
                items.push(Item::Own(message));
            }
        }
    }
    let extra = if let Some(ItemAt { at, .. }) = places.last().copied().flatten() {
        ExtraItem::Earlier { at }
    } else {
        own.extend(digests.last().map(|digest| (*digest, 0)));
        ExtraItem::Own(&chat.extra)
    };
    let hmac = hex::encode(subject.key.hmac(REQUEST_LABEL, &digests.concat()));
    let (prompt, shortenable) = (chat.prompt, chat.shortenable);
    (NewChat { messages: items, prompt, shortenable, extra, hmac }, own)
}

/// Adds the messages of an admission that is committed, so that later requests refer to it.
pub(super) fn committed(
    step: Step<'_>,
    subject: SubjectRef,
    at: Position,
    own: &[(ItemDigest, usize)],
) {
    step.engine.caches.recorded.add(subject, at, own);
}
