//! A path with its methods, each with what it demands; any other method is answered with 405 and
//! `Allow`.

use std::future::ready;

use actix_web::{Handler, HttpResponse, Resource, Responder, http::Method, web};

use super::{
    Code, Problem,
    access::{Access, Guarded},
};

/// A resource under construction.
pub struct Endpoint {
    path: String,
    resource: Resource,
    methods: Vec<(Method, Access)>,
}

impl Endpoint {
    /// A resource at a path template such as `/v1/engines/{engine}/state`.
    pub fn at(path: &str) -> Self {
        Self { path: path.to_owned(), resource: web::resource(path), methods: Vec::new() }
    }

    /// Adds GET and HEAD.
    #[must_use]
    pub fn get<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: Guarded + 'static,
        F::Output: Responder + 'static,
    {
        self.on(Method::GET, handler.clone()).on(Method::HEAD, handler)
    }

    /// Adds a method.
    #[must_use]
    pub fn on<F, Args>(mut self, method: Method, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: Guarded + 'static,
        F::Output: Responder + 'static,
    {
        self.methods.push((method.clone(), Args::ACCESS));
        self.resource = self.resource.route(web::method(method).to(handler));
        self
    }

    /// The path template as the API document writes it: without the patterns of parameters.
    pub fn path(&self) -> String {
        let mut path = String::new();
        for (n, part) in self.path.split(['{', '}']).enumerate() {
            let parameter = n % 2 == 1;
            let name = part.split(':').next().unwrap_or_default();
            let [open, name, close] = if parameter { ["{", name, "}"] } else { ["", part, ""] };
            path.extend([open, name, close]);
        }
        path
    }

    /// The path pattern as the framework tells it.
    pub fn pattern(&self) -> &str {
        &self.path
    }

    /// The methods, and what each demands.
    pub fn methods(&self) -> &[(Method, Access)] {
        &self.methods
    }

    /// The resource, ready for `App::service`.
    pub fn build(self) -> Resource {
        let names: Vec<_> = self.methods.iter().map(|(method, _)| method.as_str()).collect();
        let allow = names.join(", ");
        self.resource.default_service(web::to(move || {
            let detail = format!("use one of: {allow}");
            let problem = Problem::new(Code::MethodNotAllowed, detail).allow(allow.clone());
            ready(Err::<HttpResponse, _>(problem))
        }))
    }
}
