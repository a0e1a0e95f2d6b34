//! The Compose files of contrib/compose, run by podman-compose.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod podman;
mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use podman::{IMAGE, PATIENCE, Podman, checker, commands};
use serde_json::json;
use support::{OpenBao, poll, ports};

/// What a Compose file needs here, or the reason why it cannot be run.
fn stand() -> Result<(Arc<Podman>, &'static str, PathBuf), String> {
    let podman = Podman::shared()?;
    let tools = podman.build_tools(&OpenBao::program())?;
    let compose = checker("podman-compose").ok_or("needs podman-compose: run `make checkers`")?;
    Ok((podman, tools, compose))
}

/// A project that is taken down when this is dropped.
struct Project {
    podman: Arc<Podman>,
    compose: PathBuf,
    name: &'static str,
    files: Vec<PathBuf>,
    env: Vec<(&'static str, String)>,
}

impl Project {
    fn call(&self, args: &[&str]) -> podman::Said {
        let mut command = self.podman.command(&self.compose);
        // The server's images cannot be had where there is no registry; see `build_tools`.
        command
            .args(["-p", self.name])
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .env("SECRETS_SYNC_IMAGE", IMAGE);
        for file in &self.files {
            command.arg("-f").arg(file);
        }
        command.args(args);
        podman::run(command)
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) {
        let said = self.call(args);
        said.expect_success(&args.join(" "));
        // podman-compose goes on after some failures of podman.
        assert!(!said.stderr.contains("\nError:"), "{}", said.stderr);
    }

    fn container(&self, service: &str) -> String {
        format!("{}_{service}_1", self.name)
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for service in ["init", "secrets-sync", "app"] {
                let name = self.container(service);
                let _ = std::io::Write::write_fmt(
                    &mut std::io::stderr(),
                    format_args!("--- `{name}`:\n{}\n", self.podman.log(&name)),
                );
            }
        }
        self.call(&["down", "-v", "-t", "1"]);
    }
}

/// Podman 4.6 and later hold the service back until the sidecar is healthy; an older one cannot, and
/// podman-compose then says so. Here the test waits in its place, and for its timer's.
fn bring_up(project: &Project, first: &[&str]) {
    let mut args = vec!["up", "-d"];
    args.extend(first);
    project.ok(&args);
    let sidecar = project.container("secrets-sync");
    project.podman.wait_healthy(&sidecar);
    project.ok(&["up", "-d", "--no-recreate"]);
}

fn development(name: &'static str, server: &'static str, image: &'static str) {
    let (podman, tools, compose) = match stand() {
        Ok(stand) => stand,
        Err(why) => {
            support::skipped(module_path!(), &why);
            return;
        }
    };
    let port = ports::reserve();
    let project = Project {
        podman: Arc::clone(&podman),
        compose,
        name,
        files: vec![podman::root().join(format!("contrib/compose/{server}-dev.yaml"))],
        env: vec![
            (image, tools.to_owned()),
            ("DEV_PORT", port.number().to_string()),
        ],
    };
    bring_up(&project, &[server, "init", "secrets-sync"]);
    podman.wait_log(&project.container("app"), "hello from the server");

    // Each `up` runs it again.
    podman.ok(&["wait", &project.container("init")]);

    // A change of the secret goes all the way.
    let change = [
        "exec",
        "--env=HOME=/tmp",
        "--env=VAULT_TOKEN=root",
        "--env=VAULT_ADDR=http://127.0.0.1:8200",
        &project.container(server),
        if server == "vault" { "vault" } else { "bao" },
        "kv",
        "put",
        "-mount=secret",
        "app/greeting",
        "text=something new",
    ];
    podman.ok(&change);
    let app = project.container("app");
    let seen = || {
        podman
            .podman(&["exec", &app, "cat", "/secrets/greeting"])
            .stdout
    };
    poll(PATIENCE, || (seen() == "something new").then_some(())).expect("the change");
    // It may run again: the role stays, the sample comes back.
    podman.ok(&["start", &project.container("init")]);
    poll(PATIENCE, || {
        (seen() == "hello from the server").then_some(())
    })
    .expect("the sample");
    if server == "openbao" {
        follow_the_guide(&project);
    }
}

