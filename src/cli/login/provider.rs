//! Requests to the identity provider for a user: authorization code with PKCE (RFC 7636), device code (RFC
//! 8628), renewal.
//!
//! This program is a public client without a secret. Tokens are not inspected here: they come from the
//! provider's own endpoint, and the server verifies them. Errors contain the provider's error code but no
//! other text of its response.

use std::{fmt::Display, time::Duration};

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

use super::{
    error::{LoginError, error_code},
    redirect::Redirect,
    stored::Login,
};
use crate::{config::Oidc, trust};

/// Timeout of one request.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum size of a response body in bytes.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// Path of the provider's metadata below its issuer URL.
const METADATA_PATH: &str = ".well-known/openid-configuration";

/// A request without a usable response.
#[derive(Debug, thiserror::Error)]
#[error("no response")]
struct NoResponse;

/// The tokens of a login.
pub(super) struct TokenSet {
    pub(super) token: String,
    pub(super) refresh_token: Option<String>,
    pub(super) expires_in: Option<i64>,
}

/// A provider with its endpoints.
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

/// Metadata of RFC 8628, which the library does not parse.
#[derive(Deserialize)]
struct DeviceMetadata {
    device_authorization_endpoint: Option<DeviceAuthorizationUrl>,
}

impl Provider {
    /// Reads the endpoints of the configured provider.
    pub(super) async fn discover(oidc: &Oidc) -> Result<Self, LoginError> {
        let client_id = oidc.client_id().ok_or(LoginError::NotConfigured)?;
        let http = client()?;
        let (metadata, device) = metadata(&http, &oidc.issuer).await?;
        let issuer = metadata.issuer().clone();
        let token = metadata.token_endpoint().ok_or(LoginError::Malformed)?.clone();
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
            authorize: metadata.authorization_endpoint().clone(),
            token,
            device,
            issuer,
        })
    }

    fn scopes(&self) -> impl Iterator<Item = Scope> {
        self.scopes.iter().cloned().map(Scope::new)
    }

    /// Logs in with a browser on this machine. `show` gets the address to open.
    pub(super) async fn by_browser(&self, show: impl Fn(&str)) -> Result<TokenSet, LoginError> {
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
            // some providers return a refresh token only with consent
            .add_prompt(CoreAuthPrompt::Consent)
            .set_pkce_challenge(challenge)
            .add_extra_param("audience", self.audience.as_str())
            .url();
        show(address.as_str());
        let code = AuthorizationCode::new(redirect.code(&state).await?);
        let http = |request| call(&self.http, request);
        let request = client.exchange_code(code).set_pkce_verifier(verifier);
        token_set(request.request_async(&http).await)
    }

    /// Logs in with any device. `show` gets the address and the code.
    pub(super) async fn by_device(
        &self,
        show: impl Fn(&str, &str),
    ) -> Result<TokenSet, LoginError> {
        let device = self.device.clone().ok_or(LoginError::NoDeviceCodes)?;
        let client = core_client(&self.client_id, &self.issuer)
            .set_token_uri(self.token.clone())
            .set_device_authorization_url(device);
        let http = |request| call(&self.http, request);
        let request = client.exchange_device_code().add_scopes(self.scopes());
        let request = request.add_extra_param("audience", self.audience.as_str());
        let details: CoreDeviceAuthorizationResponse =
            request.request_async(&http).await.map_err(login_error)?;
        let complete = details.verification_uri_complete().map(|uri| uri.secret().as_str());
        let address = complete.unwrap_or_else(|| details.verification_uri().as_str());
        show(address, details.user_code().secret());
        let request = client.exchange_device_access_token(&details);
        token_set(request.request_async(&http, tokio::time::sleep, None).await)
    }

    /// The login to store.
    pub(super) fn login(&self, tokens: TokenSet, now: i64) -> Login {
        Login {
            issuer: self.issuer.to_string(),
            client_id: self.client_id.to_string(),
            token_endpoint: self.token.to_string(),
            token: tokens.token,
            refresh_token: tokens.refresh_token,
            expires_at: tokens.expires_in.map(|seconds| now + seconds),
        }
    }
}

