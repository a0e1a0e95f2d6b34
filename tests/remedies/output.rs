//! What does not fit the data, and what cannot be written.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use serde_json::json;

use super::case::{
    PATIENCE, ROOT, bao, ends, fails, may_mount, plain, secret, set, setup, shell, spans, store,
    take_out,
};
use crate::support::{Daemon, OpenBao, Setup};

/// A user of nobody.
const UID: u32 = 61_077;

/// The server, with `x: v1` in a mount of its own.
fn ready(file: &[&str]) -> Setup {
    let server = OpenBao::shared();
    let mount = server.fresh_kv(2);
    server.kv2_put(&mount, "app/db", &json!({ "x": "v1", "y": "" }));
    setup(&(store(&server.address(), &mount, &ROOT) + &secret(&[], file)))
}

/// The same daemon as that user, in a directory that is theirs.
fn as_a_user(setup: Setup) -> Setup {
    let dir = setup.dir().to_owned();
    for path in [dir.clone(), dir.join("config.yaml")] {
        chown(path, Some(UID), Some(UID)).unwrap();
    }
    let user = format!("--reuid={UID}");
    let group = format!("--regid={UID}");
    setup
        .without_notify()
        .program(Path::new("/usr/bin/setpriv"))
        .arg(&user)
        .arg(&group)
        .arg("--clear-groups")
        .arg(env!("CARGO_BIN_EXE_secrets-sync"))
        .arg("run")
}

/// Whether this process may become somebody else.
pub(crate) fn may_be_another() -> bool {
    rustix::process::geteuid().is_root() && Path::new("/usr/bin/setpriv").exists()
}

pub(crate) fn a_field_that_is_missing() {
    for content in ["field: wrong", "template: t"] {
        let server = OpenBao::shared();
        let mount = server.fresh_kv(2);
        server.kv2_put(&mount, "app/db", &json!({ "right": "v1" }));
        let template = "template: { data: { t: '{{ .wrong }}' } }";
        let lines: &[&str] = if content.starts_with("template") {
            &[template]
        } else {
            &[]
        };
        let config = store(&server.address(), &mount, &ROOT) + &secret(lines, &[content]);
        let daemon = setup(&config).start();
        let told = fails(&daemon, "render", "field `wrong` is missing");
        let (_, names) = told.remedy.split_once("which has:").unwrap();
        let right = spans(names)[0];
        assert_eq!(right, "right", "{told:?}");
        let config = fs::read_to_string(daemon.path("config.yaml")).unwrap();
        fs::write(daemon.path("config.yaml"), config.replace("wrong", right)).unwrap();
        ends(&daemon);
    }
    // Or the field is added.
    let server = OpenBao::shared();
    let mount = server.fresh_kv(2);
    server.kv2_put(&mount, "app/db", &json!({ "other": "v1" }));
    let daemon = plain(&server.address(), &mount).start();
    let told = fails(&daemon, "render", "field `x` is missing");
    told.says("add it to the secret");
    bao(&server, &format!("bao kv patch -mount={mount} app/db x=v1"));
    ends(&daemon);
}

pub(crate) fn content_that_is_too_large() {
    let server = OpenBao::shared();
    let mount = server.fresh_kv(2);
    server.kv2_put(&mount, "app/db", &json!({ "x": "v".repeat(1100) }));
    let config = store(&server.address(), &mount, &ROOT)
        + &secret(&[], &["field: x"])
        + "limits: { maxFileBytes: 1000 }\n";
    let daemon = setup(&config).start();
    let told = fails(&daemon, "render", "larger than 1000 bytes");
    let setting = format!("{}: {}", told.span("limits."), told.number("above") + 100);
    set(&daemon, &setting);
    ends(&daemon);
}

pub(crate) fn a_value_that_is_not_encoded() {
    let daemon = ready(&["field: x", "encoding: base64"]).start();
    let told = fails(&daemon, "render", "is not base64");
    set(&daemon, told.span("encoding: "));
    ends(&daemon);
}

pub(crate) fn a_directory_of_somebody_else() {
    if !may_be_another() {
        crate::support::skipped(module_path!(), "only root can be another user");
        return;
    }
    let daemon = as_a_user(ready(&["field: x"])).start();
    let told = fails(&daemon, "write", "Permission denied");
    shell(told.span("chown "));
    ends(&daemon);
    assert_eq!(fs::metadata(daemon.path("out/app")).unwrap().uid(), UID);
}

pub(crate) fn an_owner_that_it_may_not_set() {
    if !may_be_another() {
        crate::support::skipped(module_path!(), "only root can be another user");
        return;
    }
    let setup = as_a_user(ready(&["field: x", "owner: 1"]));
    chown(setup.path("out"), Some(UID), Some(UID)).unwrap();
    let daemon = setup.start();
    let told = fails(&daemon, "write", "cannot set the owner");
    told.says("leave `owner` out");
    take_out(&daemon, "owner");
    ends(&daemon);
}

