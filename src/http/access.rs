//! What a route demands of its caller, in the type of its handler.
//!
//! A handler's first argument is its guard: [`Allowed`] with the permission it needs, or [`Anyone`].
//! [`Endpoint`](super::Endpoint) takes no handler without one, and the API document reads the same
//! type: what is demanded and what is documented cannot differ.

use std::{
    future::{Ready, ready},
    marker::PhantomData,
    sync::Arc,
};

use actix_web::{FromRequest, HttpRequest, dev::Payload, web::Data};

use super::{AppState, Code, Identity, Problem, caller};
use crate::{
    auth::{Permission, Principal},
    engine,
};

/// What a route demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    Public,
    /// Somebody known.
    Authenticated,
    /// Somebody who may do this.
    Permission(Permission),
}

impl Access {
    /// The name in the API document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "none",
            Self::Authenticated => "authenticated",
            Self::Permission(permission) => permission.as_str(),
        }
    }
}

/// What a caller needs, as a type.
pub trait Need: 'static {
    /// The same as a value.
    const ACCESS: Access;
}

/// The needs: a type for each.
pub mod may {
    use super::{Access, Need, Permission};

    macro_rules! needs {
        ($($name:ident)*) => {$(
            #[doc = concat!("[`Permission::", stringify!($name), "`].")]
            #[derive(Debug)]
            pub struct $name;

            impl Need for $name {
                const ACCESS: Access = Access::Permission(Permission::$name);
            }
        )*};
    }

    needs! { Generate StateRead AuditRead AdminShutdown EngineAdmin KeyAdmin ServerAdmin }

    /// To be somebody known, and nothing more.
    #[derive(Debug)]
    pub struct BeKnown;

    impl Need for BeKnown {
        const ACCESS: Access = Access::Authenticated;
    }
}

/// A handler's first argument.
pub trait Guard: FromRequest {
    /// What it demands.
    const ACCESS: Access;
}

/// The arguments of a handler whose first is a guard.
pub trait Guarded: FromRequest {
    /// What the guard demands.
    const ACCESS: Access;
}

macro_rules! guarded {
    ($($argument:ident)*) => {
        impl<G: Guard + 'static, $($argument: FromRequest + 'static),*> Guarded
            for (G, $($argument,)*)
        {
            const ACCESS: Access = G::ACCESS;
        }
    };
}

guarded! {}
guarded! { A }
guarded! { A B }
guarded! { A B C }
guarded! { A B C D }

/// Anyone at all, and who it is if that is known.
#[derive(Debug)]
pub struct Anyone(pub Option<Arc<Principal>>);

impl FromRequest for Anyone {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(Identity::of(request).known().ok())))
    }
}

impl Guard for Anyone {
    const ACCESS: Access = Access::Public;
}

/// A caller who has what is needed.
#[derive(Debug)]
pub struct Allowed<N> {
    /// Who.
    pub principal: Arc<Principal>,
    /// The same as engines are told, with whom they speak for.
    pub caller: engine::Caller,
    need: PhantomData<N>,
}

impl<N: Need> Guard for Allowed<N> {
    const ACCESS: Access = N::ACCESS;
}

impl<N: Need> FromRequest for Allowed<N> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request))
    }
}

impl<N: Need> Allowed<N> {
    /// The caller of a request, if it has what is needed and speaks for whom it may.
    pub fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let principal = Identity::of(request).known()?;
        if let Access::Permission(permission) = N::ACCESS
            && !principal.may(permission)
        {
            if let Some(state) = request.app_data::<Data<AppState>>() {
                state.metrics.auth.denied(permission);
            }
            return Err(forbidden(&principal, permission));
        }
        let caller = caller::of(request, &principal)?;
        Ok(Self { principal, caller, need: PhantomData })
    }

    /// The same caller, speaking for whom the body names, unless the header names somebody.
    pub fn on_behalf_of(mut self, user: Option<String>) -> Result<Self, Problem> {
        if let (None, Some(user)) = (&self.caller.end_user, user) {
            self.caller.end_user = Some(caller::end_user(&self.principal, &user)?);
        }
        Ok(self)
    }

    /// Whose words the request's are.
    pub fn subject(&self) -> &str {
        self.caller.end_user.as_deref().unwrap_or(&self.caller.actor)
    }
}

fn forbidden(principal: &Principal, permission: Permission) -> Problem {
    tracing::warn!(
        event_type = "auth.forbidden",
        actor = principal.subject,
        %permission,
        "a request is not permitted"
    );
    let detail = format!(
        "this needs the permission {permission}, which none of your roles has; GET /v1/me shows \
         what you may do"
    );
    Problem::new(Code::Forbidden, detail)
}
