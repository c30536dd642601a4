//! What each operation demands, from the types of its handlers: a security requirement, the
//! permission by name, and the answers for who does not have it.

use utoipa::openapi::{
    Components, ContentBuilder, OpenApi, Ref, ResponseBuilder,
    extensions::ExtensionsBuilder,
    path::Operation,
    security::{
        ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
    },
};

use super::operations;
use crate::http::{access::Access, app::endpoints, envelope::Envelope, identity::API_KEY};

/// The extension that names an operation's permission.
const PERMISSION: &str = "x-mlsdm-permission";
/// The names of the schemes.
const SCHEMES: [&str; 2] = ["token", "key"];

/// Adds to a document with all its paths.
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
                demand(operation, *access, Envelope::of(&path));
            }
        }
    }
}

fn demand(operation: &mut Operation, access: Access, envelope: Envelope) {
    let none: [&str; 0] = [];
    let any = SCHEMES.map(|scheme| SecurityRequirement::new(scheme, none));
    operation.security =
        Some(if access == Access::Public { Vec::new() } else { any.into_iter().collect() });
    let named = ExtensionsBuilder::new().add(PERMISSION, access.as_str()).build();
    operation.extensions.get_or_insert_default().merge(named);
    if access == Access::Public {
        return;
    }
    let answer = |description: &str| {
        let schema = Ref::from_schema_name(match envelope {
            Envelope::Problem => "ProblemBody",
            Envelope::OpenAi => "OpenAiError",
            Envelope::Anthropic => "AnthropicError",
        });
        let content = ContentBuilder::new().schema(Some(schema)).build();
        ResponseBuilder::new()
            .description(description)
            .content(envelope.content_type(), content)
            .build()
            .into()
    };
    let answers = &mut operation.responses.responses;
    answers.insert("401".to_owned(), answer("No valid token or key (E201)"));
    let forbidden =
        "The permission is missing, or an end user is named who is somebody else (E202, E203)";
    answers.insert("403".to_owned(), answer(forbidden));
}
