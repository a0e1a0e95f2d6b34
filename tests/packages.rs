//! The packages and the archive of a release, made from the static binary: installed, started,
//! updated and removed on machines that have nothing of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod machine;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use machine::Machine;
use serde_json::{Value, json};
use support::commands::{commands, root, run};
use support::{OpenBao, Shared, process};

/// Bytes that the program may have.
const LARGEST: usize = 5_000_000;

/// What `make dist` makes, or the end of this test.
macro_rules! dist {
    () => {
        match dist() {
            Ok(dist) => dist,
            Err(why) => skip!("{why}"),
        }
    };
}

macro_rules! machine {
    () => {
        match Machine::boot() {
            Ok(machine) => machine,
            Err(why) => skip!("{why}"),
        }
    };
}

/// The directory with all of a release; an error says why it cannot be made here.
fn dist() -> Result<&'static Path, String> {
    static DIST: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = DIST.get_or_init(|| {
        if !root().join("target/static/secrets-sync").is_file() {
            return Err("needs target/static/secrets-sync: run `make static`".to_owned());
        }
        for tool in ["cargo-deb", "cargo-generate-rpm", "cargo-cyclonedx"] {
            if !root().join(".tools/bin").join(tool).is_file() {
                return Err(format!("needs .tools/bin/{tool}: run `make packagers`"));
            }
        }
        let mut make = Command::new("make");
        make.args(["--no-print-directory", "dist-of-static"])
            .current_dir(root());
        run(make).expect_success("make dist-of-static");
        Ok(root().join("target/dist"))
    });
    made.as_deref().map_err(Clone::clone)
}

/// The one file of a release whose name ends so.
fn file(ending: &str) -> PathBuf {
    let found: Vec<_> = fs::read_dir(root().join("target/dist"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(ending))
        .collect();
    assert_eq!(found.len(), 1, "{ending}: {found:?}");
    found.into_iter().next().unwrap()
}

/// Puts a file of the release into the machine's /root, where it also becomes the working directory
/// of what is run there.
fn give(machine: &Machine, file: &Path) -> String {
    let path = format!("/root/{}", file.file_name().unwrap().to_str().unwrap());
    machine.write(&path, "0644", "root:root", fs::read(file).unwrap());
    path
}

/// A server with a secret, and the configuration that writes it to /run/secrets/a.
fn server() -> (Shared, String) {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "a", &json!({ "x": "value" }));
    let config = format!(
        "secretStore: {{ address: '{}', authMethod: token, token: root, mountPath: {mount} }}\n\
         secrets: [{{ name: a, key: a, files: [{{ path: /run/secrets/a, field: x }}] }}]\n",
        bao.address()
    );
    (bao, config)
}

/// Files of ours on the machine, but for what the kernel and the journal have.
fn ours(machine: &Machine) -> String {
    machine.ok(
        "find / \\( -path /proc -o -path /sys -o -path /src -o -path /root -o -path /var/lib/dpkg \
         -o -path /run/systemd \\) -prune -o -name '*secrets-sync*' -print | sort",
    )
}

fn same_binary(path: &Path) {
    let built = fs::read(root().join("target/static/secrets-sync")).unwrap();
    assert!(built.len() <= LARGEST, "{} bytes", built.len());
    assert!(fs::read(path).unwrap() == built, "another binary");
}

