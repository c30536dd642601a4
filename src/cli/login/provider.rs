//! What is asked of the identity provider for a person: authorization codes with PKCE, device codes,
//! renewals.
//!
//! This program is a public client: it has no secret. Tokens are not looked into here, they come
//! from the provider's own endpoint; the server verifies them. Errors carry the provider's error
//! code and none of its texts.

use std::{fmt::Display, io, time::Duration};

use openidconnect::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, CsrfToken, DeviceAuthorizationUrl,
    ErrorResponseType, HttpRequest, HttpResponse, IssuerUrl, JsonWebKeySet, Nonce,
    OAuth2TokenResponse as _, PkceCodeChallenge, RedirectUrl, RefreshToken, RequestTokenError,
    Scope, StandardErrorResponse, TokenResponse as _, TokenUrl,
    core::{
        CoreAuthPrompt, CoreAuthenticationFlow, CoreClient, CoreDeviceAuthorizationResponse,
        CoreProviderMetadata, CoreTokenResponse,
    },
    http,
};
use reqwest::Url;
use serde::Deserialize;

use super::{redirect::Redirect, stored::Login};
use crate::config::Oidc;

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer, in bytes.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// Longest error code that is shown.
const ERROR_CODE_MAX: usize = 64;
/// Where a provider describes itself, below its issuer URL.
const DESCRIPTION: &str = ".well-known/openid-configuration";

/// Why nobody is logged in.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum LoginError {
    /// Exit code 2.
    #[error(
        "set MLSDM_OIDC_ISSUER, MLSDM_OIDC_AUDIENCE and MLSDM_OIDC_CLIENT_ID to log in; for a server \
         of your own in mode dev: export MLSDM_TOKEN=$(mlsdm token)"
    )]
    NotConfigured,
    /// Exit code 3.
    #[error("no answer from the identity provider; see that auth.oidc.issuer can be reached")]
    Unreachable,
    #[error("the identity provider refuses: {0}")]
    Refused(String),
    #[error("the identity provider names another issuer; set MLSDM_OIDC_ISSUER exactly as it does")]
    Issuer,
    #[error("the identity provider has an endpoint without TLS, and would get tokens there")]
    Insecure,
    #[error("the identity provider knows no device codes; log in without --device")]
    NoDeviceCodes,
    #[error("not what an identity provider answers; see that auth.oidc.issuer is its issuer URL")]
    Malformed,
    #[error(
        "the identity provider gave no JWT; make it issue them for auth.oidc.audience \
         (deploy/OIDC.md)"
    )]
    NoJwt,
    #[error("nobody logged in in time")]
    TooLate,
    #[error("no refresh token came with it; ask for a scope such as offline_access")]
    NotRenewable,
    #[error("cannot listen for the browser: {0}")]
    Listen(#[from] io::Error),
}

/// An exchange that brought no answer.
#[derive(Debug, thiserror::Error)]
#[error("no answer")]
struct NoAnswer;

/// What the provider grants.
pub(super) struct Granted {
    pub(super) token: String,
    pub(super) refresh_token: Option<String>,
    pub(super) lives_seconds: Option<i64>,
}

/// A provider that has described itself.
pub(super) struct Provider {
    http: reqwest::Client,
    issuer: IssuerUrl,
    client_id: ClientId,
    scopes: Vec<String>,
    audience: String,
    authorize: AuthUrl,
    token: TokenUrl,
    device: Option<DeviceAuthorizationUrl>,
}

/// What is not part of the standard description.
#[derive(Deserialize)]
struct Device {
    device_authorization_endpoint: Option<DeviceAuthorizationUrl>,
}

impl Provider {
    /// Asks the configured provider where its endpoints are.
    pub(super) async fn discover(oidc: &Oidc) -> Result<Self, LoginError> {
        let client_id = oidc.client_id().ok_or(LoginError::NotConfigured)?;
        let http = client()?;
        let (described, device) = describe(&http, &oidc.issuer).await?;
        let issuer = described.issuer().clone();
        let token = described.token_endpoint().ok_or(LoginError::Malformed)?.clone();
        let device = device.device_authorization_endpoint;
        let plain = is_plain(token.url()) || device.as_ref().is_some_and(|url| is_plain(url.url()));
        if plain && !is_plain(issuer.url()) {
            return Err(LoginError::Insecure);
        }
        Ok(Self {
            http,
            client_id: ClientId::new(client_id.to_owned()),
            scopes: oidc.scopes.clone(),
            audience: oidc.audience.clone(),
            authorize: described.authorization_endpoint().clone(),
            token,
            device,
            issuer,
        })
    }

