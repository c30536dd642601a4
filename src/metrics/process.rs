//! Metrics of the process and of the runtime of its tasks, read at each scrape.
//!
//! Without `/proc` (systems other than Linux) the metrics of the process stay 0.

use std::{fs, sync::atomic::Ordering};

use prometheus_client::metrics::gauge::Gauge;
use tokio::runtime::Handle;

use super::{
    FloatCounter, FloatGauge,
    registry::Registry,
    spec::{Spec, specs},
};

specs! {
    BUILD = Info "mlsdm_build_info" ["version"] "" "The version of the running program"
    PROCESS_CPU = Counter "process_cpu_seconds_total" [] "seconds" "CPU time used, user and system"
    PROCESS_RESIDENT = Gauge "process_resident_memory_bytes" [] "bytes" "Resident memory"
    PROCESS_VIRTUAL = Gauge "process_virtual_memory_bytes" [] "bytes" "Virtual memory"
    PROCESS_FDS = Gauge "process_open_fds" [] "" "Open file descriptors"
    PROCESS_FDS_MAX = Gauge "process_max_fds" [] "" "Most file descriptors the process may open"
    PROCESS_THREADS = Gauge "process_threads" [] "" "Threads"
    PROCESS_START = Gauge "process_start_time_seconds" [] "seconds" "Start of the process, in seconds since the Unix epoch"
    RUNTIME_WORKERS = Gauge "mlsdm_runtime_workers" [] "" "Worker threads of the runtime that runs steps and writers"
    RUNTIME_TASKS = Gauge "mlsdm_runtime_alive_tasks" [] "" "Tasks of that runtime that have not ended"
    RUNTIME_QUEUE = Gauge "mlsdm_runtime_queue_depth" [] "" "Tasks waiting in that runtime's shared queue"
}

/// Clock ticks of a second in `/proc`: 100 on every Linux, whatever the frequency of the kernel's
/// timer.
const TICKS: f64 = 100.0;

/// Bytes of the unit of `/proc/self/status`.
const STATUS_KIB: f64 = 1024.0;

/// The process as of the last scrape.
#[derive(Debug, Default)]
pub struct ProcessMetrics {
    cpu: FloatCounter,
    resident: Gauge,
    virtual_memory: Gauge,
    fds: Gauge,
    fds_max: Gauge,
    threads: Gauge,
    start: FloatGauge,
    workers: Gauge,
    tasks: Gauge,
    queue: Gauge,
}

impl ProcessMetrics {
    /// Registers all of them, and the version of the program.
    pub fn register(&self, registry: &mut Registry) {
        registry.info(&BUILD, [("version", env!("CARGO_PKG_VERSION"))]);
        registry.metric(&PROCESS_CPU, &self.cpu);
        registry.metric(&PROCESS_START, &self.start);
        let mut gauge = |spec: &Spec, gauge: &Gauge| registry.metric(spec, gauge);
        gauge(&PROCESS_RESIDENT, &self.resident);
        gauge(&PROCESS_VIRTUAL, &self.virtual_memory);
        gauge(&PROCESS_FDS, &self.fds);
        gauge(&PROCESS_FDS_MAX, &self.fds_max);
        gauge(&PROCESS_THREADS, &self.threads);
        gauge(&RUNTIME_WORKERS, &self.workers);
        gauge(&RUNTIME_TASKS, &self.tasks);
        gauge(&RUNTIME_QUEUE, &self.queue);
    }

    /// Reads the current values. Reads files: not for a thread that serves requests.
    pub fn update(&self, runtime: &Handle) {
        let runtime = runtime.metrics();
        self.workers.set(runtime.num_workers() as i64);
        self.tasks.set(runtime.num_alive_tasks() as i64);
        self.queue.set(runtime.global_queue_depth() as i64);
        if let Ok(stat) = fs::read_to_string("/proc/self/stat") {
            self.stat(&stat);
        }
        if let Ok(status) = fs::read_to_string("/proc/self/status") {
            let kib = |name| field(&status, name).map(|kib: f64| (kib * STATUS_KIB) as i64);
            self.resident.set(kib("VmRSS:").unwrap_or_default());
            self.virtual_memory.set(kib("VmSize:").unwrap_or_default());
            self.threads.set(field(&status, "Threads:").unwrap_or_default());
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // one of them is the descriptor of this directory
            self.fds.set(open.count().saturating_sub(1) as i64);
        }
        if let Ok(limits) = fs::read_to_string("/proc/self/limits") {
            self.fds_max.set(field(&limits, "Max open files").unwrap_or(i64::MAX));
        }
    }

    /// Reads `/proc/self/stat` (see `man 5 proc`) after the name, which may contain spaces and
    /// parentheses.
    fn stat(&self, stat: &str) {
        let Some((_, fields)) = stat.rsplit_once(')') else { return };
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // the manual numbers the first field after the name 3
        let ticks =
            |number: usize| fields.get(number - 3).and_then(|text| text.parse::<f64>().ok());
        if let (Some(user), Some(system)) = (ticks(14), ticks(15)) {
            let seconds = (user + system) / TICKS;
            self.cpu.inner().store(seconds.to_bits(), Ordering::Relaxed);
        }
        let boot = fs::read_to_string("/proc/stat").ok();
        let boot: Option<f64> = boot.and_then(|stat| field(&stat, "btime"));
        if let (Some(boot), Some(start)) = (boot, ticks(22)) {
            self.start.set(boot + start / TICKS);
        }
    }
}

/// The first number of the line that starts with this name.
fn field<T: std::str::FromStr>(text: &str, name: &str) -> Option<T> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_own_process_is_read() {
        let process = ProcessMetrics::default();
        process.update(&Handle::current());
        assert!(process.resident.get() > 1 << 20, "{process:?}");
        assert!(process.virtual_memory.get() > process.resident.get());
        assert!(process.fds.get() > 0 && process.fds_max.get() >= process.fds.get());
        assert!(process.threads.get() >= 1);
        let now = crate::clock::now_micros() as f64 / 1e6;
        let age = now - process.start.get();
        assert!((-2.0..86_400.0).contains(&age), "{age}");
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let process = ProcessMetrics::default();
        let fields = "S 1 1 1 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 3 0 100 1000 10";
        process.stat(&format!("42 (a) b (c) {fields}"));
        assert!((process.cpu.get() - 3.0).abs() < 1e-9, "{process:?}");
    }
}
