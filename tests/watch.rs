//! The configuration is followed with `WATCH_CONFIG=true`, however it is changed; credential files
//! are followed always.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod site;
mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use site::{Site, here, hourly, settled};
use support::{Daemon, SOON, Setup, Signal};

const CHANGED: &str = "the configuration file changed";
const TAKEN_UP: &str = "the new configuration is taken up";
const REFUSED: &str = "the new configuration was refused; the old one goes on";

/// The configuration with the first `count` of the secrets `a`, `b`, …
fn first(site: &Site, count: usize) -> String {
    let secrets: Vec<_> = ["a", "b", "c", "d", "e"][..count]
        .iter()
        .map(|name| hourly(name))
        .collect();
    site.config(&secrets)
}

fn site() -> Site {
    Site::with(&["a", "b", "c", "d", "e"])
}

fn watching(config: &str) -> Setup {
    Daemon::new(config).env("WATCH_CONFIG", "true")
}

/// Makes the change, and waits until a configuration of so many secrets is taken up.
#[track_caller]
fn seen(daemon: &Daemon, count: usize, change: impl FnOnce()) {
    let mark = daemon.mark();
    change();
    let line = daemon.wait_for_log_after(mark, SOON, |line| line.msg() == TAKEN_UP);
    let total = ["added", "changed", "unchanged"].map(|field| line.json[field].as_u64().unwrap());
    assert_eq!(total.iter().sum::<u64>(), count as u64, "{}", line.raw);
    settled(daemon, &["a", "b", "c", "d", "e"][..count]);
}

fn times(daemon: &Daemon, message: &str) -> usize {
    daemon
        .log()
        .iter()
        .filter(|line| line.msg() == message)
        .count()
}

/// As `vi` and `sed -i` save: a new file in the place of the old one.
fn replace(daemon: &Daemon, name: &str, config: &str) {
    let new = daemon.path(&format!("{name}.new"));
    fs::write(&new, here(daemon, config)).unwrap();
    fs::rename(&new, daemon.path(name)).unwrap();
}

#[test]
fn writes_renames_and_a_file_that_goes_and_comes_are_followed() {
    let site = site();
    let daemon = watching(&first(&site, 1)).start();
    settled(&daemon, &["a"]);
    seen(&daemon, 2, || site::rewrite(&daemon, &first(&site, 2)));
    let (before, refused) = (times(&daemon, CHANGED), times(&daemon, REFUSED));
    seen(&daemon, 3, || {
        replace(&daemon, "config.yaml", &first(&site, 3))
    });
    seen(&daemon, 1, || {
        replace(&daemon, "config.yaml", &first(&site, 1))
    });
    assert_eq!(times(&daemon, CHANGED), before + 2, "one reload a change");
    assert_eq!(times(&daemon, REFUSED), refused, "never a part of a file");

    let mark = daemon.mark();
    fs::remove_file(daemon.path("config.yaml")).unwrap();
    daemon.wait_for_log_after(mark, SOON, |line| line.msg() == REFUSED);
    daemon.wait_status(SOON, |status| !status["config"]["error"].is_null());
    // The same as before it went.
    seen(&daemon, 1, || {
        replace(&daemon, "config.yaml", &first(&site, 1))
    });
    daemon.wait_status(SOON, |status| status["config"]["error"].is_null());
    assert_eq!(site.reads("a"), 1, "through all of this");
}

#[test]
fn a_config_map_is_followed() {
    let site = site();
    let setup = watching("").env("CONFIG_FILE", "@DIR@/cm/config.yaml");
    let volume = setup.path("cm");
    let dir = setup.dir().to_str().unwrap().to_owned();
    // As the kubelet does: a new directory, and one rename that switches all files to it.
    let publish = |generation: &str, config: &str| {
        let files = volume.join(generation);
        fs::create_dir_all(&files).unwrap();
        fs::write(files.join("config.yaml"), config.replace("@DIR@", &dir)).unwrap();
        symlink(generation, volume.join("..data_tmp")).unwrap();
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    };
    publish("..2026_01", &first(&site, 1));
    symlink("..data/config.yaml", volume.join("config.yaml")).unwrap();
    let daemon = setup.start();
    settled(&daemon, &["a"]);
    seen(&daemon, 2, || {
        publish("..2026_02", &first(&site, 2));
        fs::remove_dir_all(volume.join("..2026_01")).unwrap();
    });
    seen(&daemon, 3, || publish("..2026_03", &first(&site, 3)));
    assert_eq!(times(&daemon, CHANGED), 2, "one reload a swap");
}

#[test]
fn a_link_to_a_file_elsewhere_is_followed() {
    let site = site();
    let setup = watching("")
        .file("real/one.yaml", &first(&site, 1))
        .file("real/two.yaml", &first(&site, 2))
        .env("CONFIG_FILE", "@DIR@/etc/config.yaml");
    fs::create_dir(setup.path("etc")).unwrap();
    let link = setup.path("etc/config.yaml");
    symlink("../real/one.yaml", &link).unwrap();
    let daemon = setup.start();
    settled(&daemon, &["a"]);
    seen(&daemon, 2, || {
        symlink("../real/two.yaml", daemon.path("etc/new")).unwrap();
        fs::rename(daemon.path("etc/new"), &link).unwrap();
    });
    // In another directory than the link: no event, the content tells.
    seen(&daemon, 3, || {
        replace(&daemon, "real/two.yaml", &first(&site, 3))
    });
}

fn unshares() -> bool {
    let tried = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "true"])
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

