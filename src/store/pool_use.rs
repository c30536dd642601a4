//! The use of a connection pool.

/// The number of connections of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolUse {
    /// Idle connections.
    pub idle: usize,
    /// Connections in use.
    pub used: usize,
    /// The maximum number of connections.
    pub max: usize,
}

impl PoolUse {
    pub(super) fn of<D: sqlx::Database>(pool: &sqlx::Pool<D>) -> Self {
        let (size, idle) = (pool.size() as usize, pool.num_idle());
        let max = pool.options().get_max_connections() as usize;
        Self { idle, used: size.saturating_sub(idle), max }
    }
}
