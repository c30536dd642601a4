//! Why a provider cannot be set up.

/// Why a provider cannot be set up. Quotes no value of the configuration: it may hold a key.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The setting is not a URL.
    #[error("{0} is not a URL such as https://host/v1; correct it")]
    Url(&'static str),
    /// The setting cannot be the value of an HTTP header.
    #[error("{0} has characters that a header cannot hold, such as a line break; correct it")]
    Header(&'static str),
    /// The HTTP client cannot be created.
    #[error("the HTTP client cannot be created; check the proxy variables of the environment")]
    Client(#[source] reqwest::Error),
}
