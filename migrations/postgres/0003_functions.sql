-- Functions for statements that cannot be planned for one engine as plain SQL. Each statement in them names
-- one engine, so a distributed database sends it to the node of that engine.

-- Takes the writer's lock on a log, and appends rows to it if its head is the expected one. Returns the time
-- and the head before the rows, as locked_head does. One call, because a batch that was decided ahead waits
-- for the lock inside the database.
CREATE FUNCTION append_after(
    engine text, expected_position bigint, expected_chain bytea,
    content_positions bigint[], content_sealed bytea[], content_vectors bytea[],
    positions bigint[], command_ids uuid[], types text[], schema_versions bigint[],
    decide_versions bigint[], recorded_ats bigint[], steps bigint[], request_ids text[],
    actors text[], subject_refs uuid[], trace_ids bytea[], payloads bytea[],
    content_hashes bytea[], leaf_hashes bytea[], chain_hashes bytea[], mac_keys bigint[],
    macs bytea[],
    OUT now bigint, OUT head bigint, OUT chain bytea, OUT recorded bigint
) LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    SELECT l.now, l.head, l.chain, l.recorded INTO now, head, chain, recorded
        FROM locked_head(engine) AS l;
    IF head = expected_position AND chain = expected_chain THEN
        INSERT INTO contents (engine_id, position, sealed, vector)
            SELECT engine, u.* FROM unnest(content_positions, content_sealed, content_vectors) AS u;
        INSERT INTO events (engine_id, position, command_id, type, schema_version, decide_version,
            recorded_at, step, request_id, actor, subject_ref, trace_id, clear, content_hash,
            leaf_hash, chain_hash, mac_key, mac)
            SELECT engine, u.* FROM unnest(positions, command_ids, types, schema_versions,
                decide_versions, recorded_ats, steps, request_ids, actors, subject_refs, trace_ids,
                payloads, content_hashes, leaf_hashes, chain_hashes, mac_keys, macs) AS u;
    END IF;
END
$$;

-- The heads of several logs; logs without events are absent. STABLE: all from one snapshot.
CREATE FUNCTION log_heads(engines text[]) RETURNS TABLE (
    engine_id text, head bigint, chain bytea, recorded bigint
) LANGUAGE plpgsql STABLE AS $$
BEGIN
    FOREACH engine_id IN ARRAY engines LOOP
        SELECT e.position, e.chain_hash, e.recorded_at INTO head, chain, recorded
            FROM events AS e WHERE e.engine_id = log_heads.engine_id
            ORDER BY e.position DESC LIMIT 1;
        IF FOUND THEN
            RETURN NEXT;
        END IF;
    END LOOP;
END
$$;

-- The engine names of events or contents without an engine, in order: one step in an index per name.
CREATE FUNCTION unknown_engines() RETURNS SETOF text LANGUAGE plpgsql STABLE AS $$
DECLARE
    in_events text COLLATE "C";
    in_contents text COLLATE "C";
    found_name text COLLATE "C";
BEGIN
    SELECT min(e.engine_id) INTO in_events FROM events AS e;
    SELECT min(c.engine_id) INTO in_contents FROM contents AS c;
    LOOP
        found_name := least(in_events, in_contents);
        EXIT WHEN found_name IS NULL;
        PERFORM 1 FROM engines AS g WHERE g.engine_id = found_name;
        IF NOT FOUND THEN
            RETURN NEXT found_name;
        END IF;
        SELECT min(e.engine_id) INTO in_events FROM events AS e WHERE e.engine_id > found_name;
        SELECT min(c.engine_id) INTO in_contents FROM contents AS c WHERE c.engine_id > found_name;
    END LOOP;
END
$$;
