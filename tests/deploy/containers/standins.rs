//! Images under the names of public ones, made of the programs of Debian packages on this machine.

use std::{fs, path::PathBuf};

use super::images::{from_packages, hash, import, is_made_of, run_script};
use crate::path;

const POSTGRES: &str = "docker.io/library/postgres:17.6";
const PROMETHEUS: &str = "docker.io/prom/prometheus:v3.5.0";
const ALERTMANAGER: &str = "docker.io/prom/alertmanager:v0.28.1";
const NGINX: &str = "docker.io/nginxinc/nginx-unprivileged:1.28.0";

/// `postgres`: the variables, the folder and the user of the real image; the version is Debian's.
pub(crate) fn postgres() {
    let folders = fs::read_dir("/usr/lib/postgresql")
        .map(|folders| folders.map(|folder| folder.unwrap().path()).max().unwrap());
    let folder =
        folders.unwrap_or_else(|error| panic!("PostgreSQL: {error}: apt-get install postgresql"));
    let version = folder.file_name().unwrap().to_str().unwrap();
    let entry = path("tests/deploy/images/postgres.sh");
    let paths = [
        folder.display().to_string(),
        format!("/usr/share/postgresql/{version}"),
        format!("{}=/usr/local/bin/docker-entrypoint.sh", entry.display()),
        "/usr/share/zoneinfo/UTC".to_owned(),
        "/usr/share/zoneinfo/Etc".to_owned(),
        "/bin/bash".to_owned(),
        "/bin/bash=/bin/sh".to_owned(),
    ];
    let tools = ["env", "id", "mkdir", "chown", "chmod", "setpriv"];
    let tools = tools.into_iter().map(|tool| format!("/usr/bin/{tool}"));
    let paths: Vec<String> = paths.into_iter().chain(tools).collect();
    let variables = format!("ENV PATH={}/bin:/usr/local/bin:/usr/bin", folder.display());
    from_programs(
        POSTGRES,
        "postgres:999",
        &paths,
        &[
            &variables,
            "ENV PGDATA=/var/lib/postgresql/data",
            "ENTRYPOINT [\"docker-entrypoint.sh\"]",
            "CMD [\"postgres\"]",
            "STOPSIGNAL SIGINT",
        ],
    );
}

/// `prom/prometheus` and `prom/alertmanager`.
pub(crate) fn prometheus() {
    let programs =
        ["/usr/bin/prometheus=/bin/prometheus", "/usr/share/prometheus"].map(ToOwned::to_owned);
    from_programs(
        PROMETHEUS,
        "nobody:65534",
        &programs,
        &["USER 65534", "WORKDIR /prometheus", "ENTRYPOINT [\"/bin/prometheus\"]"],
    );
    let programs = [
        "/usr/bin/prometheus-alertmanager=/bin/alertmanager".to_owned(),
        "/usr/share/prometheus".to_owned(),
    ];
    from_programs(
        ALERTMANAGER,
        "nobody:65534",
        &programs,
        &["USER 65534", "WORKDIR /alertmanager", "ENTRYPOINT [\"/bin/alertmanager\"]"],
    );
}

/// `nginxinc/nginx-unprivileged`. The package is not installed on this machine, where it would start.
pub(crate) fn nginx() {
    from_packages(
        NGINX,
        "extract",
        "libc6,nginx-light",
        "",
        &[
            "USER 101",
            "ENTRYPOINT [\"/usr/sbin/nginx\", \"-e\", \"/dev/stderr\", \"-g\", \"daemon off;\"]",
        ],
    );
}

/// Makes an image of programs on this machine and their libraries, unless it exists.
fn from_programs(tag: &str, user: &str, paths: &[String], changes: &[&str]) {
    let scripts = ["programs.sh", "postgres.sh"]
        .map(|name| fs::read(path(&format!("tests/deploy/images/{name}"))).unwrap());
    let program = paths.iter().map(|path| PathBuf::from(path.split('=').next().unwrap()));
    let versions: Vec<_> = program
        .map(|program| {
            fs::metadata(&program).and_then(|about| about.modified()).unwrap_or_else(|error| {
                panic!("{}: {error}; .ci/test installs its package", program.display())
            })
        })
        .collect();
    let inputs = hash(&(scripts, user, paths, changes, versions));
    if is_made_of(tag, &inputs) {
        return;
    }
    let tar = path(&format!("target/ci/containers/{inputs}.tar"));
    let mut arguments = vec![tar.display().to_string(), user.to_owned()];
    arguments.extend_from_slice(paths);
    run_script("programs.sh", &arguments);
    import(&tar, tag, &inputs, changes);
    drop(fs::remove_file(tar));
}