    fn scopes(&self) -> impl Iterator<Item = Scope> {
        self.scopes.iter().cloned().map(Scope::new)
    }

    /// Lets somebody log in with a browser of this machine: `show` gets the address.
    pub(super) async fn by_browser(&self, show: impl Fn(&str)) -> Result<Granted, LoginError> {
        let redirect = Redirect::bind().await?;
        let url = RedirectUrl::new(redirect.url.clone()).map_err(|_| LoginError::Malformed)?;
        let client = core_client(&self.client_id, &self.issuer)
            .set_auth_uri(self.authorize.clone())
            .set_token_uri(self.token.clone())
            .set_redirect_uri(url);
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let flow = CoreAuthenticationFlow::AuthorizationCode;
        let (address, state, _) = client
            .authorize_url(flow, CsrfToken::new_random, Nonce::new_random)
            .add_scopes(self.scopes())
            // without it a provider need not give a refresh token
            .add_prompt(CoreAuthPrompt::Consent)
            .set_pkce_challenge(challenge)
            .add_extra_param("audience", self.audience.as_str())
            .url();
        show(address.as_str());
        let code = AuthorizationCode::new(redirect.code(&state).await?);
        let http = |request| call(&self.http, request);
        let asked = client.exchange_code(code).set_pkce_verifier(verifier);
        granted(asked.request_async(&http).await)
    }

    /// Lets somebody log in anywhere: `show` gets the address and the code.
    pub(super) async fn by_device(&self, show: impl Fn(&str, &str)) -> Result<Granted, LoginError> {
        let device = self.device.clone().ok_or(LoginError::NoDeviceCodes)?;
        let client = core_client(&self.client_id, &self.issuer)
            .set_token_uri(self.token.clone())
            .set_device_authorization_url(device);
        let http = |request| call(&self.http, request);
        let asked = client.exchange_device_code().add_scopes(self.scopes());
        let asked = asked.add_extra_param("audience", self.audience.as_str());
        let details: CoreDeviceAuthorizationResponse =
            asked.request_async(&http).await.map_err(failed)?;
        let whole = details.verification_uri_complete().map(|uri| uri.secret().as_str());
        let address = whole.unwrap_or_else(|| details.verification_uri().as_str());
        show(address, details.user_code().secret());
        let asked = client.exchange_device_access_token(&details);
        granted(asked.request_async(&http, tokio::time::sleep, None).await)
    }

    /// What is kept of a login.
    pub(super) fn login(&self, granted: Granted, now: i64) -> Login {
        Login {
            issuer: self.issuer.to_string(),
            client_id: self.client_id.to_string(),
            token_endpoint: self.token.to_string(),
            token: granted.token,
            refresh_token: granted.refresh_token,
            expires_at: granted.lives_seconds.map(|seconds| now + seconds),
        }
    }
}

/// What a provider says of itself.
async fn describe(
    http: &reqwest::Client,
    issuer: &str,
) -> Result<(CoreProviderMetadata, Device), LoginError> {
    let issuer = IssuerUrl::new(issuer.to_owned()).map_err(|_| LoginError::NotConfigured)?;
    let url = issuer.join(DESCRIPTION).map_err(|_| LoginError::NotConfigured)?;
    let request = http::Request::get(url.as_str()).body(Vec::new());
    let request = request.map_err(|_| LoginError::NotConfigured)?;
    let answer = call(http, request).await.map_err(|NoAnswer| LoginError::Unreachable)?;
    let malformed = |_| LoginError::Malformed;
    let described: CoreProviderMetadata =
        serde_json::from_slice(answer.body()).map_err(malformed)?;
    let device = serde_json::from_slice(answer.body()).map_err(malformed)?;
    if *described.issuer() == issuer { Ok((described, device)) } else { Err(LoginError::Issuer) }
}

