//! The settings of Patroni and `HAProxy`.

use super::node::Node;

/// Patroni's: a lost primary is replaced after the 20 seconds that are the least it allows, and a
/// PostgreSQL that crashed is not started again if a standby can take over.
///
/// Without `synchronous_mode_strict` a new primary commits alone until it has a standby. A standby asks
/// for WAL again after 500 ms rather than 5 s, since a new primary waits for it.
pub(super) fn patroni(
    name: &str,
    address: &str,
    etcd: &str,
    folder: &str,
    programs: &str,
) -> String {
    format!(
        r#"scope: mlsdm
name: {name}
restapi: {{listen: "{address}:8008", connect_address: "{address}:8008"}}
etcd3: {{hosts: [{etcd}]}}
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 2
    retry_timeout: 3
    maximum_lag_on_failover: 0
    primary_start_timeout: 0
    synchronous_mode: true
    synchronous_mode_strict: true
    postgresql:
      use_pg_rewind: true
      parameters:
        max_connections: 100
        shared_buffers: 32MB
        max_wal_size: 64MB
        min_wal_size: 32MB
        wal_keep_size: 64MB
        wal_log_hints: "on"
        wal_retrieve_retry_interval: 500ms
  initdb: [{{encoding: UTF8}}, {{locale: C}}, {{auth: trust}}, "no-sync"]
  pg_hba: ["host all all 0.0.0.0/0 trust", "host replication all 0.0.0.0/0 trust"]
postgresql:
  listen: "{address}:5432"
  connect_address: "{address}:5432"
  bin_dir: {programs}
  data_dir: {folder}/data
  authentication:
    superuser: {{username: postgres}}
    replication: {{username: postgres}}
    rewind: {{username: postgres}}
  parameters: {{unix_socket_directories: "", fsync: "on"}}
"#
    )
}

/// `HAProxy`'s: connections go to the primary, and those to a former primary are closed.
pub(super) fn haproxy(port: u16, nodes: &[Node]) -> String {
    let server =
        |node: &Node| format!("  server {} {}:5432 check port 8008\n", node.name(), node.address());
    let servers = nodes.iter().map(server).collect::<Vec<_>>().concat();
    format!(
        "global\n  maxconn 1000\ndefaults\n  mode tcp\n  timeout connect 1s\n  timeout client 1h\n  \
         timeout server 1h\n  timeout check 1s\nlisten postgres\n  bind 127.0.0.1:{port}\n  \
         option httpchk OPTIONS /primary\n  http-check expect status 200\n  default-server inter \
         500ms fall 2 rise 1 on-marked-down shutdown-sessions\n{servers}"
    )
}
