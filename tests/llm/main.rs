//! Model providers over HTTP: their answers, their failures, fallbacks, and configured models.

#[cfg(test)]
mod answers;
#[cfg(test)]
mod anthropic;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod meaning;
#[cfg(test)]
mod models;
#[cfg(test)]
mod openai;
#[cfg(test)]
mod order;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod responses;
#[cfg(test)]
mod routes;
#[cfg(test)]
mod turns;
