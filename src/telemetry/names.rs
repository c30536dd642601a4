//! Names under which log lines are found.

/// The name of the program in log lines and labels, and the target of its own events.
pub(super) const SERVICE: &str = "mlsdm";

/// The label `job` of lines pushed to Loki directly; lines shipped by an agent have another one.
pub(super) const JOB: &str = "mlsdm-direct";
