//! What the system knows of this process, and the runtime of its tasks. Looked up at each scrape; on
//! systems without `/proc` the numbers of the process stay 0.

use std::{fs, sync::atomic::Ordering};

use prometheus_client::metrics::gauge::Gauge;
use tokio::runtime::Handle;

use super::{
    contract,
    register::{Amount, Real, Register},
};

/// Ticks of a second in `/proc`: 100 on every Linux, whatever the kernel's own clock does.
const TICKS: f64 = 100.0;

/// Bytes of a unit of `/proc/self/status`.
const STATUS_KIB: f64 = 1024.0;

/// The process, as the last scrape found it.
#[derive(Debug)]
pub struct Process {
    cpu: Amount,
    resident: Gauge,
    virtual_memory: Gauge,
    fds: Gauge,
    fds_max: Gauge,
    threads: Gauge,
    start: Real,
    workers: Gauge,
    tasks: Gauge,
    queue: Gauge,
}

impl Process {
    pub(super) fn new(register: &Register) -> Self {
        let gauge = |spec| register.one(spec, Gauge::default());
        Self {
            cpu: register.one(&contract::PROCESS_CPU, Amount::default()),
            resident: gauge(&contract::PROCESS_RESIDENT),
            virtual_memory: gauge(&contract::PROCESS_VIRTUAL),
            fds: gauge(&contract::PROCESS_FDS),
            fds_max: gauge(&contract::PROCESS_FDS_MAX),
            threads: gauge(&contract::PROCESS_THREADS),
            start: register.one(&contract::PROCESS_START, Real::default()),
            workers: gauge(&contract::RUNTIME_WORKERS),
            tasks: gauge(&contract::RUNTIME_TASKS),
            queue: gauge(&contract::RUNTIME_QUEUE),
        }
    }

    /// Looks everything up. Reads files: not for a thread that serves requests.
    pub fn look(&self, runtime: &Handle) {
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
            // one of them is that of this look
            self.fds.set(open.count().saturating_sub(1) as i64);
        }
        if let Ok(limits) = fs::read_to_string("/proc/self/limits") {
            self.fds_max.set(field(&limits, "Max open files").unwrap_or(i64::MAX));
        }
    }

    /// `man 5 proc`: the fields after the name, which may itself have spaces and parentheses.
    fn stat(&self, stat: &str) {
        let Some((_, fields)) = stat.rsplit_once(')') else { return };
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // numbered from 3, the first after the name
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

/// The first number of the line that begins with a name.
fn field<T: std::str::FromStr>(text: &str, name: &str) -> Option<T> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_process_is_found() {
        let process = Process::new(&Register::default());
        process.look(&Handle::current());
        assert!(process.resident.get() > 1 << 20, "{process:?}");
        assert!(process.virtual_memory.get() > process.resident.get());
        assert!(process.fds.get() > 0 && process.fds_max.get() >= process.fds.get());
        assert!(process.threads.get() >= 1);
        let now = crate::clock::now_micros() as f64 / 1e6;
        let age = now - process.start.get();
        assert!((-2.0..86_400.0).contains(&age), "{age}");
    }

    #[test]
    fn fields_after_an_odd_name_are_found() {
        let process = Process::new(&Register::default());
        let fields = "S 1 1 1 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 3 0 100 1000 10";
        process.stat(&format!("42 (a) b (c) {fields}"));
        assert!((process.cpu.get() - 3.0).abs() < 1e-9, "{process:?}");
    }
}
