//! The use of the memory that a request asks for.

use actix_web::HttpRequest;

use crate::{
    domain::policy::MemoryMode,
    http::{Code, Problem, caller},
};

/// The header with the same meaning as the field `mlsdm.memory`.
const HEADER: &str = "x-mlsdm-memory";

/// The smaller of the uses in the header and in the body; the default of the route without both.
pub(super) fn mode(
    request: &HttpRequest,
    body: Option<MemoryMode>,
    default: MemoryMode,
) -> Result<MemoryMode, Problem> {
    let header = caller::header(request, HEADER, 16, |c| c.is_ascii_graphic())?;
    let header = header.as_deref().map(parse).transpose()?;
    Ok(header.into_iter().chain(body).min().unwrap_or(default))
}

fn parse(name: &str) -> Result<MemoryMode, Problem> {
    match name {
        "full" => Ok(MemoryMode::Full),
        "recall" => Ok(MemoryMode::Recall),
        "off" => Ok(MemoryMode::Off),
        _ => Err(Problem::new(Code::BadHeader, format!("{HEADER} must be full, recall or off"))),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn the_smaller_use_counts_and_the_route_has_a_default() {
        let with = |value| TestRequest::default().insert_header((HEADER, value)).to_http_request();
        let (off, none) = (with("off"), TestRequest::default().to_http_request());
        let full = MemoryMode::Full;
        assert_eq!(mode(&off, Some(full), full).ok(), Some(MemoryMode::Off));
        assert_eq!(mode(&with("full"), Some(MemoryMode::Off), full).ok(), Some(MemoryMode::Off));
        assert_eq!(mode(&with("full"), None, MemoryMode::Recall).ok(), Some(full));
        assert_eq!(mode(&none, None, MemoryMode::Recall).ok(), Some(MemoryMode::Recall));
        assert_eq!(mode(&with("some"), None, full).unwrap_err().code(), Code::BadHeader);
    }
}
