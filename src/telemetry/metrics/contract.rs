//! The metrics there are: name, kind, labels, unit and one line of meaning each.
//!
//! Dashboards, rules and documents are checked against `alerts/metrics.json`, which is this list as
//! JSON. A metric cannot be registered without standing here, and one that stands here and is not
//! registered fails a test. Parts that are not built (projections, checkpoints, what-if) bring theirs when they are.

use serde::Serialize;

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How often a value lay under each bound.
    Histogram,
    /// Always 1; says something in its labels.
    Info,
}

/// One metric.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spec {
    /// As it is exposed, `_total` and unit included.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// Names of its labels; each has a closed set of values.
    pub labels: &'static [&'static str],
    /// `seconds`, `bytes`, …; empty where things are counted.
    pub unit: &'static str,
    /// One line for whoever reads a panel.
    pub meaning: &'static str,
}

macro_rules! contract {
    ($($id:ident = $kind:ident $name:literal [$($label:literal),*] $unit:literal $meaning:literal)*) => {
        $(pub(crate) const $id: Spec = Spec {
            name: $name,
            kind: Kind::$kind,
            labels: &[$($label),*],
            unit: $unit,
            meaning: $meaning,
        };)*

        /// All of them.
        pub const ALL: &[Spec] = &[$($id),*];
    };
}

