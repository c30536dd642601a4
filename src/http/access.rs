//! Access control: the type of a handler's first argument states what the route requires.
//!
//! The first argument of a handler is its guard: [`Authorized`] or
//! [`EngineCall`](super::engine::EngineCall) with the required permission, or [`Public`].
//! [`Endpoint`](super::Endpoint) accepts no handler without a guard, and the OpenAPI document is
//! generated from the same type, so that documentation and enforcement cannot differ.

use std::{
    future::{Ready, ready},
    marker::PhantomData,
    sync::Arc,
};

use actix_web::{FromRequest, HttpRequest, dev::Payload, web::Data};

use super::{AppState, Code, Problem, caller, identity::Identity};
use crate::{
    auth::{Permission, Principal},
    engine,
};

/// The requirement of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// None.
    Public,
    /// A valid credential.
    Authenticated,
    /// A valid credential with this permission.
    Permission(Permission),
}

impl Access {
    /// The name in the OpenAPI document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "none",
            Self::Authenticated => "authenticated",
            Self::Permission(permission) => permission.as_str(),
        }
    }
}

/// A requirement as a type.
pub trait Requirement: 'static {
    /// The requirement as a value.
    const ACCESS: Access;
}

/// A valid credential, with any permissions.
#[derive(Debug)]
pub struct Authenticated;

impl Requirement for Authenticated {
    const ACCESS: Access = Access::Authenticated;
}

/// One type per permission that a route requires.
pub mod permission {
    use super::{Access, Permission, Requirement};

    macro_rules! permissions {
        ($($name:ident)*) => {$(
            #[doc = concat!("[`Permission::", stringify!($name), "`].")]
            #[derive(Debug)]
            pub struct $name;

            impl Requirement for $name {
                const ACCESS: Access = Access::Permission(Permission::$name);
            }
        )*};
    }

    permissions! { Generate StateRead AuditRead AdminShutdown EngineAdmin KeyAdmin ServerAdmin }
}

/// The first argument of a handler.
#[diagnostic::on_unimplemented(
    message = "the first argument of a handler must be a guard: `Public`, `Authorized<…>` or \
               `EngineCall<…>`"
)]
pub trait Guard: FromRequest {
    /// The requirement it enforces.
    const ACCESS: Access;
}

/// The arguments of a handler, of which the first is a [`Guard`].
#[diagnostic::on_unimplemented(
    message = "the first argument of a handler must be a guard: `Public`, `Authorized<…>` or \
               `EngineCall<…>`"
)]
pub trait GuardedArgs: FromRequest {
    /// The requirement of the guard.
    const ACCESS: Access;
}

macro_rules! guarded_args {
    ($($argument:ident)*) => {
        impl<G: Guard + 'static, $($argument: FromRequest + 'static),*> GuardedArgs
            for (G, $($argument,)*)
        {
            const ACCESS: Access = G::ACCESS;
        }
    };
}

guarded_args! {}
guarded_args! { A }
guarded_args! { A B }
guarded_args! { A B C }
guarded_args! { A B C D }

/// The guard of a public route.
#[derive(Debug)]
pub struct Public;

impl FromRequest for Public {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(_: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self))
    }
}

impl Guard for Public {
    const ACCESS: Access = Access::Public;
}

/// A caller who meets the requirement `R`.
#[derive(Debug)]
pub struct Authorized<R> {
    /// The authenticated principal.
    pub principal: Arc<Principal>,
    /// The caller as engines see it.
    pub caller: engine::Caller,
    requirement: PhantomData<R>,
}

impl<R: Requirement> Guard for Authorized<R> {
    const ACCESS: Access = R::ACCESS;
}

impl<R: Requirement> FromRequest for Authorized<R> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::authorize(request))
    }
}

impl<R: Requirement> Authorized<R> {
    /// Authorizes the caller of a request, and the end user it acts for.
    pub(super) fn authorize(request: &HttpRequest) -> Result<Self, Problem> {
        let principal = Identity::of(request).authenticated()?;
        if let Access::Permission(permission) = R::ACCESS
            && !principal.may(permission)
        {
            if let Some(state) = request.app_data::<Data<AppState>>() {
                state.metrics.auth.denied(permission);
            }
            return Err(permission_denied(&principal, permission));
        }
        let caller = caller::from_request(request, &principal)?;
        Ok(Self { principal, caller, requirement: PhantomData })
    }
}

fn permission_denied(principal: &Principal, permission: Permission) -> Problem {
    tracing::warn!(
        event_type = "auth.forbidden",
        actor = principal.subject,
        %permission,
        "permission denied"
    );
    let detail = format!(
        "none of your roles grants the permission {permission}; GET /v1/me lists your permissions"
    );
    Problem::new(Code::Forbidden, detail)
}
