//! Chat completions.

mod check;
mod render;

pub(super) use check::{check, strict_schema};
pub(super) use render::render;

/// True for the models that reason and accept no sampling parameters.
pub(super) fn reasons(model: &str) -> bool {
    ["o1", "o3", "o4", "gpt-5"].iter().any(|prefix| model.starts_with(prefix))
}
