//! `POST /v1/messages/count_tokens`: the estimated size of a request, in the dialect of Anthropic.
//!
//! The provider is not asked: it would get the messages of the caller without a verdict and without a
//! trace in the event log.

use std::fmt;

use actix_web::{
    HttpRequest,
    web::{Data, Json},
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    http::{
        AppState, Problem,
        access::{Authorized, permission},
        body::JsonBody,
        engine::EngineCall,
        problem::responses::CountProblems,
    },
    llm::TOKEN_CHARS,
};

/// Tokens of an image: Anthropic scales larger ones down to this.
const IMAGE_TOKENS: u64 = 1_600;
/// Tokens that surround a message, and a definition of a tool.
const FRAME_TOKENS: u64 = 4;
/// Fields that the model does not read: the data of a file, the mark of a part for a cache.
const UNREAD: [&str; 4] = ["role", "data", "cache_control", "signature"];

/// A request whose tokens are counted. Other fields are ignored.
#[derive(Deserialize, ToSchema)]
pub struct CountRequest {
    /// The model, or `engine/model`.
    #[serde(default)]
    model: Option<String>,
    #[schema(value_type = Vec<Object>)]
    messages: Vec<Size>,
    #[serde(default)]
    #[schema(value_type = Object)]
    system: Size,
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    tools: Vec<ToolSize>,
}

/// The tokens of a request.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenCount {
    /// An estimate by the length of the texts.
    input_tokens: u64,
}

/// Estimate the tokens of a request (Anthropic dialect).
///
/// The estimate counts the texts, the definitions of tools and the images. No model is asked.
#[utoipa::path(
    post,
    path = "/v1/messages/count_tokens",
    tag = "compatible",
    request_body = CountRequest,
    responses(
        (status = 200, description = "The estimate", body = TokenCount),
        CountProblems,
    )
)]
pub async fn post(
    authorized: Authorized<permission::Generate>,
    state: Data<AppState>,
    request: HttpRequest,
    JsonBody(body): JsonBody<CountRequest>,
) -> Result<Json<TokenCount>, Problem> {
    let model = body.model.as_deref();
    EngineCall::for_model(authorized, &state, &request, model).await?;
    Ok(Json(TokenCount { input_tokens: body.tokens() }))
}

impl CountRequest {
    fn tokens(&self) -> u64 {
        let frames = (self.messages.len() + self.tools.len()) as u64 * FRAME_TOKENS;
        let mut size = Size::default();
        self.messages.iter().chain([&self.system]).for_each(|part| size.add(part));
        let tools: usize = self.tools.iter().map(|tool| tool.0).sum();
        let texts = (size.chars + tools).div_ceil(TOKEN_CHARS) as u64;
        texts + size.images * IMAGE_TOKENS + frames
    }
}

/// The characters of the definition of a tool, which the model reads as JSON.
struct ToolSize(usize);

impl<'de> Deserialize<'de> for ToolSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tool: &RawValue = Deserialize::deserialize(deserializer)?;
        Ok(Self(tool.get().chars().count()))
    }
}

/// What a model reads of a value: the characters of its texts, and its images.
#[derive(Default)]
struct Size {
    chars: usize,
    images: u64,
}

impl Size {
    fn add(&mut self, part: &Self) {
        self.chars += part.chars;
        self.images += part.images;
    }

    fn of(chars: usize) -> Self {
        Self { chars, images: 0 }
    }
}

/// Counts a value while it is read, without a tree of it.
impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

struct SizeVisitor;

impl<'de> Visitor<'de> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Size, E> {
        Ok(Size::of(text.chars().count()))
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Size, E> {
        Ok(Size::of(value.to_string().len()))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Size, E> {
        Ok(Size::of(number.to_string().len()))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Size, E> {
        Ok(Size::of(number.to_string().len()))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Size, E> {
        Ok(Size::of(number.to_string().len()))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Size, E> {
        Ok(Size::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Size, A::Error> {
        let mut size = Size::default();
        while let Some(part) = parts.next_element()? {
            size.add(&part);
        }
        Ok(size)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Size, A::Error> {
        let (mut size, mut is_image) = (Size::default(), false);
        while let Some(name) = map.next_key::<String>()? {
            if name == "type" {
                is_image |= map.next_value::<&RawValue>()?.get() == "\"image\"";
            } else if UNREAD.contains(&name.as_str()) {
                map.next_value::<IgnoredAny>()?;
            } else {
                size.add(&map.next_value()?);
            }
        }
        Ok(if is_image { Size { chars: 0, images: 1 } } else { size })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn tokens(body: &Value) -> u64 {
        serde_json::from_str::<CountRequest>(&body.to_string()).unwrap().tokens()
    }

    #[test]
    fn texts_tools_and_images_are_counted_and_the_data_of_files_is_not() {
        let text = "x".repeat(400);
        let user = json!({"role": "user", "content": text});
        assert_eq!(tokens(&json!({"messages": [user]})), 100 + 4);
        assert_eq!(tokens(&json!({"messages": [user], "system": text, "max_tokens": 9})), 200 + 4);
        let part = json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}});
        let parts =
            json!({"role": "user", "content": [part, {"type": "image", "source": {"data": text}}]});
        assert_eq!(tokens(&json!({"messages": [parts]})), 100 + 1_600 + 4);
        let tool = json!({"name": "w", "input_schema": {"type": "object"}});
        let tools = tool.to_string().len().div_ceil(4) as u64;
        assert_eq!(tokens(&json!({"messages": [], "tools": [tool]})), tools + 4);
    }
}
