//! A path with its methods; any other method is answered with 405 and `Allow`.

use std::future::ready;

use actix_web::{FromRequest, Handler, HttpResponse, Resource, Responder, http::Method, web};

use super::{Code, Problem};

/// A resource under construction.
pub struct Endpoint {
    resource: Resource,
    methods: Vec<Method>,
}

impl Endpoint {
    /// A resource at a path template such as `/v1/engines/{engine}/state`.
    pub fn at(path: &str) -> Self {
        Self { resource: web::resource(path), methods: Vec::new() }
    }

    /// Adds GET and HEAD.
    #[must_use]
    pub fn get<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.on(Method::GET, handler.clone()).on(Method::HEAD, handler)
    }

    /// Adds a method.
    #[must_use]
    pub fn on<F, Args>(mut self, method: Method, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.methods.push(method.clone());
        self.resource = self.resource.route(web::method(method).to(handler));
        self
    }

    /// The resource, ready for `App::service`.
    pub fn build(self) -> Resource {
        let names: Vec<_> = self.methods.iter().map(Method::as_str).collect();
        let allow = names.join(", ");
        self.resource.default_service(web::to(move || {
            let detail = format!("use one of: {allow}");
            let problem = Problem::new(Code::MethodNotAllowed, detail).allow(allow.clone());
            ready(Err::<HttpResponse, _>(problem))
        }))
    }
}
