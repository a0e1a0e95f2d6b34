//! What the machine refuses: a thread, an answer of a file system.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use super::case::{ROOT, ends, fails, may_mount, secret, setup, shell, store};
use super::output::may_be_another;
use crate::support::OpenBao;

/// Whose threads are counted: nobody else runs as this one.
const UID: u32 = 61_078;

/// With room for some secrets' threads and not for all.
pub(crate) fn too_few_threads() {
    if !may_be_another() {
        crate::support::skipped(module_path!(), "only root can be another user");
        return;
    }
    let server = OpenBao::shared();
    let mount = server.fresh_kv(2);
    server.kv2_put(&mount, "app/db", &json!({ "x": "v1" }));
    let mut config = store(&server.address(), &mount, &ROOT) + "secrets:\n";
    for number in 0..24 {
        config += &format!(
            "  - {{ name: s{number}, key: app/db, files: [{{ path: '@DIR@/out/s{number}', field: x }}] }}\n"
        );
    }
    // The last one is the one that is looked at.
    config += secret(&[], &["field: x"]).trim_start_matches("secrets:\n");
    let setup = setup(&config);
    for path in [
        setup.dir().to_owned(),
        setup.path("out"),
        setup.path("config.yaml"),
    ] {
        std::os::unix::fs::chown(path, Some(UID), Some(UID)).unwrap();
    }
    let daemon = setup
        .without_notify()
        .program(Path::new("/usr/bin/setpriv"))
        .arg(&format!("--reuid={UID}"))
        .arg(&format!("--regid={UID}"))
        .arg("--clear-groups")
        .arg("prlimit")
        .arg("--nproc=16:1000")
        .arg(env!("CARGO_BIN_EXE_secrets-sync"))
        .arg("run")
        .start();
    let told = fails(&daemon, "panic", "cannot start a thread");
    told.says("`LimitNPROC=`");
    shell(&format!(
        "setpriv --reuid={UID} --regid={UID} --clear-groups prlimit --pid {} --nproc=1000",
        daemon.pid()
    ));
    ends(&daemon);
    daemon.wait_status(super::case::PATIENCE, |status| status["synced_count"] == 25);
}

/// A file system that answers nothing, until it is unmounted.
struct Hung(Option<File>, PathBuf);

impl Drop for Hung {
    fn drop(&mut self) {
        drop(self.0.take());
        let _ = Command::new("umount").arg("-l").arg(&self.1).output();
    }
}

pub(crate) fn a_file_system_that_hangs() {
    let device = File::options().read(true).write(true).open("/dev/fuse");
    let (Ok(device), true) = (device, may_mount()) else {
        crate::support::skipped(module_path!(), "no hanging file system can be mounted");
        return;
    };
    let server = OpenBao::shared();
    let mount = server.fresh_kv(2);
    server.kv2_put(&mount, "app/db", &json!({ "x": "v1" }));
    let lines = [ROOT[0], ROOT[1], "timeout: 1s"];
    let config = store(&server.address(), &mount, &lines) + &secret(&[], &["field: x"]);
    let setup = setup(&config);
    let daemon = setup.start();
    ends(&daemon);
    let out = daemon.path("out");
    let options = "fd=0,rootmode=40000,user_id=0,group_id=0";
    let mounted = Command::new("mount")
        .args(["-i", "-n", "-t", "fuse", "-o", options, "hung"])
        .arg(&out)
        .stdin(Stdio::from(device.try_clone().unwrap()))
        .output()
        .unwrap();
    if !mounted.status.success() {
        crate::support::skipped(module_path!(), "no hanging file system can be mounted");
        return;
    }
    let hung = Hung(Some(device), out.clone());
    let told = fails(&daemon, "stalled", "past its deadline");
    assert_eq!(told.span("/"), out.to_str().unwrap());
    shell(&format!("{} {}", told.span("umount "), told.span("/")));
    ends(&daemon);
    drop(hung);
    assert_eq!(fs::read(out.join("app")).unwrap(), b"v1");
}
