//! Consumers that read all the time while the real daemon rotates what they read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails
#![allow(clippy::print_stdout)] // what was measured

mod reading;
mod support;

use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use reading::{EndsAll, Reader, fields, spread};
use support::{Daemon, OpenBao, SOON, Signal, poll, process};

const ROTATIONS: usize = 120;

/// One secret under a daemon that is told to refresh as often as its rate limit lets it.
fn rotate(layout: &str) {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "tls", &fields("tls", 0));
    let process = (
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    let (owner, more) = if process.0 == 0 {
        ((12345, 54321), ", owner: 12345, group: 54321")
    } else {
        (process, "")
    };
    let daemon = Daemon::new(&format!(
        "secretStore: {{ address: '{}', authMethod: token, token: root }}
secrets:
  - name: tls
    key: tls
    mountPath: {mount}
    refreshInterval: 1s
    layout: {layout}
{}",
        bao.address(),
        reading::files("tls", more)
    ))
    .start();
    daemon.wait_ready(SOON);
    let out = daemon.path("out");
    let over = AtomicBool::new(false);
    let all_over = || {
        over.store(true, Ordering::Relaxed);
        std::fs::write(daemon.path("over"), "").unwrap();
    };
    let (reads, mut differed) = thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let _ends = EndsAll(&over);
                    let mut reader = Reader::new(&out, owner);
                    while !over.load(Ordering::Relaxed) {
                        reader.by_path("tls");
                        if layout == "directory" {
                            reader.pinned("tls");
                        }
                    }
                    (reader.reads, reader.differed)
                })
            })
            .collect();
        let script = (layout == "directory").then(|| scope.spawn(|| read_by_script(&daemon)));
        let mut watcher = Reader::new(&out, owner);
        for generation in 1..=ROTATIONS {
            bao.kv2_put(&mount, "tls", &fields("tls", generation));
            daemon.signal(Signal::USR1);
            let there = || {
                let is_there = watcher.by_path("tls") == [generation; 2];
                (is_there || over.load(Ordering::Relaxed)).then_some(())
            };
            if poll(SOON, there).is_none() {
                all_over();
                panic!("generation {generation} does not come");
            }
        }
        all_over();
        if let Some(script) = script {
            script.join().unwrap();
        }
        let ended = readers.into_iter().map(|reader| reader.join().unwrap());
        ended.fold((0, Vec::new()), |mut all, one| {
            all.0 += one.0;
            all.1.extend(one.1);
            all
        })
    });
    println!("measured: layout {layout}: {ROTATIONS} rotations, {reads} reads, all right");
    if layout == "files" {
        let times = differed.len();
        let spread = spread(&mut differed);
        println!("measured: readers saw the two files differ {times} times, for {spread}");
    }
    assert!(reads > ROTATIONS, "{reads}");
}

/// As a script does it: `cd` through the link once, then both files by their names.
const SCRIPT: &str = r#"
while [ ! -e "$0/over" ]; do
  cd "$0/out/tls/..data" || exit 1
  { read -r crt _ <crt && read -r key _ <key; } 2>/dev/null || continue
  [ "$crt" = "$key" ] || { echo "mixed: $crt and $key"; exit 1; }
  count=$((count + 1))
done
[ "$count" -gt 100 ] || { echo "read $count times"; exit 1; }
"#;

fn read_by_script(daemon: &Daemon) {
    let mut command = process::command(Path::new("/bin/sh"));
    command.args(["-c", SCRIPT]).arg(daemon.dir());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = process::complete(command, SOON * 10).unwrap();
    let is_well = ended.status.is_some_and(|status| status.success());
    assert!(is_well, "{}{}", ended.stdout, ended.stderr);
}

#[test]
fn while_the_daemon_rotates_files_no_reader_sees_a_part_a_gap_or_a_wrong_owner() {
    rotate("files");
}

#[test]
fn while_the_daemon_switches_a_directory_no_reader_of_data_sees_a_mixed_pair() {
    rotate("directory");
}
