//! Building an [`Authenticator`] from its [`Options`].

use std::sync::Arc;

use openidconnect::IssuerUrl;

use super::{
    Authenticator, Clock, EngineScope, Method, OidcOptions, Options, Principal, Rules,
    TokenOptions,
    certificates::Certificates,
    clock::now,
    dev::{DevKey, DevKeyError},
    keys::Keys,
    provider::{CachedKeys, ClientError, KeyEndpoint, Provider},
    role::Roles,
    tokens::{KeySource, Tokens},
};
use crate::{domain::ids::EngineId, lifecycle::Tasks};

/// Why an authenticator cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The HTTP client for the identity provider cannot be built.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The issuer or the address of its keys is not a URL.
    #[error("auth.oidc.issuer and auth.oidc.jwks_uri must be URLs: {0}")]
    Url(String),
    /// The development key cannot be read or created.
    #[error(transparent)]
    Dev(#[from] DevKeyError),
}

impl Authenticator {
    /// Builds the authenticator. Fetches the keys of an identity provider once and starts a task that
    /// refreshes them. An unreachable provider is not an error: the task keeps trying.
    pub async fn open(
        options: Options,
        tasks: &Tasks,
        clock: Clock,
    ) -> Result<Arc<Self>, SetupError> {
        let Options { mode, tokens, keys, certificates, engines, default_engine, roles, anonymous } =
            options;
        let tokens = match tokens {
            None => None,
            Some(TokenOptions::Oidc(oidc)) => {
                Some(oidc_tokens(oidc, default_engine.clone(), roles.clone(), tasks, &clock).await?)
            }
            Some(TokenOptions::Dev(path)) => {
                let key = DevKey::load_or_create(&path)?;
                let source = KeySource::Own(Arc::new(CachedKeys::permanent(key.keys()?)));
                let rules = DevKey::rules(default_engine.clone());
                Some(Tokens::new(rules, roles.clone(), source))
            }
        };
        let engines = scope(&engines, &default_engine);
        let certificates = Certificates::new(&certificates, &engines, &roles);
        let keys = keys.map(|keys| {
            let user = keys.user.as_ref().map(|key| (key, keys.user_role.as_str()));
            Keys::fixed(user, keys.admin.as_ref(), &engines, roles)
        });
        let anonymous = anonymous.then(|| Arc::new(Principal::anonymous()));
        Ok(Arc::new(Self { mode, clock, tokens, keys, certificates, anonymous }))
    }
}

/// The named engines, or the default engine if none is named.
fn scope(named: &[String], default: &EngineId) -> EngineScope {
    if named.is_empty() {
        return EngineScope::named([default.as_str()]);
    }
    EngineScope::named(named.iter().map(String::as_str))
}

async fn oidc_tokens(
    oidc: OidcOptions,
    default_engine: EngineId,
    known_roles: Roles,
    tasks: &Tasks,
    clock: &Clock,
) -> Result<Tokens, SetupError> {
    let url = |error: &dyn std::error::Error| SetupError::Url(error.to_string());
    let issuer = IssuerUrl::new(oidc.issuer.clone()).map_err(|error| url(&error))?;
    let jwks = oidc.jwks_uri.as_deref().map(reqwest::Url::parse).transpose();
    let jwks = jwks.map_err(|error| url(&error))?;
    let provider = Provider::new(KeyEndpoint::new(issuer, jwks)?, tasks.clone());
    provider.refresh(now(clock)).await;
    provider.keep_fresh(Arc::clone(clock));
    let rules = Rules {
        issuer: oidc.issuer,
        audience: oidc.audience,
        algorithms: oidc.algorithms,
        roles_claim: oidc.roles_claim,
        engines_claim: oidc.engines_claim,
        default_roles: oidc.default_roles,
        default_engine,
        method: Method::Oidc,
    };
    Ok(Tokens::new(rules, known_roles, KeySource::Provider(provider)))
}