/// Reads the metadata of a provider, and checks that it names the issuer.
async fn metadata(
    http: &reqwest::Client,
    issuer: &str,
) -> Result<(CoreProviderMetadata, DeviceMetadata), LoginError> {
    let issuer = IssuerUrl::new(issuer.to_owned()).map_err(|_| LoginError::NotConfigured)?;
    let url = issuer.join(METADATA_PATH).map_err(|_| LoginError::NotConfigured)?;
    let request = http::Request::get(url.as_str()).body(Vec::new());
    let request = request.map_err(|_| LoginError::NotConfigured)?;
    let response = call(http, request).await.map_err(|NoResponse| LoginError::Unreachable)?;
    let malformed = |_| LoginError::Malformed;
    let metadata: CoreProviderMetadata =
        serde_json::from_slice(response.body()).map_err(malformed)?;
    let device = serde_json::from_slice(response.body()).map_err(malformed)?;
    if *metadata.issuer() == issuer { Ok((metadata, device)) } else { Err(LoginError::Issuer) }
}

/// Checks that the provider can be reached and is the configured issuer.
pub(in crate::cli) async fn check_metadata(oidc: &Oidc) -> Result<(), LoginError> {
    metadata(&client()?, &oidc.issuer).await.map(drop)
}

/// Renews the token of a login.
pub(super) async fn renew(login: &Login) -> Result<TokenSet, LoginError> {
    let refresh = login.refresh_token.clone().ok_or(LoginError::NotRenewable)?;
    let issuer = IssuerUrl::new(login.issuer.clone()).map_err(|_| LoginError::Malformed)?;
    let token = TokenUrl::new(login.token_endpoint.clone()).map_err(|_| LoginError::Malformed)?;
    let client_id = ClientId::new(login.client_id.clone());
    let client = core_client(&client_id, &issuer).set_token_uri(token);
    let http = self::client()?;
    let http = |request| call(&http, request);
    let refresh = RefreshToken::new(refresh);
    token_set(client.exchange_refresh_token(&refresh).request_async(&http).await)
}

fn core_client(client_id: &ClientId, issuer: &IssuerUrl) -> CoreClient {
    CoreClient::new(client_id.clone(), issuer.clone(), JsonWebKeySet::default())
        .set_auth_type(AuthType::RequestBody)
}

fn is_plain(url: &Url) -> bool {
    url.scheme() != "https"
}

/// Selects the token for the server: the access token if it is a JWT, else the ID token.
fn token_set<T: ErrorResponseType + Display + 'static>(
    response: Result<CoreTokenResponse, RequestTokenError<NoResponse, StandardErrorResponse<T>>>,
) -> Result<TokenSet, LoginError> {
    let response = response.map_err(login_error)?;
    let is_jwt = |token: &String| token.split('.').count() == 3;
    let access = Some(response.access_token().secret().clone()).filter(is_jwt);
    let id = || response.id_token().map(ToString::to_string);
    Ok(TokenSet {
        token: access.or_else(id).ok_or(LoginError::NoJwt)?,
        refresh_token: response.refresh_token().map(|token| token.secret().clone()),
        expires_in: response.expires_in().and_then(|lifetime| lifetime.as_secs().try_into().ok()),
    })
}

fn login_error<T: ErrorResponseType + Display + 'static>(
    error: RequestTokenError<NoResponse, StandardErrorResponse<T>>,
) -> LoginError {
    match error {
        RequestTokenError::ServerResponse(refusal) => {
            let code = serde_json::to_value(refusal.error()).unwrap_or_default();
            LoginError::Refused(error_code(code.as_str().unwrap_or_default()))
        }
        RequestTokenError::Request(NoResponse) => LoginError::Unreachable,
        RequestTokenError::Parse(..) => LoginError::Malformed,
        RequestTokenError::Other(_) => LoginError::TimedOut,
    }
}

fn client() -> Result<reqwest::Client, LoginError> {
    // a redirect could send a code or a refresh token to another host
    let redirects = reqwest::redirect::Policy::none();
    let builder = trust::client().timeout(TIMEOUT).redirect(redirects);
    builder.build().map_err(|_| LoginError::Unreachable)
}

/// Sends one request and reads a bounded response.
async fn call(http: &reqwest::Client, request: HttpRequest) -> Result<HttpResponse, NoResponse> {
    let request = request.try_into().map_err(|_| NoResponse)?;
    let mut response = http.execute(request).await.map_err(|_| NoResponse)?;
    let mut result = http::Response::builder().status(response.status());
    for (name, value) in response.headers() {
        result = result.header(name, value);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| NoResponse)? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(NoResponse);
        }
        body.extend_from_slice(&chunk);
    }
    result.body(body).map_err(|_| NoResponse)
}
