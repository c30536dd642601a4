//! What the kernel says of a container's main process.

use std::fs;

use super::Container;

/// The main process of a running container.
pub(crate) struct Process {
    id: String,
}

impl Container {
    /// The main process, in the process table of this host.
    pub(crate) fn process(&self) -> Process {
        Process { id: self.inspect("{{.State.Pid}}") }
    }
}

impl Process {
    fn file(&self, name: &str) -> String {
        let path = format!("/proc/{}/{name}", self.id);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The words of a line of `/proc/ID/status`.
    pub(crate) fn status(&self, field: &str) -> Vec<String> {
        let text = self.file("status");
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
        let line = line.unwrap_or_else(|| panic!("no {field} in {text}"));
        line.split_whitespace().map(ToOwned::to_owned).collect()
    }

    /// True if its root file system is mounted read-only.
    pub(crate) fn root_is_read_only(&self) -> bool {
        let mounts = self.file("mountinfo");
        let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).unwrap();
        root.split(' ').nth(5).unwrap().split(',').any(|option| option == "ro")
    }

    /// A limit as its control group has it: memory in bytes.
    pub(crate) fn memory_limit(&self) -> u64 {
        self.limit("memory", "memory.limit_in_bytes", "memory.max").parse().unwrap()
    }

    /// A limit as its control group has it: CPUs in thousandths.
    pub(crate) fn cpu_limit(&self) -> u64 {
        let (quota, period) = if is_unified() {
            let both = self.limit("", "", "cpu.max");
            let (quota, period) = both.split_once(' ').unwrap();
            (quota.to_owned(), period.to_owned())
        } else {
            let quota = self.limit("cpu", "cpu.cfs_quota_us", "");
            (quota, self.limit("cpu", "cpu.cfs_period_us", ""))
        };
        quota.parse::<u64>().unwrap() * 1000 / period.parse::<u64>().unwrap()
    }

    /// A limit as its control group has it: processes and threads.
    pub(crate) fn process_limit(&self) -> u64 {
        self.limit("pids", "pids.max", "pids.max").parse().unwrap()
    }

    /// A file of the control group of a controller, in version 1 or in version 2.
    fn limit(&self, controller: &str, version_1: &str, version_2: &str) -> String {
        let groups = self.file("cgroup");
        let controller = if is_unified() { "" } else { controller };
        let group = groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let mut controllers = parts.next()?.split(',');
            controllers.any(|name| name == controller).then(|| parts.next())?
        });
        let group = group.unwrap_or_else(|| panic!("no group of {controller} in {groups}"));
        let file = if is_unified() { version_2 } else { version_1 };
        let path = format!("/sys/fs/cgroup/{controller}{group}/{file}");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        text.trim().to_owned()
    }
}

fn is_unified() -> bool {
    std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}