/// The daemon in a mount namespace of its own, in which `from` lies on `to`.
fn with_bind_mount(setup: Setup, from: &str, to: &str) -> Setup {
    let script = r#"mount --bind "$1" "$2" && exec "$3" run"#;
    let arguments = [
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        script,
        "sh",
    ];
    let setup = setup.program(Path::new("/usr/bin/env")).arg("unshare");
    let setup = arguments.iter().fold(setup, |setup, arg| setup.arg(arg));
    setup
        .arg(from)
        .arg(to)
        .arg(env!("CARGO_BIN_EXE_secrets-sync"))
}

#[test]
fn bind_mounts_of_a_file_and_of_its_directory_are_followed() {
    if !unshares() {
        skip!("needs the right to make mount namespaces");
    }
    let site = site();
    let path = std::env::var("PATH").unwrap();
    let setup = || {
        watching("")
            .env("PATH", &path)
            .file("host/config.yaml", &first(&site, 1))
            .file("inside/config.yaml", "")
            .env("CONFIG_FILE", "@DIR@/inside/config.yaml")
    };
    let file = "/config.yaml";
    let of_file = with_bind_mount(
        setup(),
        &format!("@DIR@/host{file}"),
        &format!("@DIR@/inside{file}"),
    )
    .start();
    let of_directory = with_bind_mount(setup(), "@DIR@/host", "@DIR@/inside").start();
    settled(&of_file, &["a"]);
    settled(&of_directory, &["a"]);
    // Written outside, where the daemon has no watch: the content tells.
    let config = first(&site, 2);
    seen(&of_file, 2, || {
        fs::write(of_file.path("host/config.yaml"), here(&of_file, &config)).unwrap();
    });
    seen(&of_directory, 2, || {
        replace(&of_directory, "host/config.yaml", &config)
    });
    let outside = fs::read(of_file.path("inside/config.yaml")).unwrap();
    assert!(outside.is_empty(), "it was a mount of the daemon's alone");
}

/// A daemon whose token lies in a file; gives it and two further tokens.
fn with_token_file(site: &Site, watch: &str) -> (Daemon, [String; 2]) {
    let config = first(site, 1).replace("token: root", "tokenFile: '@DIR@/token'");
    let policy = site.bao.reader_policy(&site.mount);
    let token = || site.bao.token(&[&policy], "1h", &Value::Null);
    let daemon = Daemon::new(&config)
        .env("WATCH_CONFIG", watch)
        .file("token", &token())
        .start();
    settled(&daemon, &["a"]);
    (daemon, [token(), token()])
}

/// Writes the tokens one after another, each once the one before is in use.
fn change_tokens(site: &Site, daemon: &Daemon, tokens: &[String]) {
    for token in tokens {
        fs::write(daemon.path("token"), format!("{token}\n")).unwrap();
        site.proxy.wait_for(1, SOON, |request| {
            request.is("GET", "auth/token/lookup-self")
                && request.header("x-vault-token") == Some(token)
        });
    }
}

#[test]
fn a_touch_is_no_change() {
    let site = site();
    let (daemon, tokens) = with_token_file(&site, "true");
    let text = fs::read(daemon.path("config.yaml")).unwrap();
    replace(&daemon, "config.yaml", std::str::from_utf8(&text).unwrap());
    let touched = fs::File::open(daemon.path("config.yaml")).unwrap();
    touched.set_modified(std::time::SystemTime::now()).unwrap();
    // Both are looked at together: whoever has seen the tokens has seen the configuration.
    change_tokens(&site, &daemon, &tokens);
    assert_eq!(times(&daemon, CHANGED) + times(&daemon, TAKEN_UP), 0);
}

#[test]
fn without_the_watch_credential_files_alone_are_followed() {
    let site = site();
    let (daemon, tokens) = with_token_file(&site, "false");
    let text = fs::read_to_string(daemon.path("config.yaml")).unwrap();
    site::rewrite(&daemon, &format!("{text}{}", hourly("b")));
    change_tokens(&site, &daemon, &tokens);
    assert_eq!(times(&daemon, CHANGED) + times(&daemon, TAKEN_UP), 0);
    seen(&daemon, 2, || daemon.signal(support::Signal::HUP));
    for token in &tokens {
        assert!(daemon.log().iter().all(|line| !line.raw.contains(token)));
    }
}

/// A pipe at this path, into which a thread writes the configuration, once.
fn pipe(path: &Path, config: String) -> std::thread::JoinHandle<()> {
    rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RWXU).unwrap();
    let path = path.to_owned();
    std::thread::spawn(move || fs::write(path, config).unwrap())
}

#[test]
fn a_configuration_out_of_a_pipe_is_read_once_and_kept_when_a_reload_is_asked_for() {
    let site = site();
    let setup = watching("secrets: []").arg("--config").arg("@DIR@/pipe");
    let config = first(&site, 2).replace("@DIR@", setup.dir().to_str().unwrap());
    let writer = pipe(&setup.path("pipe"), config);
    let mut daemon = setup.start();
    settled(&daemon, &["a", "b"]);
    writer.join().unwrap();
    daemon.wait_for_log(SOON, |line| {
        line.msg().starts_with("the configuration came from a pipe")
    });
    daemon.signal(Signal::HUP);
    let line = daemon.wait_for_log(SOON, |line| line.msg() == REFUSED);
    assert!(
        line.text("error")
            .contains("is a pipe, which can be read only once"),
        "{}",
        line.raw
    );
    // Not even opened: a writer would wait for a reader.
    let late = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK;
    let opened = rustix::fs::open(daemon.path("pipe"), late, rustix::fs::Mode::empty());
    assert_eq!(opened.unwrap_err(), rustix::io::Errno::NXIO);
    assert_eq!(times(&daemon, CHANGED), 0);
    settled(&daemon, &["a", "b"]);
    assert!(daemon.stop().success());
}
