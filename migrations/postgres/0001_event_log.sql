-- The event log. Meaning of the tables: the module docs of src/store.rs.
-- No foreign key leads from events or contents: the writer holds the engine's row while it inserts
-- and has just read it, so a check per row would only cost time; an audit finds strays.

CREATE TABLE engines (
    engine_id  text COLLATE "C" NOT NULL,
    created_at bigint NOT NULL,
    log_format bigint NOT NULL,
    index_key  bytea NOT NULL,
    CONSTRAINT engines_pk PRIMARY KEY (engine_id)
);

CREATE TABLE events (
    engine_id      text COLLATE "C" NOT NULL,
    position       bigint NOT NULL,
    command_id     uuid NOT NULL,
    type           text COLLATE "C" NOT NULL,
    schema_version bigint NOT NULL,
    decide_version bigint NOT NULL,
    recorded_at    bigint NOT NULL,
    step           bigint,
    request_id     text,
    actor          text,
    subject_ref    uuid,
    trace_id       bytea,
    clear          bytea NOT NULL,
    content_hash   bytea,
    leaf_hash      bytea NOT NULL,
    chain_hash     bytea NOT NULL,
    CONSTRAINT events_pk PRIMARY KEY (engine_id, position),
    CONSTRAINT events_position_positive CHECK (position > 0),
    CONSTRAINT events_trace_id_size CHECK (octet_length(trace_id) = 16),
    CONSTRAINT events_content_hash_size CHECK (octet_length(content_hash) = 32),
    CONSTRAINT events_leaf_hash_size CHECK (octet_length(leaf_hash) = 32),
    CONSTRAINT events_chain_hash_size CHECK (octet_length(chain_hash) = 32)
);

CREATE FUNCTION events_are_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events are never changed or deleted; append a new one'
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;

CREATE TRIGGER events_no_update_or_delete BEFORE UPDATE OR DELETE ON events
    FOR EACH ROW EXECUTE FUNCTION events_are_immutable();
CREATE TRIGGER events_no_truncate BEFORE TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION events_are_immutable();

-- Takes the writer's lock on a log, then reads the clock and the log's head. Two statements in one
-- round trip: each statement of a volatile function sees what was committed before it began, so the
-- second sees what was committed while the first waited.
CREATE FUNCTION locked_head(
    engine text, OUT now bigint, OUT head bigint, OUT chain bytea, OUT recorded bigint
) LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM 1 FROM engines AS g WHERE g.engine_id = engine FOR UPDATE;
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, h.*
        INTO now, head, chain, recorded
        FROM (SELECT 1) AS one LEFT JOIN
            (SELECT e.position, e.chain_hash, e.recorded_at FROM events AS e
            WHERE e.engine_id = engine ORDER BY e.position DESC LIMIT 1) AS h ON true;
END
$$;

CREATE TABLE contents (
    engine_id text COLLATE "C" NOT NULL,
    position  bigint NOT NULL,
    sealed    bytea NOT NULL,
    vector    bytea,
    CONSTRAINT contents_pk PRIMARY KEY (engine_id, position)
);
-- Sealed bytes do not compress: do not try.
ALTER TABLE contents ALTER COLUMN sealed SET STORAGE EXTERNAL;
ALTER TABLE contents ALTER COLUMN vector SET STORAGE EXTERNAL;

CREATE TABLE idempotency (
    engine_id      text COLLATE "C" NOT NULL,
    name_hmac      bytea NOT NULL,
    route          text COLLATE "C" NOT NULL,
    key            text COLLATE "C" NOT NULL,
    body_hmac      bytea NOT NULL,
    step           bigint NOT NULL,
    position       bigint NOT NULL,
    ended_position bigint,
    expires_at     bigint NOT NULL,
    CONSTRAINT idempotency_pk PRIMARY KEY (engine_id, name_hmac, route, key),
    CONSTRAINT idempotency_name_hmac_size CHECK (octet_length(name_hmac) = 32),
    CONSTRAINT idempotency_body_hmac_size CHECK (octet_length(body_hmac) = 32)
);
CREATE INDEX idempotency_steps ON idempotency (engine_id, step);
CREATE INDEX idempotency_expiry ON idempotency (expires_at);

-- Apart, so that its rights and its backups can differ from the log's: destroying a key must last.
CREATE SCHEMA keys;
CREATE TABLE keys.subject_keys (
    engine_id   text COLLATE "C" NOT NULL,
    subject_ref uuid NOT NULL,
    name_hmac   bytea NOT NULL,
    wrapped_key bytea NOT NULL,
    sealed_name bytea NOT NULL,
    CONSTRAINT subject_keys_pk PRIMARY KEY (engine_id, subject_ref),
    CONSTRAINT subject_keys_name UNIQUE (engine_id, name_hmac),
    CONSTRAINT subject_keys_name_hmac_size CHECK (octet_length(name_hmac) = 32)
);
