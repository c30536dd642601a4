//! The credential of commands that call a server.

use std::path::Path;

use anyhow::{Context as _, ensure};
use reqwest::{
    RequestBuilder,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};
use secrecy::{ExposeSecret as _, SecretString};

/// Maximum size of a token file in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The header with a token or an API key.
#[derive(Clone, Debug)]
pub(super) struct Credential {
    header: HeaderName,
    value: HeaderValue,
}

impl Credential {
    /// The token of the flag, else of `MLSDM_TOKEN`, else of the file in `MLSDM_TOKEN_FILE`, else the API
    /// key of `MLSDM_API_KEY`. An empty variable counts as not set.
    pub(super) fn find(
        flag: Option<&SecretString>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Option<Self>> {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        let token = flag.map(|token| token.expose_secret().to_owned());
        if let Some(token) = token.or_else(|| given("MLSDM_TOKEN")) {
            return Self::token(&token).map(Some);
        }
        if let Some(path) = given("MLSDM_TOKEN_FILE") {
            return Self::token(&read(Path::new(&path))?).map(Some);
        }
        let Some(key) = given("MLSDM_API_KEY") else { return Ok(None) };
        Self::new(HeaderName::from_static("x-api-key"), key.trim()).map(Some)
    }

    /// `Authorization: Bearer …`.
    pub(super) fn token(token: &str) -> anyhow::Result<Self> {
        Self::new(AUTHORIZATION, &format!("Bearer {}", token.trim()))
    }

    fn new(header: HeaderName, text: &str) -> anyhow::Result<Self> {
        // the error of the HTTP library would not name the credential
        let mut value = HeaderValue::from_str(text).ok().context(
            "the token or key contains characters that are not allowed; check its source",
        )?;
        value.set_sensitive(true);
        Ok(Self { header, value })
    }

    /// Adds the header to a request.
    pub(super) fn on(&self, request: RequestBuilder) -> RequestBuilder {
        request.header(self.header.clone(), self.value.clone())
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let fail = || format!("MLSDM_TOKEN_FILE names {}, which cannot be read", path.display());
    let length = std::fs::metadata(path).with_context(fail)?.len();
    ensure!(length <= FILE_BYTES_MAX, "{}: more than {FILE_BYTES_MAX} bytes", path.display());
    std::fs::read_to_string(path).with_context(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(flag: Option<&str>, variables: &[(&str, &str)]) -> Option<(String, String)> {
        let variable = |name: &str| {
            let set = variables.iter().find(|(known, _)| *known == name);
            set.map(|(_, value)| (*value).to_owned())
        };
        let flag = flag.map(SecretString::from);
        let credential = Credential::find(flag.as_ref(), variable).unwrap()?;
        assert!(!format!("{credential:?}").contains("geheim"), "{credential:?}");
        let value = credential.value.to_str().unwrap().to_owned();
        Some((credential.header.to_string(), value))
    }

    #[test]
    fn the_flag_has_the_highest_precedence_and_the_key_the_lowest() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "geheim-file\n").unwrap();
        let all = [
            ("MLSDM_API_KEY", "geheim-key"),
            ("MLSDM_TOKEN_FILE", file.to_str().unwrap()),
            ("MLSDM_TOKEN", "geheim-env"),
        ];
        let bearer = |token: &str| Some(("authorization".to_owned(), format!("Bearer {token}")));
        assert_eq!(found(Some("geheim-flag"), &all), bearer("geheim-flag"));
        assert_eq!(found(None, &all), bearer("geheim-env"));
        assert_eq!(found(None, &all[..2]), bearer("geheim-file"));
        let key = Some(("x-api-key".to_owned(), "geheim-key".to_owned()));
        assert_eq!(found(None, &all[..1]), key);
        assert_eq!(found(None, &[("MLSDM_TOKEN", "")]), None);
    }
}
