//! Assembles routes and middleware to an app, for the server and for tests in the same process.

use actix_web::{
    App, Error, HttpRequest,
    body::MessageBody,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    middleware::from_fn,
    web,
};

use super::{
    AppState,
    docs::{LazyDocument, is_docs},
    middleware::{
        authentication::authentication, body_timeout::body_timeout, concurrency::concurrency,
        cors::cors, rate_limit::rate_limit, request_context::request_context,
        time_limit::time_limit,
    },
    openapi,
    problem::from_actix,
    routes::endpoints,
};

/// The app over a state.
pub fn create_app(
    state: web::Data<AppState>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = Error,
        InitError = (),
    >,
> {
    let docs = state.docs;
    let cors = cors(&state.cors_origins);
    App::new()
        .app_data(from_actix::query())
        .app_data(from_actix::path())
        .app_data(web::Data::new(LazyDocument::new(openapi::document)))
        .app_data(state)
        .configure(|services| {
            for endpoint in endpoints().into_iter().filter(|endpoint| docs || !is_docs(endpoint)) {
                services.service(endpoint.build());
            }
        })
        .default_service(web::to(|request: HttpRequest| from_actix::not_found(request.path())))
        // in reverse: a request passes the last one first. `middleware` lists them in order
        .wrap(from_fn(body_timeout))
        .wrap(from_fn(concurrency))
        .wrap(from_fn(rate_limit))
        .wrap(from_fn(authentication))
        .wrap(from_fn(time_limit))
        .wrap(cors)
        .wrap(from_fn(request_context))
}