#[test]
fn the_deb_installs_starts_updates_removes_and_purges() {
    dist!();
    let machine = machine!();
    let (_bao, config) = server();
    let deb = give(&machine, &file("_amd64.deb"));
    machine.ok(&format!("dpkg -i {deb}"));
    same_binary(&machine.root().join("usr/bin/secrets-sync"));
    let seen =
        machine.ok("stat -c '%a %U:%G %n' /etc/secrets-sync /etc/secrets-sync/* /run/secrets");
    assert_eq!(
        seen,
        "750 root:secrets-sync /etc/secrets-sync\n640 root:root /etc/secrets-sync/secrets-sync.env\n\
         755 secrets-sync:secrets-sync /run/secrets"
    );
    // Nothing runs before it is configured, and nothing is broken.
    assert_eq!(machine.show("secrets-sync", "ActiveState"), "inactive");
    assert_eq!(machine.show("secrets-sync", "UnitFileState"), "disabled");
    assert_eq!(machine.show("secrets-sync", "Type"), "notify-reload");
    assert_eq!(machine.show("secrets-sync@x", "Type"), "notify-reload");

    let path = "/etc/secrets-sync/config.yaml";
    machine.write(path, "0640", "root:secrets-sync", &config);
    machine.ok("systemctl enable --now secrets-sync");
    assert_eq!(machine.ok("cat /run/secrets/a"), "value");
    let pid = machine.show("secrets-sync", "MainPID");
    // An update restarts what runs, and keeps what was changed.
    machine.ok("echo '# mine' >> /etc/secrets-sync/secrets-sync.env");
    machine.ok(&format!("dpkg -i {deb}"));
    machine.wait_show("secrets-sync", "ActiveState", "active");
    assert_ne!(machine.show("secrets-sync", "MainPID"), pid);
    assert_eq!(
        machine.ok("tail -n 1 /etc/secrets-sync/secrets-sync.env"),
        "# mine"
    );

    machine.ok("dpkg --remove secrets-sync");
    assert_eq!(machine.show("secrets-sync", "ActiveState"), "inactive");
    assert_eq!(machine.ok("systemctl is-system-running"), "running");
    assert_eq!(machine.ok("cat /run/secrets/a"), "value");
    assert_eq!(
        ours(&machine),
        "/etc/secrets-sync\n/etc/secrets-sync/secrets-sync.env\n\
         /etc/systemd/system/multi-user.target.wants/secrets-sync.service"
    );
    assert!(machine.ok(&format!("cat {path}")).contains("secretStore"));

    // Back again, as it was; then gone for good.
    machine.ok(&format!("dpkg -i {deb}; systemctl start secrets-sync"));
    machine.ok("dpkg --purge secrets-sync");
    assert_eq!(ours(&machine), "");
    assert_eq!(machine.ok("systemctl is-system-running"), "running");
}

