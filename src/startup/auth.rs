//! The authenticator of a configuration.

use std::{path::Path, sync::Arc};

use super::StartError;
use crate::{
    auth::{
        Authenticator, CertificateHolder, Clock, KeyOptions, OidcOptions, Options, Permission,
        TokenOptions, dev::key_path,
    },
    config::{self, AuthMode, Config},
    engine::Engines,
    lifecycle::Tasks,
};

/// The authenticator of a configuration. It follows the API keys in the system log, which is created
/// if it is missing.
pub async fn authenticator(
    config: &Config,
    engines: &Engines,
    tasks: &Tasks,
    clock: Clock,
) -> Result<Arc<Authenticator>, StartError> {
    let options = options(config, engines.parts().store.path());
    if options.keys.as_ref().is_some_and(|keys| keys.user.is_some()) {
        let role = &config.auth.api_key_role;
        let permissions = config.auth.known_roles().resolve([role.as_str()].into_iter()).1;
        tracing::info!(
            event_type = "auth.api_key_role",
            role,
            names_end_users = permissions.contains(Permission::SubjectDelegate),
            "the role of API_KEY is auth.api_key_role; with the role service it names the end users for \
             whom it sends requests"
        );
    }
    let auth = Authenticator::open(options, tasks, clock).await?;
    auth.follow_keys(engines.system().await?.views(), tasks);
    Ok(auth)
}

/// `sqlite` is the file of a SQLite database: the development key is stored beside it.
fn options(config: &Config, sqlite: Option<&Path>) -> Options {
    let auth = &config.auth;
    let mode = auth.mode(config.api.host);
    let tokens = match mode {
        AuthMode::Oidc | AuthMode::OidcAndKeys => Some(TokenOptions::Oidc(oidc(&auth.oidc))),
        AuthMode::Dev => Some(TokenOptions::Dev(key_path(sqlite))),
        AuthMode::Keys | AuthMode::None => None,
    };
    let accepts_keys = matches!(mode, AuthMode::Keys | AuthMode::OidcAndKeys | AuthMode::Dev);
    let keys = KeyOptions {
        user: auth.keys.user().cloned(),
        user_role: auth.api_key_role.clone(),
        admin: auth.keys.admin().cloned(),
    };
    let holder = |entry: &config::CertificateEntry| CertificateHolder {
        name: entry.name.clone(),
        roles: entry.roles.clone(),
    };
    Options {
        mode: mode.as_str(),
        tokens,
        keys: accepts_keys.then_some(keys),
        certificates: auth.certificates.iter().map(holder).collect(),
        engines: auth.keys.engines.clone(),
        default_engine: config.engine.default_id().clone(),
        roles: auth.known_roles(),
        anonymous: mode == AuthMode::None,
    }
}

fn oidc(oidc: &config::Oidc) -> OidcOptions {
    OidcOptions {
        issuer: oidc.issuer.clone(),
        audience: oidc.audience.clone(),
        jwks_uri: oidc.jwks_uri().map(str::to_owned),
        algorithms: oidc.algorithms.clone(),
        roles_claim: oidc.roles_claim.clone(),
        engines_claim: oidc.engines_claim.clone(),
        default_roles: oidc.default_roles.clone(),
    }
}
