//! `mlsdm openapi`: prints the document that `deploy/openapi.json` contains.

use std::io::{self, Write as _};

use crate::http::openapi;

/// Prints the document. `--json` has no effect.
pub(super) fn run() -> anyhow::Result<()> {
    let text = openapi::text(&openapi::document())?;
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}