/// A machine on whose tree rpm did this, with the package as `$rpm`, before it booted. There is no rpm in
/// it, nor what the package would ask for: it is Debian's.
fn rpm(commands: &str) -> Result<Machine, String> {
    if process::in_path("rpm").is_none() {
        return Err("needs `rpm`".to_owned());
    }
    let package = file(".rpm");
    Machine::prepared(&format!(
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin\nmount --bind /proc $root/proc\n\
         rpm() {{ command rpm --root $root --nodeps \"$@\"; }}\nrpm={}\n{commands}\numount $root/proc\n",
        package.display()
    ))
}

#[test]
fn the_rpm_installs_and_starts() {
    dist!();
    let machine = match rpm("rpm --install $rpm; test -z \"$(rpm --verify --nomode secrets-sync)\"")
    {
        Ok(machine) => machine,
        Err(why) => skip!("{why}"),
    };
    same_binary(&machine.root().join("usr/bin/secrets-sync"));
    assert_eq!(machine.show("secrets-sync", "Type"), "notify-reload");
    assert_eq!(machine.show("secrets-sync", "ActiveState"), "inactive");
    let (_bao, config) = server();
    let path = "/etc/secrets-sync/config.yaml";
    machine.write(path, "0640", "root:secrets-sync", &config);
    machine.ok("systemctl enable --now secrets-sync");
    assert_eq!(machine.ok("cat /run/secrets/a"), "value");
}

#[test]
fn the_rpm_updates_and_removes_and_leaves_the_configuration() {
    dist!();
    let commands = "rpm --install $rpm\n\
                    echo mine > $root/etc/secrets-sync/config.yaml\n\
                    echo mine > $root/etc/secrets-sync/secrets-sync.env\n\
                    rpm --upgrade --force $rpm\n\
                    grep -qx mine $root/etc/secrets-sync/secrets-sync.env\n\
                    test -x $root/usr/bin/secrets-sync\n\
                    rpm --erase secrets-sync\n";
    let machine = match rpm(commands) {
        Ok(machine) => machine,
        Err(why) => skip!("{why}"),
    };
    assert_eq!(
        ours(&machine),
        "/etc/secrets-sync\n/etc/secrets-sync/secrets-sync.env.rpmsave"
    );
    assert_eq!(machine.ok("cat /etc/secrets-sync/config.yaml"), "mine");
    assert_eq!(machine.ok("systemctl is-system-running"), "running");
}

#[test]
fn the_deb_is_as_debian_wants_it_and_names_this_version() {
    dist!();
    let deb = file("_amd64.deb");
    let log = fs::read_to_string(root().join("packaging/deb/changelog")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        log.starts_with(&format!("secrets-sync ({version}-1) ")),
        "{log}"
    );
    assert!(deb.ends_with(format!("secrets-sync_{version}-1_amd64.deb")));
    if process::in_path("lintian").is_none() {
        skip!("needs `lintian`");
    }
    let mut lintian = Command::new("lintian");
    lintian
        .args(["--allow-root", "--tag-display-limit=0"])
        .arg(deb);
    let said = run(lintian);
    assert_eq!(said.stdout, "");
}

#[test]
fn the_archive_installs_by_its_own_script_and_its_sums_are_right() {
    let dist = dist!();
    let mut sums = Command::new("sha256sum");
    sums.args(["--check", "--strict", "SHA256SUMS"])
        .current_dir(dist);
    let said = run(sums);
    said.expect_success("sha256sum --check");
    assert_eq!(said.stdout.lines().count(), 4, "{}", said.stdout);
    let machine = machine!();
    let (_bao, config) = server();
    let archive = give(&machine, &file(".tar.gz"));
    machine.ok(&format!(
        "cd /root; tar --no-same-owner -xzf {archive}; cd secrets-sync-*/; packaging/systemd/install.sh"
    ));
    same_binary(&machine.root().join("usr/local/bin/secrets-sync"));
    let path = "/etc/secrets-sync/config.yaml";
    machine.write(path, "0640", "root:secrets-sync", &config);
    machine.ok("systemctl enable --now secrets-sync");
    assert_eq!(machine.ok("cat /run/secrets/a"), "value");
}

#[test]
fn the_bill_of_materials_names_what_is_linked_with_licences_and_hashes() {
    dist!();
    let text = fs::read_to_string(file(".cdx.json")).unwrap();
    assert!(
        !text.contains(root().to_str().unwrap()),
        "a path of this machine"
    );
    let bill: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(bill["bomFormat"], "CycloneDX");
    assert_eq!(bill["metadata"]["component"]["name"], "secrets-sync");
    assert_eq!(
        bill["metadata"]["component"]["version"],
        env!("CARGO_PKG_VERSION")
    );
    let parts = bill["components"].as_array().unwrap();
    for part in parts {
        assert!(part["licenses"][0].is_object(), "{part}");
        assert!(part["hashes"][0]["content"].is_string(), "{part}");
    }
    let has = |name: &str| parts.iter().any(|part| part["name"] == name);
    for name in ["rustls", "ring", "ureq", "handlebars", "yaml_serde"] {
        assert!(has(name), "no {name}");
    }
    // Tools of the tests are not in it.
    assert!(!has("tempfile") && !has("proptest") && !has("rcgen"));
}

#[test]
fn the_commands_of_the_guide_install_and_remove_a_package() {
    dist!();
    let machine = machine!();
    give(&machine, &file("_amd64.deb"));
    // Nobody answers its question, and nothing is fetched.
    let quiet = "APT::Get::Assume-Yes \"true\";\nAPT::Install-Recommends \"false\";\n";
    machine.write("/etc/apt/apt.conf.d/quiet", "0644", "root:root", quiet);
    machine.ok(&format!(
        "cd /root\n{}",
        commands("getting-started.md", "Packages")
    ));
    assert_eq!(ours(&machine), "");
}
