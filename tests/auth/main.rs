//! Authentication and authorization with tokens, keys and certificates, over the complete app in this process.

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod damaged;
#[cfg(test)]
mod dev;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod managed;
#[cfg(test)]
mod markers;
#[cfg(test)]
mod matrix;
#[cfg(test)]
mod outage;
#[cfg(test)]
mod providers;
#[cfg(test)]
mod routes;
#[cfg(test)]
mod shapes;
#[cfg(test)]
mod tenancy;
