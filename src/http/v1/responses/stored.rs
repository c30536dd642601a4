//! `GET /v1/responses/{id}` and `GET /v1/responses/{id}/input_items`: stored responses, read from the
//! event log.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, http::header::ContentType, web::Query};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use utoipa::{IntoParams, ToSchema};

use super::{
    echo::Echo,
    history::stored,
    response::{self, ResponseBody},
};
use crate::{
    engine::Exchange,
    http::{
        Code, Problem, access::permission, engine::EngineCall,
        problem::responses::StoredResponseProblems,
    },
    json::{self, Fields},
    llm::{Message, Role, is_instructions},
};

/// Maximum number of items on a page.
const PAGE_MAX: usize = 100;
/// Number of items on a page of a request that names none.
const PAGE: usize = 20;

/// Get a stored response (`OpenAI` Responses dialect).
///
/// Returns a response that the caller made for the same data subject. One that another caller made, that
/// was erased, or that has `store: false` is not found.
#[utoipa::path(
    get,
    path = "/v1/responses/{id}",
    tag = "compatible",
    params(
        ("id" = String, Path, description = "Id of the response"),
        ("X-MLSDM-End-User" = Option<String>, Header, description = "The data subject for whom the response was made"),
    ),
    responses(
        (status = 200, description = "The response", body = ResponseBody),
        StoredResponseProblems,
    )
)]
pub async fn get(
    call: EngineCall<permission::Generate>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let exchange = stored(&call.engine, &call.caller, request.match_info().query("id")).await?;
    let Exchange { messages, fields, continued, answer } = exchange;
    let echo = Echo::of(&messages, fields, continued.as_deref());
    Ok(HttpResponse::Ok().content_type(ContentType::json()).body(response::body(&answer, &echo)))
}

/// The page of items that a client asks for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ItemQuery {
    /// Maximum number of items, 1 to 100. Default: 20.
    limit: Option<usize>,
    /// `asc` or `desc`. Default: `desc`, the last item first.
    order: Option<String>,
    /// The id of the item after which the page begins.
    after: Option<String>,
}

/// Input items of a response.
#[derive(Serialize, ToSchema)]
pub struct InputItems {
    object: &'static str,
    #[schema(value_type = Vec<Object>)]
    data: Vec<Fields>,
    first_id: Option<String>,
    last_id: Option<String>,
    /// True if there are more items after the last one.
    has_more: bool,
}

/// List the input items of a response (`OpenAI` dialect).
///
/// Returns the items that the model got, those of earlier responses included, without the memories that
/// the server added.
#[utoipa::path(
    get,
    path = "/v1/responses/{id}/input_items",
    tag = "compatible",
    params(
        ("id" = String, Path, description = "Id of the response"),
        ("X-MLSDM-End-User" = Option<String>, Header, description = "The data subject for whom the response was made"),
        ItemQuery,
    ),
    responses(
        (status = 200, description = "A page of items", body = InputItems),
        StoredResponseProblems,
    )
)]
pub async fn input_items(
    call: EngineCall<permission::Generate>,
    request: HttpRequest,
    query: Query<ItemQuery>,
) -> Result<actix_web::web::Json<InputItems>, Problem> {
    let id = request.match_info().query("id");
    let Exchange { messages, answer, .. } = stored(&call.engine, &call.caller, id).await?;
    let items = messages.iter().filter(|message| !is_instructions(message)).enumerate();
    let items: Option<Vec<(String, Fields)>> =
        items.map(|(index, message)| item(&answer.id, index, message)).collect();
    let items = items.ok_or_else(|| Problem::new(Code::Internal, "an item has no JSON form"))?;
    page(items, &query).map(actix_web::web::Json)
}

/// A message as an item with an id.
fn item(answer_id: &str, index: usize, message: &Message) -> Option<(String, Fields)> {
    let mut fields: Fields = if let Some(raw) = message.parts() {
        json::read(raw).ok()?
    } else {
        let role = json::raw(&message.role).ok()?;
        [("role".to_owned(), role)].into_iter().collect()
    };
    let kind: Option<String> = fields.read("type").ok().flatten();
    let is_message = kind.as_deref().is_none_or(|kind| kind == "message");
    let id: Option<String> = fields.read("id").ok().flatten();
    let prefix = if is_message { "msg" } else { "item" };
    let id = id.unwrap_or_else(|| format!("{prefix}_{answer_id}_in{index}"));
    fields.set("id", &id).ok()?;
    if is_message {
        fields.set("type", "message").ok()?;
        fields.insert("content", content(message, fields.get("content"))?);
        if !fields.is_set("status") {
            fields.set("status", "completed").ok()?;
        }
    }
    Some((id, fields))
}

/// The content of a message: a list of parts.
fn content(message: &Message, given: Option<&Arc<RawValue>>) -> Option<Arc<RawValue>> {
    match given {
        Some(given) if given.get().starts_with('[') => Some(Arc::clone(given)),
        _ => {
            let kind = if message.role == Role::Assistant { "output_text" } else { "input_text" };
            let mut part = json!({"type": kind, "text": message.text});
            if message.role == Role::Assistant {
                part["annotations"] = json!([]);
            }
            json::raw(&Value::Array(vec![part])).ok()
        }
    }
}

fn page(mut items: Vec<(String, Fields)>, query: &ItemQuery) -> Result<InputItems, Problem> {
    let limit = query.limit.unwrap_or(PAGE);
    let order = query.order.as_deref().unwrap_or("desc");
    if !(1..=PAGE_MAX).contains(&limit) {
        let detail = format!("limit must be between 1 and {PAGE_MAX}");
        return Err(Problem::new(Code::BadParameter, detail));
    }
    match order {
        "desc" => items.reverse(),
        "asc" => {}
        _ => return Err(Problem::new(Code::BadParameter, "order must be asc or desc")),
    }
    if let Some(after) = &query.after {
        let at = items.iter().position(|(id, _)| id == after);
        let at = at.ok_or_else(|| {
            Problem::new(Code::BadParameter, "after names no input item of this response")
        })?;
        items.drain(..=at);
    }
    let has_more = items.len() > limit;
    items.truncate(limit);
    let id = |item: Option<&(String, Fields)>| item.map(|(id, _)| id.clone());
    Ok(InputItems {
        object: "list",
        first_id: id(items.first()),
        last_id: id(items.last()),
        data: items.into_iter().map(|(_, item)| item).collect(),
        has_more,
    })
}