pub(crate) fn content_that_is_empty() {
    let daemon = ready(&["field: y"]).start();
    let told = fails(&daemon, "write", "the content is empty");
    set(&daemon, told.span("allowEmpty: "));
    ends(&daemon);
    assert_eq!(fs::read(daemon.path("out/app")).unwrap(), b"");
}

pub(crate) fn what_is_no_regular_file() {
    for kind in ["link", "directory"] {
        let setup = ready(&["field: x"]);
        let path = setup.path("out/app");
        if kind == "link" {
            fs::write(setup.path("elsewhere"), "kept").unwrap();
            symlink(setup.path("elsewhere"), &path).unwrap();
        } else {
            fs::create_dir(&path).unwrap();
        }
        let daemon = setup.start();
        let told = fails(&daemon, "write", "not a regular file");
        shell(told.span("rm "));
        ends(&daemon);
        if kind == "link" {
            assert_eq!(fs::read(daemon.path("elsewhere")).unwrap(), b"kept");
        }
        // Or the other way.
        let daemon = {
            let setup = ready(&["field: x"]);
            fs::create_dir(setup.path("out/app")).unwrap();
            setup.start()
        };
        fails(&daemon, "write", "not a regular file").says("name another path");
        set(
            &daemon,
            &format!("path: '{}'", daemon.path("out/other").display()),
        );
        ends(&daemon);
    }
}

/// A daemon in a mount namespace of its own, in which this script was run first.
fn inside(setup: Setup, script: &str) -> Daemon {
    let script = format!("mount --make-rprivate / && {script} && exec \"$0\" run");
    setup
        .program(Path::new("/usr/bin/unshare"))
        .arg("-m")
        .arg("/bin/sh")
        .arg("-c")
        .arg(&script)
        .arg(env!("CARGO_BIN_EXE_secrets-sync"))
        .start()
}

/// A command where the daemon is.
fn there(daemon: &Daemon, command: &str) {
    shell(&format!("nsenter -m -t {} {command}", daemon.pid()));
}

pub(crate) fn a_target_that_is_a_mount_point() {
    if !may_mount() {
        crate::support::skipped(module_path!(), "no mounts can be made here");
        return;
    }
    let setup = ready(&["field: x"]);
    fs::write(setup.path("out/app"), "old").unwrap();
    fs::set_permissions(setup.path("out/app"), fs::Permissions::from_mode(0o600)).unwrap();
    let daemon = inside(setup, "mount --bind @DIR@/out/app @DIR@/out/app");
    let told = fails(&daemon, "write", "mount point");
    set(&daemon, told.span("inPlace: "));
    ends(&daemon);
    assert_eq!(fs::read(daemon.path("out/app")).unwrap(), b"v1");
}

pub(crate) fn a_disk_that_is_full() {
    if !may_mount() {
        crate::support::skipped(module_path!(), "no mounts can be made here");
        return;
    }
    let server = OpenBao::shared();
    let mount = server.fresh_kv(2);
    server.kv2_put(&mount, "app/db", &json!({ "x": "v".repeat(100_000) }));
    let setup = plain(&server.address(), &mount);
    let daemon = inside(setup, "mount -t tmpfs -o size=16k,mode=755 small @DIR@/out");
    let told = fails(&daemon, "write", "No space left");
    let option = told.span("size=");
    let out = daemon.path("out");
    there(
        &daemon,
        &format!("mount -o remount,{option}1m {}", out.display()),
    );
    ends(&daemon);
}

pub(crate) fn a_file_system_that_is_read_only() {
    if !may_mount() {
        crate::support::skipped(module_path!(), "no mounts can be made here");
        return;
    }
    let script =
        "mount -t tmpfs -o size=1m,mode=755 small @DIR@/out && mount -o remount,ro @DIR@/out";
    let daemon = inside(ready(&["field: x"]), script);
    let told = fails(&daemon, "write", "Read-only file system");
    let command = told.span("mount -o remount,rw");
    let out = daemon.path("out");
    there(
        &daemon,
        &command.replace("MOUNTPOINT", out.to_str().unwrap()),
    );
    ends(&daemon);
}

/// The sandbox knows the directory that was there at the start; beside it lies a file of somebody else, so that
/// the one above is closed.
pub(crate) fn a_directory_that_was_made_anew() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(place.path().join("other"), "").unwrap();
    let server = OpenBao::shared();
    let mount = server.fresh_kv(2);
    server.kv2_put(&mount, "app/db", &json!({ "x": "v1" }));
    let file = secret(&[], &["field: x"]).replace("@DIR@/out", out.to_str().unwrap());
    let config = store(&server.address(), &mount, &ROOT) + &file;
    let mut daemon = setup(&config).start();
    let starts = daemon.wait_for_log(PATIENCE, |line| line.has("msg", "secrets-sync starts"));
    if !starts.has("sandbox", "enforced") {
        crate::support::skipped(module_path!(), "the kernel has no sandbox here");
        return;
    }
    ends(&daemon);
    fs::rename(&out, place.path().join("before")).unwrap();
    fs::create_dir(&out).unwrap();
    let told = fails(&daemon, "write", "Permission denied");
    told.says("is open after a restart");
    daemon.stop();
    let again = setup(&config).start();
    ends(&again);
}
