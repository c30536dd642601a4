//! A path with its methods and the requirement of each. Other methods are answered with 405 and
//! `Allow`.

use std::future::ready;

use actix_web::{Handler, HttpResponse, Resource, Responder, http::Method, web};

use super::{
    Code, Problem,
    access::{Access, GuardedArgs},
};

/// Builds an actix resource whose handlers all have a guard.
pub struct Endpoint {
    pattern: String,
    resource: Resource,
    methods: Vec<(Method, Access)>,
}

impl Endpoint {
    /// A resource at a path pattern such as `/v1/engines/{engine}/state`.
    pub fn at(pattern: &str) -> Self {
        Self { pattern: pattern.to_owned(), resource: web::resource(pattern), methods: Vec::new() }
    }

    /// Adds a handler for GET and HEAD.
    #[must_use]
    pub fn get<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: GuardedArgs + 'static,
        F::Output: Responder + 'static,
    {
        self.on(Method::GET, handler.clone()).on(Method::HEAD, handler)
    }

    /// Adds a handler for POST.
    #[must_use]
    pub fn post<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: GuardedArgs + 'static,
        F::Output: Responder + 'static,
    {
        self.on(Method::POST, handler)
    }

    /// Adds a handler for PUT.
    #[must_use]
    pub fn put<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: GuardedArgs + 'static,
        F::Output: Responder + 'static,
    {
        self.on(Method::PUT, handler)
    }

    /// Adds a handler for DELETE.
    #[must_use]
    pub fn delete<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: GuardedArgs + 'static,
        F::Output: Responder + 'static,
    {
        self.on(Method::DELETE, handler)
    }

    fn on<F, Args>(mut self, method: Method, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: GuardedArgs + 'static,
        F::Output: Responder + 'static,
    {
        self.methods.push((method.clone(), Args::ACCESS));
        self.resource = self.resource.route(web::method(method).to(handler));
        self
    }

    /// The path as the OpenAPI document writes it: parameters without their regular expression.
    pub fn path(&self) -> String {
        let mut path = String::new();
        for (n, part) in self.pattern.split(['{', '}']).enumerate() {
            let parameter = n % 2 == 1;
            let name = part.split(':').next().unwrap_or_default();
            let [open, name, close] = if parameter { ["{", name, "}"] } else { ["", part, ""] };
            path.extend([open, name, close]);
        }
        path
    }

    /// The path pattern as actix reports it.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// The methods and the requirement of each.
    pub fn methods(&self) -> &[(Method, Access)] {
        &self.methods
    }

    /// The resource for `App::service`.
    pub fn build(self) -> Resource {
        let names: Vec<_> = self.methods.iter().map(|(method, _)| method.as_str()).collect();
        let allow = names.join(", ");
        self.resource.default_service(web::to(move || {
            let detail = format!("this resource supports only {allow}");
            let problem = Problem::new(Code::MethodNotAllowed, detail).allow(allow.clone());
            ready(Err::<HttpResponse, _>(problem))
        }))
    }
}