contract! {
    STEPS = Counter "mlsdm_steps_total" ["engine"] "" "Moral verdicts given: accepted and rejected together"
    ACCEPTED = Counter "mlsdm_accepted_total" ["engine"] "" "Steps admitted: they passed the filter and the rhythm"
    REJECTED = Counter "mlsdm_rejected_total" ["engine"] "" "Steps refused, by the filter or in sleep"
    REQUESTS = Counter "mlsdm_requests_total" ["engine"] "" "Governed requests that reached an engine, repeated ones included"
    DECISIONS = Counter "mlsdm_decisions_total" ["engine", "verdict", "reason", "source"] "" "Verdicts by why, and by whose score decided"
    MORAL_SCORE = Histogram "mlsdm_moral_score" ["engine"] "" "Scores that decided, 0 to 1"
    CONSOLIDATIONS = Counter "mlsdm_consolidations_total" ["engine"] "" "Commands that consolidated memories"
    EVICTIONS = Counter "mlsdm_memory_evictions_total" ["engine"] "" "Items that left the memory to make room"
    SHUTDOWNS = Counter "mlsdm_emergency_shutdowns_total" ["engine"] "" "Emergency shutdowns recorded"
    SATURATION = Counter "mlsdm_moral_saturation_seconds_total" ["engine"] "seconds" "Time the threshold stood where it cannot move on, as scrapes saw it"
    MEMORY_USED = Gauge "mlsdm_memory_used" ["engine"] "" "Items remembered; a full memory is normal"
    MEMORY_BYTES = Gauge "mlsdm_memory_bytes" ["engine"] "bytes" "Resident size of the memory"
    MEMORY_CAPACITY = Gauge "mlsdm_memory_capacity" ["engine"] "" "Items the memory can hold"
    TURNS = Counter "mlsdm_moral_threshold_turns_total" ["engine"] "" "Times the threshold moved the other way than before"
    THRESHOLD_BOUND = Gauge "mlsdm_moral_threshold_bound" ["engine", "bound"] "" "Between which values the policy lets the threshold move"
    THRESHOLD = Gauge "mlsdm_moral_threshold" ["engine"] "" "The threshold for somebody without a history"
    PHASE = Gauge "mlsdm_phase" ["engine"] "" "0 awake, 1 asleep"
    SHUTDOWN_ACTIVE = Gauge "mlsdm_emergency_shutdown_active" ["engine"] "" "1 while the engine admits nothing"
    QUEUE_DEPTH = Gauge "mlsdm_writer_queue_depth" ["engine"] "" "Commands that wait for the engine's writer"
    POLICY_DRIFT = Gauge "mlsdm_policy_drift" [] "" "1 while the configured policy differs from the default engine's"
    LATENCY = Histogram "mlsdm_latency_seconds" [] "seconds" "A whole governed step, from its arrival at the engine to its recorded ending"
    GENERATION = Histogram "mlsdm_generation_duration_seconds" [] "seconds" "The wait for the model, with all its attempts"
    RETRIEVAL = Histogram "mlsdm_retrieval_duration_seconds" [] "seconds" "Searching the memory and reading what was found"
    OVERHEAD = Histogram "mlsdm_governance_overhead_seconds" ["stage"] "seconds" "What governing costs; total is a completed step without its wait for the model"
    LLM_ATTEMPTS = Counter "mlsdm_llm_attempts_total" ["provider", "outcome"] "" "Attempts at a provider by how they went, those its breaker or bulkhead turned away included"
    LLM_BREAKER = Gauge "mlsdm_llm_breaker_state" ["provider"] "" "0 closed, 1 half open, 2 open"
    LLM_COST = Counter "mlsdm_llm_cost_usd_total" ["provider", "model"] "dollars" "What answers cost, by the configured prices"
    GEN_AI_DURATION = Histogram "gen_ai_client_operation_duration_seconds" ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"] "seconds" "Calls of models, failed ones included"
    GEN_AI_TOKENS = Histogram "gen_ai_client_token_usage" ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_token_type"] "tokens" "Tokens of answered calls"
    GEN_AI_FIRST = Histogram "gen_ai_client_operation_time_to_first_chunk_seconds" ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"] "seconds" "Until the first piece of a streamed answer"
    EMBED_CACHE = Counter "mlsdm_embedding_cache_lookups_total" ["result"] "" "Texts looked up among known vectors: known, being made for another, or missing"
    HTTP_REQUESTS = Counter "http_requests_total" ["track", "method", "route", "status"] "" "HTTP requests answered; routes as templates"
    HTTP_DURATION = Histogram "http_server_request_duration_seconds" ["http_request_method", "http_route"] "seconds" "HTTP requests until the head of their answer"
    AUTH_FAILURES = Counter "mlsdm_auth_failures_total" ["scheme", "reason"] "" "Credentials refused"
    DENIED = Counter "mlsdm_permission_denied_total" ["permission"] "" "Requests of known callers who may not"
    SHUTDOWN_REFUSALS = Counter "mlsdm_shutdown_refusals_total" [] "" "Requests refused because their engine is shut down (E701)"
    STREAM_FAILURES = Counter "mlsdm_stream_failures_total" [] "" "Streamed answers that broke off by an error of the server or a provider, after their status 200 was sent"
    RATE_LIMITED = Counter "mlsdm_rate_limited_total" [] "" "Requests refused with 429 because their caller asked too often"
    APPEND_DURATION = Histogram "mlsdm_event_append_duration_seconds" [] "seconds" "A batch of events, from asking for the engine's row to its commit"
    APPEND_BATCH = Histogram "mlsdm_event_append_batch_size" [] "" "Events of one batch"
    APPEND_CONFLICTS = Counter "mlsdm_event_append_conflicts_total" [] "" "Batches begun again because the database undid their transaction"
    APPENDED = Counter "mlsdm_events_appended_total" ["type"] "" "Events this process committed"
    REPLAYED = Counter "mlsdm_replay_events_total" [] "" "Events folded to load engines"
    AUDITED = Gauge "mlsdm_audit_verified_position" ["engine"] "" "Up to where the last audit found the log as it was written"
    AUDIT_FAILURES = Counter "mlsdm_audit_failures_total" ["engine"] "" "Audits that found the log edited; each round of the background audit counts anew"
    DB_OPERATIONS = Histogram "db_client_operation_duration_seconds" ["db_operation_name"] "seconds" "Work of the database: reads outside of appends, and commits of batches"
    DB_WAIT = Histogram "db_client_connection_wait_time_seconds" [] "seconds" "Waiting for a connection to read with"
    DB_CONNECTIONS = Gauge "db_client_connection_count" ["db_client_connection_pool_name", "db_client_connection_state"] "" "Connections to the database"
    DB_CONNECTIONS_MAX = Gauge "db_client_connection_max" ["db_client_connection_pool_name"] "" "Connections the pool may have"
    LOG_MESSAGES = Counter "mlsdm_log_messages_total" ["level"] "" "Log lines"
    DROPPED = Counter "mlsdm_telemetry_dropped_total" ["signal", "sink", "reason"] "" "What telemetry lost"
    EMITTED = Counter "mlsdm_telemetry_emitted_total" ["signal", "sink"] "" "What telemetry made for a sink: delivered, dropped, or still waiting"
    DELIVERED = Counter "mlsdm_telemetry_delivered_total" ["signal", "sink"] "" "What a sink has taken"
    LAST_SUCCESS = Gauge "mlsdm_telemetry_last_success_timestamp_seconds" ["sink"] "seconds" "When a sink of telemetry that is configured took something last, since 1970; 0: never"
    LABEL_OVERFLOW = Counter "mlsdm_label_overflow_total" ["metric"] "" "Values counted under `other` because no list names them"
    BUILD = Info "mlsdm_build_info" ["version"] "" "The program that runs"
    PROCESS_CPU = Counter "process_cpu_seconds_total" [] "seconds" "Time of processors used, user and system"
    PROCESS_RESIDENT = Gauge "process_resident_memory_bytes" [] "bytes" "Resident memory"
    PROCESS_VIRTUAL = Gauge "process_virtual_memory_bytes" [] "bytes" "Virtual memory"
    PROCESS_FDS = Gauge "process_open_fds" [] "" "Open file descriptors"
    PROCESS_FDS_MAX = Gauge "process_max_fds" [] "" "File descriptors the process may open"
    PROCESS_THREADS = Gauge "process_threads" [] "" "Threads"
    PROCESS_START = Gauge "process_start_time_seconds" [] "seconds" "When the process began, since 1970"
    RUNTIME_WORKERS = Gauge "mlsdm_runtime_workers" [] "" "Worker threads of the runtime that runs steps and writers"
    RUNTIME_TASKS = Gauge "mlsdm_runtime_alive_tasks" [] "" "Tasks of that runtime that have not ended"
    RUNTIME_QUEUE = Gauge "mlsdm_runtime_queue_depth" [] "" "Tasks that wait in that runtime's shared queue"
}

/// The list as `alerts/metrics.json` holds it.
///
/// # Errors
/// None in practice: plain structures have a JSON form.
pub fn json() -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(ALL).map(|text| text + "\n")
}
