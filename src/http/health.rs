//! Health probes. They need no authentication, so they reveal no secrets and no engine names.

pub mod detailed;
pub mod live;
pub mod ready;
pub mod summary;
pub mod trust;
