//! Decompression of request bodies, in steps of a fixed size: what a body expands to is not known
//! before.

use std::{
    cell::Cell,
    io::{self, ErrorKind},
    pin::Pin,
    rc::Rc,
};

use actix_web::{
    dev::Payload,
    error::PayloadError,
    http::header::{CONTENT_ENCODING, HeaderMap},
    web::Bytes,
};
use async_compression::{
    tokio::bufread::{BrotliDecoder, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder},
    zstd::DParameter,
};
use futures_util::StreamExt as _;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _};
use tokio_util::io::StreamReader;

use super::buffer::Buffer;
use crate::http::{Code, Problem, problem::from_actix};

/// Size of a step, in bytes.
const STEP: usize = 16 * 1024;

/// A body may expand to this many times its size. JSON text compresses to a twentieth.
const RATIO_MAX: usize = 200;

/// Below this size the ratio is not checked, in bytes.
const RATIO_FREE: usize = 1024 * 1024;

/// The base-two logarithm of the largest window of zstd, which is allocated: 8 MiB, as RFC 9659 demands.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Compressed(Format),
}

/// A compressed format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Gzip,
    Deflate,
    Zstd,
    Brotli,
}

impl Encoding {
    /// The value of `Content-Encoding`.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut names = headers.get_all(CONTENT_ENCODING);
        let Some(name) = names.next() else { return Ok(Self::Identity) };
        let name = name.to_str().unwrap_or("?").trim().to_ascii_lowercase();
        let format = match (name.as_str(), names.next()) {
            ("" | "identity", None) => return Ok(Self::Identity),
            ("gzip" | "x-gzip", None) => Format::Gzip,
            ("deflate", None) => Format::Deflate,
            ("zstd", None) => Format::Zstd,
            ("br", None) => Format::Brotli,
            (name, _) => return Err(unsupported(name)),
        };
        Ok(Self::Compressed(format))
    }
}

fn unsupported(name: &str) -> Problem {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "-_., ".contains(c);
    let shown: String = name.chars().filter(|c| is_token(*c)).take(32).collect();
    let detail = format!(
        "the content encoding `{shown}` is not supported; send the body with one of gzip, deflate, zstd \
         and br, or without an encoding"
    );
    Problem::new(Code::UnsupportedMediaType, detail)
}

type Compressed = Pin<Box<dyn AsyncBufRead>>;

/// A body that is decompressed while it is read.
pub(super) struct Decoder {
    format: Format,
    body: Compressed,
    /// The compressed bytes read so far.
    read: Rc<Cell<usize>>,
}

impl Decoder {
    /// A decoder of at most `max` compressed bytes.
    pub(super) fn new(format: Format, payload: Payload, max: usize) -> Self {
        let read = Rc::new(Cell::new(0));
        let counter = Rc::clone(&read);
        let chunks = payload.map(move |chunk| -> io::Result<Bytes> {
            let chunk = chunk.map_err(as_io)?;
            counter.set(counter.get() + chunk.len());
            if counter.get() > max { Err(ErrorKind::FileTooLarge.into()) } else { Ok(chunk) }
        });
        Self { format, body: Box::pin(StreamReader::new(chunks)), read }
    }

    /// Reads the whole body.
    pub(super) async fn read(self, mut buffer: Buffer) -> Result<Bytes, Problem> {
        let max = buffer.max;
        let failed = |error: &io::Error| unreadable(error, max);
        let mut reader = reader(self.format, self.body).await.map_err(|error| failed(&error))?;
        let mut step = vec![0; STEP];
        loop {
            let count = reader.read(&mut step).await.map_err(|error| failed(&error))?;
            if count == 0 {
                return Ok(buffer.into_bytes());
            }
            buffer.push(&step[..count])?;
            let size = buffer.len();
            if size > RATIO_FREE && size / RATIO_MAX > self.read.get() {
                let detail = format!(
                    "the body expands to more than {RATIO_MAX} times its size; send it without an \
                     encoding"
                );
                return Err(Problem::new(Code::PayloadTooLarge, detail));
            }
        }
    }
}

/// A reader of the decompressed body.
async fn reader(format: Format, mut body: Compressed) -> io::Result<Pin<Box<dyn AsyncRead>>> {
    Ok(match format {
        Format::Gzip => Box::pin(GzipDecoder::new(body)),
        Format::Brotli => Box::pin(BrotliDecoder::new(body)),
        Format::Zstd => {
            let window = DParameter::window_log_max(ZSTD_WINDOW_LOG_MAX);
            Box::pin(ZstdDecoder::with_params(body, &[window]))
        }
        // the name means zlib (RFC 9110, section 8.4.1.2), and some clients send it without its head
        Format::Deflate if is_zlib(body.fill_buf().await?) => Box::pin(ZlibDecoder::new(body)),
        Format::Deflate => Box::pin(DeflateDecoder::new(body)),
    })
}

/// True for the first byte of zlib (RFC 1950). In a stream without its head the same bits begin a block
/// that is not compressed, which no encoder writes first.
fn is_zlib(bytes: &[u8]) -> bool {
    bytes.first().is_none_or(|first| first & 0x0f == 8)
}

fn unreadable(error: &io::Error, max: usize) -> Problem {
    if error.kind() == ErrorKind::TimedOut {
        return from_actix::timed_out();
    }
    if error.kind() == ErrorKind::FileTooLarge {
        return from_actix::too_large(max);
    }
    Problem::new(
        Code::BadRequest,
        "the body cannot be decompressed; check Content-Encoding, and that the body is complete",
    )
}

/// An error of the payload as an error of I/O, for readers.
fn as_io(error: PayloadError) -> io::Error {
    if let PayloadError::Io(error) = error { error } else { io::Error::other(error) }
}

#[cfg(test)]
mod tests;
