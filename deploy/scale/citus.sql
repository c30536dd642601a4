-- Distributes the tables over a Citus cluster by engine: all rows of one engine are on one node.
--
-- Run once on the coordinator as the owner of the tables, after `mlsdm upgrade tables` has migrated the
-- database and before it has data. A later migration needs no repetition: it alters the distributed tables.
-- The server then connects to the coordinator. deploy/scale.md says when this is worth it.

CREATE EXTENSION IF NOT EXISTS citus;

BEGIN;

-- Citus distributes no table with triggers. Privileges replace them: no role but the owner may change or
-- delete an event. The hash chain and the MACs remain the evidence.
DROP TRIGGER IF EXISTS events_no_update_or_delete ON events;
DROP TRIGGER IF EXISTS events_no_truncate ON events;
REVOKE UPDATE, DELETE, TRUNCATE ON events FROM PUBLIC;
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'mlsdm_app') THEN
        REVOKE UPDATE, DELETE, TRUNCATE ON events FROM mlsdm_app;
    END IF;
END
$$;

-- Tables with an engine_id, in one group: shards of the same engines are on the same node, so a transaction
-- of one engine stays on one node.
SELECT create_distributed_table('engines', 'engine_id', colocate_with => 'none');
SELECT create_distributed_table('events', 'engine_id', colocate_with => 'engines');
SELECT create_distributed_table('contents', 'engine_id', colocate_with => 'engines');
SELECT create_distributed_table('idempotency', 'engine_id', colocate_with => 'engines');
SELECT create_distributed_table('keys.subject_keys', 'engine_id', colocate_with => 'engines');
SELECT create_distributed_table('quarantined_events', 'engine_id', colocate_with => 'engines');

-- Tables without one: small, and read as a whole. Every node has a copy.
SELECT create_reference_table('mac_keys');
SELECT create_reference_table('replicas');

COMMIT;
-- The tables _sqlx_migrations and mlsdm_migrations stay on the coordinator: only migrations use them.