/// The guide's commands, on an environment that is up: they do not need to be told so.
fn follow_the_guide(project: &Project) {
    let compose = project.compose.display();
    let script = format!(
        "make() {{ [ \"$*\" = image ]; }}\npodman-compose() {{ '{compose}' \"$@\"; }}\n{}{}",
        commands("getting-started.md", "Getting started"),
        commands("getting-started.md", "Docker and Compose")
    );
    let mut bash = project.podman.command("bash");
    bash.args(["-euxo", "pipefail", "-c", &script])
        .current_dir(podman::root())
        .env("COMPOSE_PROJECT_NAME", project.name)
        .env("SECRETS_SYNC_IMAGE", IMAGE)
        .envs(project.env.iter().map(|(name, value)| (name, value)));
    let said = podman::run(bash);
    said.expect_success("the commands of the guide");
    assert!(
        said.stdout.contains("hello from the server"),
        "{}",
        said.stdout
    );
}

#[test]
fn the_development_environment_with_openbao_comes_up_and_carries_a_change() {
    development("dev-openbao", "openbao", "OPENBAO_IMAGE");
}

#[test]
fn the_development_environment_with_vault_comes_up_and_carries_a_change() {
    development("dev-vault", "vault", "VAULT_IMAGE");
}

#[test]
fn the_two_development_environments_differ_in_the_server_alone() {
    let read = |server: &str| {
        let file = podman::root().join(format!("contrib/compose/{server}-dev.yaml"));
        fs::read_to_string(file).unwrap()
    };
    let plain = read("openbao")
        .replace("${OPENBAO_IMAGE:-docker.io/openbao/openbao:2.7.2}", "IMAGE")
        .replace("OpenBao", "Vault")
        .replace("openbao", "vault")
        .replace("\"bao\"", "\"vault\"");
    let vault = read("vault").replace("${VAULT_IMAGE:-docker.io/hashicorp/vault:1.20}", "IMAGE");
    assert_eq!(plain, vault);
}

#[test]
fn the_sidecar_logs_in_by_credentials_in_docker_secrets_and_fills_a_volume_in_memory() {
    let (podman, tools, compose) = match stand() {
        Ok(stand) => stand,
        Err(why) => skip!("{why}"),
    };
    // The example's paths are fixed, so this server is its own.
    let bao = OpenBao::dev().start();
    bao.policy(
        "app",
        "path \"secret/data/app/*\" { capabilities = [\"read\"] }",
    );
    let (role_id, secret_id) = bao.approle("app", &json!({ "token_policies": ["app"] }));
    let fields = json!({ "username": "alice", "password": "p@ss word" });
    bao.kv2_put("secret", "app/database", &fields);

    // As a user has it: the directory copied, credentials put beside it.
    let dir = podman.dir("compose");
    let example = podman::root().join("contrib/compose");
    fs::copy(example.join("compose.yaml"), dir.join("compose.yaml")).unwrap();
    for name in ["secrets-sync", "credentials"] {
        fs::create_dir(dir.join(name)).unwrap();
    }
    let config = "secrets-sync/config.yaml";
    fs::copy(example.join(config), dir.join(config)).unwrap();
    credential(&dir, "role-id", &role_id);
    credential(&dir, "secret-id", &secret_id);
    // The server of this test listens on the machine's loopback only.
    let beside = dir.join("beside.yaml");
    let network = "services:\n  secrets-sync: { network_mode: host, environment: { METRICS_PORT: \"0\" } }\n  app: { network_mode: host }\n";
    fs::write(&beside, network).unwrap();

    let project = Project {
        podman: Arc::clone(&podman),
        compose,
        name: "sidecar",
        files: vec![dir.join("compose.yaml"), beside],
        env: vec![
            ("VAULT_ADDR", bao.address()),
            ("APP_IMAGE", tools.to_owned()),
        ],
    };
    bring_up(&project, &["secrets-sync"]);
    let app = project.container("app");
    podman.wait_log(&app, "database-url");
    let read = |name: &str| podman.ok(&["exec", &app, "cat", &format!("/secrets/{name}")]);
    assert_eq!(read("database-url"), "postgres://alice:p%40ss+word@db/app");
    assert_eq!(read("database.env"), "password=p@ss word\nusername=alice");
    let mounts = podman.ok(&["exec", &app, "cat", "/proc/mounts"]);
    assert!(
        mounts
            .lines()
            .any(|line| line.contains(" /secrets tmpfs ro")),
        "{mounts}"
    );
    let settings = podman.inspect(&project.container("secrets-sync"));
    assert_eq!(settings["HostConfig"]["ReadonlyRootfs"], true);
    let capabilities = settings["EffectiveCaps"].as_array().map_or(0, Vec::len);
    assert_eq!(capabilities, 0);
}

/// Readable for the daemon's user alone.
fn credential(dir: &Path, name: &str, value: &str) {
    let file = dir.join("credentials").join(name);
    fs::write(&file, value).unwrap();
    chown(&file, Some(65534), Some(65534)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
}
