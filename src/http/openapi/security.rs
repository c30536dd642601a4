//! Adds the access requirement of each operation, read from the guard of its handler: security
//! requirement, permission, and the responses 401 and 403.

use actix_web::http::header::HeaderMap;
use utoipa::openapi::{
    Components, OpenApi,
    extensions::ExtensionsBuilder,
    path::Operation,
    security::{
        ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
    },
};

use super::operations::operations;
use crate::http::{
    Code,
    access::Access,
    identity::API_KEY,
    problem::{envelope::Envelope, responses::responses},
    routes::endpoints,
};

/// The extension with the permission of an operation.
const PERMISSION: &str = "x-mlsdm-permission";
/// The names of the security schemes: access token and API key.
const SCHEMES: [&str; 2] = ["token", "key"];

/// Describes all operations of a document.
pub(super) fn describe(document: &mut OpenApi) {
    let components = document.components.get_or_insert_with(Components::default);
    let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    components.add_security_scheme(SCHEMES[0], SecurityScheme::Http(token));
    let key = ApiKey::Header(ApiKeyValue::new(API_KEY.as_str()));
    components.add_security_scheme(SCHEMES[1], SecurityScheme::ApiKey(key));
    for endpoint in endpoints() {
        let path = endpoint.path();
        let Some(item) = document.paths.paths.get_mut(&path) else { continue };
        for (name, operation) in operations(item) {
            let same = |method: &str| method.eq_ignore_ascii_case(name);
            let found = endpoint.methods().iter().find(|(method, _)| same(method.as_str()));
            if let Some((_, access)) = found {
                require(operation, *access, Envelope::of(&path, &HeaderMap::new()));
            }
        }
    }
}

fn require(operation: &mut Operation, access: Access, envelope: Envelope) {
    let none: [&str; 0] = [];
    let any = SCHEMES.map(|scheme| SecurityRequirement::new(scheme, none));
    operation.security =
        Some(if access == Access::Public { Vec::new() } else { any.into_iter().collect() });
    let named = ExtensionsBuilder::new().add(PERMISSION, access.as_str()).build();
    operation.extensions.get_or_insert_default().merge(named);
    if access == Access::Public {
        return;
    }
    let codes = [Code::Unauthenticated, Code::Forbidden, Code::OtherSubject];
    operation.responses.responses.extend(responses(envelope, codes.into_iter()));
}
