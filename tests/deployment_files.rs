//! What contrib/ and the Containerfile say is understood by the tools that it is for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod podman;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use podman::{checker, root};
use serde_json::Value;
use support::Daemon;

/// Runs a checker that `make checkers` installs; it must be content.
macro_rules! check {
    ($name:literal, $args:expr) => {{
        let Some(program) = checker($name) else {
            skip!("needs {}: run `make checkers`", $name);
        };
        let mut command = Command::new(program);
        command.args($args).current_dir(root());
        podman::run(command).expect_success($name);
    }};
}

#[test]
fn hadolint_is_content_with_the_containerfile() {
    check!("hadolint", ["Containerfile"]);
}

#[test]
fn every_compose_file_is_one_by_the_compose_specification() {
    let args = [
        "--builtin-schema",
        "vendor.compose-spec",
        "contrib/compose/compose.yaml",
        "contrib/compose/openbao-dev.yaml",
        "contrib/compose/vault-dev.yaml",
    ];
    check!("check-jsonschema", args);
}

#[test]
fn the_kubernetes_example_is_valid_by_its_schema_to_the_last_key() {
    let args = ["--strict", "contrib/kubernetes/sidecar.yaml"];
    check!("kubernetes-validate", args);
}

#[test]
fn every_configuration_in_the_examples_is_valid() {
    for name in [
        "compose/secrets-sync/config.yaml",
        "compose/dev/config.yaml",
    ] {
        let text = fs::read_to_string(root().join("contrib").join(name)).unwrap();
        valid(&text);
    }
    let text = fs::read_to_string(root().join("contrib/kubernetes/sidecar.yaml")).unwrap();
    let map = text.split("\n---").next().unwrap();
    let (_, config) = map.split_once("config.yaml: |\n").unwrap();
    let config: String = config
        .lines()
        .map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line)))
        .collect();
    valid(&config);
}

/// Credentials may be missing here: that is a warning.
#[track_caller]
fn valid(config: &str) {
    Daemon::new(config)
        .env("VAULT_ADDR", "http://127.0.0.1:8200")
        .any_stdout()
        .any_stderr()
        .validate();
}

#[test]
fn the_kubernetes_sidecar_is_native_confined_and_keeps_secrets_in_memory() {
    let text = fs::read_to_string(root().join("contrib/kubernetes/sidecar.yaml")).unwrap();
    let deployment: Value = serde_yaml::from_str(text.split("\n---\n").nth(1).unwrap()).unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    let sidecar = &pod["initContainers"][0];
    assert_eq!(sidecar["restartPolicy"], "Always");
    let probe = sidecar["startupProbe"]["exec"]["command"].to_string();
    assert_eq!(probe, r#"["/app/secrets-sync","isready"]"#);
    for container in [sidecar, &pod["containers"][0]] {
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["readOnlyRootFilesystem"], true);
        assert_eq!(context["capabilities"]["drop"][0], "ALL");
    }
    let volumes = pod["volumes"].as_array().unwrap();
    for name in ["secrets", "status"] {
        let volume = volumes.iter().find(|v| v["name"] == name).unwrap();
        assert_eq!(volume["emptyDir"]["medium"], "Memory", "{name}");
    }
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    assert!(mounts.iter().all(|mount| mount["readOnly"] == true));
}

/// The keys that podman-systemd.unit(5) knows, as far as they are used.
const QUADLET: [(&str, &[&str]); 2] = [
    (
        "Container",
        &[
            "ContainerName",
            "DropCapability",
            "Environment",
            "Exec",
            "HealthCmd",
            "HealthInterval",
            "HealthRetries",
            "HealthTimeout",
            "Image",
            "NoNewPrivileges",
            "Notify",
            "ReadOnly",
            "Secret",
            "Tmpfs",
            "User",
            "Volume",
        ],
    ),
    ("Volume", &["Device", "Options", "Type", "VolumeName"]),
];

#[test]
fn the_quadlet_units_have_the_keys_that_podman_knows() {
    let dir = root().join("contrib/quadlet");
    let mut images = BTreeMap::new();
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let mut section = String::new();
        for line in fs::read_to_string(&path).unwrap().lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line.strip_prefix('[') {
                name.trim_end_matches(']').clone_into(&mut section);
                continue;
            }
            let (key, value) = line.split_once('=').expect(line);
            if let Some((_, keys)) = QUADLET.iter().find(|(name, _)| *name == section) {
                assert!(keys.contains(&key), "{}: {key}", path.display());
            } else {
                let known = ["Unit", "Service", "Install"].contains(&section.as_str());
                assert!(known, "{}: [{section}]", path.display());
            }
            if key == "Volume" && value.contains(".volume:") {
                let volume = value.split(':').next().unwrap();
                assert!(dir.join(volume).is_file(), "{}: {value}", path.display());
            }
            images.insert((path.clone(), key.to_owned()), value.to_owned());
        }
    }
    let sidecar = |key: &str| &images[&(dir.join("secrets-sync.container"), key.to_owned())];
    assert_eq!(sidecar("Notify"), "true");
    assert_eq!(sidecar("ReadOnly"), "true");
    assert_eq!(sidecar("DropCapability"), "all");
    assert_eq!(sidecar("RestartPreventExitStatus"), "2");
}

#[test]
fn podmans_own_generator_takes_the_quadlet_units() {
    let places = [
        "/usr/libexec/podman/quadlet",
        "/usr/lib/systemd/system-generators/podman-system-generator",
    ];
    let Some(generator) = places.into_iter().find(|place| Path::new(place).exists()) else {
        skip!("podman has no quadlet here (it came with 4.4)");
    };
    let mut command = Command::new(generator);
    command
        .arg("-dryrun")
        .env("QUADLET_UNIT_DIRS", root().join("contrib/quadlet"));
    let said = podman::run(command);
    said.expect_success(generator);
    let units = said.stdout + &said.stderr;
    for wanted in [
        "secrets-sync.service",
        "app.service",
        "--sdnotify=container",
        "--read-only",
    ] {
        assert!(units.contains(wanted), "no `{wanted}` in\n{units}");
    }
    assert!(!units.contains("unsupported"), "{units}");
}
