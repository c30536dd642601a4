//! The guarantees of the store, tested on SQLite, on PostgreSQL and on PostgreSQL behind PgBouncer.

#[cfg(test)]
mod append;
#[cfg(test)]
mod audit;
#[cfg(test)]
mod clock;
#[cfg(test)]
mod events;
#[cfg(test)]
mod idempotency;
#[cfg(test)]
mod macs;
#[cfg(test)]
mod network;
#[cfg(test)]
mod outage;
#[cfg(test)]
mod reads;
#[cfg(test)]
mod replicas;
#[cfg(test)]
mod roles;
#[cfg(test)]
mod sqlite_file;
#[cfg(test)]
mod subjects;
#[cfg(test)]
mod writer;
