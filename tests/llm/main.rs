//! Providers over HTTP, as they answer and as they fail, and the models that a configuration names.

#[cfg(test)]
mod anthropic;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod models;
#[cfg(test)]
mod openai;
#[cfg(test)]
mod order;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod routes;
