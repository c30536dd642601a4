//! Complete steps in one process: context, endings, budgets, restarts, replicas, migrations.

#[cfg(test)]
mod budgets;
#[cfg(test)]
mod clock_ahead;
#[cfg(test)]
mod context;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod embedders;
#[cfg(test)]
mod endings;
#[cfg(test)]
mod exchanges;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod loading;
#[cfg(test)]
mod mac_keys;
#[cfg(test)]
mod migrations;
#[cfg(test)]
mod policies;
#[cfg(test)]
mod replicas;
#[cfg(test)]
mod restarts;
#[cfg(test)]
mod secrecy;
#[cfg(test)]
mod standalone;
#[cfg(test)]
mod trust;
#[cfg(test)]
mod turns;
