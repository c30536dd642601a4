//! From configuration to an [`Authenticator`].

use std::{path::Path, sync::Arc};

use openidconnect::IssuerUrl;

use super::{
    Authenticator, Clock, EngineScope, Method, Principal, Rules,
    certificates::Certificates,
    dev::{DevKey, DevKeyError, key_path},
    keys::Keys,
    now,
    provider::{ClientError, Held, Place, Provider},
    role::Roles,
    tokens::{Source, Tokens},
};
use crate::{
    config::{AuthMode, Config},
    domain::ids::EngineId,
    lifecycle::Tasks,
};

/// Why callers cannot be told apart.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The client for the identity provider.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The issuer's URL.
    #[error("auth.oidc.issuer and auth.oidc.jwks_uri must be URLs: {0}")]
    Url(String),
    /// The key of the development mode.
    #[error(transparent)]
    Dev(#[from] DevKeyError),
}

impl Authenticator {
    /// The one of a configuration. An identity provider is asked for its keys once, now, and again
    /// and again by a task; one that is away is no reason not to start.
    pub async fn open(
        config: &Config,
        sqlite: Option<&Path>,
        tasks: &Tasks,
        clock: Clock,
    ) -> Result<Arc<Self>, SetupError> {
        let auth = &config.auth;
        let roles = Roles::new(&auth.roles);
        let default = config.engine.default_id();
        let mode = auth.mode(config.api.host);
        let tokens = match mode {
            AuthMode::Oidc | AuthMode::OidcAndKeys => {
                Some(oidc(config, roles.clone(), tasks, &clock).await?)
            }
            AuthMode::Dev => {
                let key = DevKey::load_or_create(&key_path(sqlite))?;
                let source = Source::Own(Arc::new(Held::own(key.keys()?)));
                Some(Tokens::new(DevKey::rules(default.clone()), roles.clone(), source))
            }
            AuthMode::Keys | AuthMode::None => None,
        };
        let takes_keys = matches!(mode, AuthMode::Keys | AuthMode::OidcAndKeys | AuthMode::Dev);
        let engines = scope(&auth.keys.engines, default);
        let certificates = Certificates::new(&auth.certificates, &engines, &roles);
        let keys =
            takes_keys.then(|| Keys::fixed(auth.keys.user(), auth.keys.admin(), &engines, roles));
        let anonymous = (mode == AuthMode::None).then(|| Arc::new(Principal::anonymous()));
        Ok(Arc::new(Self { mode, clock, tokens, keys, certificates, anonymous }))
    }
}

/// The engines that configuration names; the default one if it names none.
fn scope(named: &[String], default: &EngineId) -> EngineScope {
    if named.is_empty() {
        return EngineScope::named([default.as_str()]);
    }
    EngineScope::named(named.iter().map(String::as_str))
}

async fn oidc(
    config: &Config,
    known: Roles,
    tasks: &Tasks,
    clock: &Clock,
) -> Result<Tokens, SetupError> {
    let oidc = &config.auth.oidc;
    let url = |error: &dyn std::error::Error| SetupError::Url(error.to_string());
    let issuer = IssuerUrl::new(oidc.issuer.clone()).map_err(|error| url(&error))?;
    let jwks = oidc.jwks_uri().map(reqwest::Url::parse).transpose().map_err(|error| url(&error))?;
    let provider = Provider::new(Place::new(issuer, jwks)?, tasks.clone());
    provider.refresh(now(clock)).await;
    provider.keep_fresh(Arc::clone(clock));
    let rules = Rules {
        issuer: oidc.issuer.clone(),
        audience: oidc.audience.clone(),
        algorithms: oidc.algorithms.clone(),
        roles_claim: oidc.roles_claim.clone(),
        engines_claim: oidc.engines_claim.clone(),
        default_roles: oidc.default_roles.clone(),
        default_engine: config.engine.default_id().clone(),
        method: Method::Oidc,
    };
    Ok(Tokens::new(rules, known, Source::Provider(provider)))
}
