//! The commands that read event logs, the OpenAPI document and the health probes, over real logs.

#[cfg(test)]
mod api;
#[cfg(test)]
mod audit;
#[cfg(test)]
mod check;
#[cfg(test)]
mod embedders;
#[cfg(test)]
mod format1;
#[cfg(test)]
mod health;
#[cfg(test)]
mod log;
#[cfg(test)]
mod migrate;
#[cfg(test)]
mod policy;
#[cfg(test)]
mod production;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod stream;
