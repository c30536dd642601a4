//! The body of a request: read and decompressed within the limits, then parsed.
//!
//! The bytes are counted in the lease of the request ([`inflight`](crate::inflight)) while they arrive,
//! so that many large bodies together are refused before they exhaust the memory.

mod buffer;
mod decode;

use std::{future::Future, pin::Pin, sync::Arc};

use actix_web::{
    FromRequest, HttpMessage as _, HttpRequest,
    dev::Payload,
    http::header,
    mime,
    web::{Bytes, Data},
};
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;

use super::{AppState, Code, Problem, problem::from_actix};
use crate::inflight::Lease;
use buffer::Buffer;
use decode::{Decoder, Encoding};

/// A JSON body.
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for JsonBody<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            if !is_json(&request) {
                return Err(from_actix::not_json());
            }
            let body = read(&request, payload).await?;
            serde_json::from_slice(&body).map(Self).map_err(|error| from_actix::unparsable(&error))
        })
    }
}

/// A body of any media type, which may be empty.
pub struct RawBody(pub Bytes);

impl FromRequest for RawBody {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move { read(&request, payload).await.map(Self) })
    }
}

fn is_json(request: &HttpRequest) -> bool {
    let kind = request.mime_type().ok().flatten();
    kind.is_some_and(|kind| kind.subtype() == mime::JSON || kind.suffix() == Some(mime::JSON))
}

/// Reads the body.
async fn read(request: &HttpRequest, payload: Payload) -> Result<Bytes, Problem> {
    let state = request.app_data::<Data<AppState>>();
    let state = state.ok_or_else(|| Problem::new(Code::Internal, "no app state"))?;
    let lease = request.extensions().get::<Arc<Lease>>().cloned();
    let encoding = Encoding::of(request.headers())?;
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length: Option<usize> = length.and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length| length > state.body_bytes) {
        return Err(from_actix::too_large(state.body_bytes));
    }
    match encoding {
        Encoding::Identity => {
            let buffer = Buffer::new(length.unwrap_or_default(), state.body_bytes, lease);
            plain(payload, buffer).await
        }
        Encoding::Compressed(format) => {
            let buffer = Buffer::new(0, state.body_bytes, lease);
            Decoder::new(format, payload, state.body_bytes).read(buffer).await
        }
    }
}

async fn plain(mut payload: Payload, mut buffer: Buffer) -> Result<Bytes, Problem> {
    while let Some(chunk) = payload.next().await {
        buffer.push(&chunk.map_err(|error| from_actix::unreadable(&error))?)?;
    }
    Ok(buffer.into_bytes())
}