/// Whether the provider can be asked, and is who it should be.
pub(in crate::cli) async fn reach(oidc: &Oidc) -> Result<(), LoginError> {
    describe(&client()?, &oidc.issuer).await.map(drop)
}

/// A new token for an old login.
pub(super) async fn renew(login: &Login) -> Result<Granted, LoginError> {
    let refresh = login.refresh_token.clone().ok_or(LoginError::NotRenewable)?;
    let issuer = IssuerUrl::new(login.issuer.clone()).map_err(|_| LoginError::Malformed)?;
    let token = TokenUrl::new(login.token_endpoint.clone()).map_err(|_| LoginError::Malformed)?;
    let client_id = ClientId::new(login.client_id.clone());
    let client = core_client(&client_id, &issuer).set_token_uri(token);
    let http = self::client()?;
    let http = |request| call(&http, request);
    let refresh = RefreshToken::new(refresh);
    granted(client.exchange_refresh_token(&refresh).request_async(&http).await)
}

fn core_client(client_id: &ClientId, issuer: &IssuerUrl) -> CoreClient {
    CoreClient::new(client_id.clone(), issuer.clone(), JsonWebKeySet::default())
        .set_auth_type(AuthType::RequestBody)
}

fn is_plain(url: &Url) -> bool {
    url.scheme() != "https"
}

/// The token for the server: the access token, or where that is nothing but a handle the ID token.
fn granted<T: ErrorResponseType + Display + 'static>(
    answer: Result<CoreTokenResponse, RequestTokenError<NoAnswer, StandardErrorResponse<T>>>,
) -> Result<Granted, LoginError> {
    let answer = answer.map_err(failed)?;
    let is_jwt = |token: &String| token.split('.').count() == 3;
    let access = Some(answer.access_token().secret().clone()).filter(is_jwt);
    let id = || answer.id_token().map(ToString::to_string);
    Ok(Granted {
        token: access.or_else(id).ok_or(LoginError::NoJwt)?,
        refresh_token: answer.refresh_token().map(|token| token.secret().clone()),
        lives_seconds: answer.expires_in().and_then(|life| life.as_secs().try_into().ok()),
    })
}

fn failed<T: ErrorResponseType + Display + 'static>(
    error: RequestTokenError<NoAnswer, StandardErrorResponse<T>>,
) -> LoginError {
    match error {
        RequestTokenError::ServerResponse(refusal) => {
            let code = serde_json::to_value(refusal.error()).unwrap_or_default();
            LoginError::Refused(error_code(code.as_str().unwrap_or_default()))
        }
        RequestTokenError::Request(NoAnswer) => LoginError::Unreachable,
        RequestTokenError::Parse(..) => LoginError::Malformed,
        RequestTokenError::Other(_) => LoginError::TooLate,
    }
}

/// An error code as it may be shown: a word, as the standards have it.
pub(super) fn error_code(text: &str) -> String {
    let is_word = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ' ');
    text.chars().take(ERROR_CODE_MAX).filter(is_word).collect()
}

fn client() -> Result<reqwest::Client, LoginError> {
    // a redirect could take a code or a refresh token elsewhere
    let redirects = reqwest::redirect::Policy::none();
    let builder = reqwest::Client::builder().timeout(TIMEOUT).redirect(redirects);
    builder.build().map_err(|_| LoginError::Unreachable)
}

/// One exchange, with a bounded answer.
async fn call(http: &reqwest::Client, request: HttpRequest) -> Result<HttpResponse, NoAnswer> {
    let request = request.try_into().map_err(|_| NoAnswer)?;
    let mut response = http.execute(request).await.map_err(|_| NoAnswer)?;
    let mut answer = http::Response::builder().status(response.status());
    for (name, value) in response.headers() {
        answer = answer.header(name, value);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| NoAnswer)? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(NoAnswer);
        }
        body.extend_from_slice(&chunk);
    }
    answer.body(body).map_err(|_| NoAnswer)
}
