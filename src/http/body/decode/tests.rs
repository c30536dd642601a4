use std::sync::Arc;

use actix_web::{error::PayloadError, http::header::HeaderValue};
use async_compression::tokio::bufread::{
    BrotliEncoder, DeflateEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder,
};
use futures_util::{Stream, stream};

use super::*;
use crate::inflight::{Inflight, Lease};

const MAX: usize = 4 * 1024 * 1024;

async fn compressed(coding: &str, text: &[u8]) -> Vec<u8> {
    let mut encoder: Pin<Box<dyn AsyncRead + '_>> = match coding {
        "gzip" => Box::pin(GzipEncoder::new(text)),
        "deflate" => Box::pin(ZlibEncoder::new(text)),
        "raw" => Box::pin(DeflateEncoder::new(text)),
        "zstd" => Box::pin(ZstdEncoder::new(text)),
        _ => Box::pin(BrotliEncoder::new(text)),
    };
    let mut bytes = Vec::new();
    encoder.read_to_end(&mut bytes).await.unwrap();
    bytes
}

/// Decodes a body that arrives in chunks of this size.
async fn decode(
    format: Format,
    body: &[u8],
    chunk: usize,
    lease: Option<Arc<Lease>>,
) -> Result<Bytes, Code> {
    let chunks: Vec<Result<Bytes, PayloadError>> =
        body.chunks(chunk).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    let chunks: Pin<Box<dyn Stream<Item = _>>> = Box::pin(stream::iter(chunks));
    let payload = Payload::Stream { payload: chunks };
    let buffer = Buffer::new(0, MAX, lease);
    Decoder::new(format, payload, MAX).read(buffer).await.map_err(|problem| problem.code())
}

const CODINGS: [(&str, Format); 5] = [
    ("gzip", Format::Gzip),
    ("deflate", Format::Deflate),
    ("raw", Format::Deflate),
    ("zstd", Format::Zstd),
    ("br", Format::Brotli),
];

#[actix_web::test]
async fn every_encoding_is_decoded_whatever_its_chunks() {
    let text = format!("{{\"prompt\": \"{}\"}}", "Grüße ".repeat(5_000));
    for (coding, format) in CODINGS {
        let body = compressed(coding, text.as_bytes()).await;
        for chunk in [1, 7, 100_000] {
            let decoded = decode(format, &body, chunk, None).await;
            assert!(decoded.is_ok_and(|bytes| bytes == text), "{coding} in chunks of {chunk}");
        }
    }
}

#[actix_web::test]
async fn a_body_that_expands_beyond_the_limits_is_refused_before_it_is_held() {
    for (coding, format) in CODINGS {
        let blank = vec![b' '; 64 * 1024 * 1024];
        let bomb = compressed(coding, &blank).await;
        let pool = Inflight::new(usize::MAX);
        let lease = pool.lease();
        let refused = decode(format, &bomb, 100_000, Some(Arc::clone(&lease))).await;
        assert_eq!(refused, Err(Code::PayloadTooLarge), "{coding}");
        assert!(pool.used() <= 3 * MAX, "{coding}: {}", pool.used());
    }
}

#[actix_web::test]
async fn a_body_beyond_the_memory_of_all_requests_is_refused() {
    let body = compressed("gzip", &[b'x'; 2_000]).await;
    let pool = Inflight::new(5_999);
    assert_eq!(decode(Format::Gzip, &body, 100, Some(pool.lease())).await, Err(Code::OverMemory));
    assert_eq!(pool.used(), 0, "given back");
}

#[actix_web::test]
async fn an_incomplete_or_damaged_body_is_a_bad_request() {
    for (coding, format) in CODINGS {
        let body = compressed(coding, "Hello, Hello, Hello".as_bytes()).await;
        for bad in [&body[..body.len() / 2], b"{\"prompt\": 1}".as_slice()] {
            let refused = decode(format, bad, 100, None).await;
            assert_eq!(refused, Err(Code::BadRequest), "{coding} {bad:?}");
        }
    }
}

#[test]
fn an_unknown_encoding_is_named() {
    let of = |values: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
        }
        Encoding::of(&headers)
    };
    assert_eq!(of(&[]).unwrap(), Encoding::Identity);
    assert_eq!(of(&["identity"]).unwrap(), Encoding::Identity);
    assert_eq!(of(&["GZIP"]).unwrap(), Encoding::Compressed(Format::Gzip));
    for values in [&["snappy"][..], &["gzip, br"], &["gzip", "br"]] {
        let problem = of(values).unwrap_err();
        assert_eq!(problem.code(), Code::UnsupportedMediaType);
        assert!(problem.detail().contains(values[0]), "{}", problem.detail());
    }
}
