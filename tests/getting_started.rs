//! The guide: its commands are run as they stand there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod machine;
mod podman;
mod support;

use std::fs;

use machine::{Machine, SOURCE};
use podman::{Podman, commands, root};
use serde_json::json;
use support::OpenBao;

fn guide() -> String {
    fs::read_to_string(root().join("docs/getting-started.md")).unwrap()
}

#[test]
fn the_commands_for_podman_lead_to_a_service_that_reads_its_secret() {
    let podman = match Podman::shared() {
        Ok(podman) => podman,
        Err(why) => skip!("{why}"),
    };
    let tools = match podman.build_tools(&OpenBao::program()) {
        Ok(tools) => tools,
        Err(why) => skip!("{why}"),
    };
    // There is no registry here.
    podman.ok(&["tag", tools, "docker.io/library/busybox:latest"]);
    let bao = OpenBao::dev().start();
    bao.kv2_put(
        "secret",
        "app/greeting",
        &json!({ "text": "as the guide says" }),
    );

    let dir = podman.dir("guide");
    // The server of this test listens on the machine's loopback only, and the image is built.
    let settings = fs::read_to_string(podman.settings()).unwrap();
    let settings = settings.replace("[containers]\n", "[containers]\nnetns = \"host\"\n");
    fs::write(dir.join("containers.conf"), settings).unwrap();
    let mut bash = podman.command("bash");
    bash.args([
        "-euxo",
        "pipefail",
        "-c",
        &commands("getting-started.md", "Podman"),
    ])
    .current_dir(&dir)
    .env("CONTAINERS_CONF", dir.join("containers.conf"))
    .env("VAULT_ADDR", bao.address())
    .env("VAULT_TOKEN", "root");
    let said = podman::run(bash);
    said.expect_success("the commands of the guide");
    for wanted in ["as the guide says", "greeting", "in sync"] {
        assert!(
            said.stdout.contains(wanted),
            "no `{wanted}` in\n{}",
            said.stdout
        );
    }
    podman.wait_healthy("secrets-sync");
    podman.ok(&["rm", "-f", "-v", "-t", "5", "secrets-sync"]);
}

#[test]
fn the_commands_for_systemd_lead_to_a_service_that_is_there_when_others_need_it() {
    let machine = match Machine::boot() {
        Ok(machine) => machine,
        Err(why) => skip!("{why}"),
    };
    let bao = OpenBao::dev().start();
    let text = json!({ "text": "as the guide says\n" });
    bao.kv2_put("secret", "app/greeting", &text);
    let policy = bao.reader_policy("secret");
    let (role_id, secret_id) = bao.approle("app", &json!({ "token_policies": [policy] }));
    let script = format!("cd {SOURCE}\n{}", commands("getting-started.md", "systemd"));
    let mut bash = machine.command("bash", &["-euxo", "pipefail", "-c", &script]);
    bash.env("VAULT_ADDR", bao.address())
        .env("ROLE_ID", role_id)
        .env("SECRET_ID", secret_id);
    let said = podman::run(bash);
    said.expect_success("the commands of the guide");
    // By the daemon's file, and by the journal of the service that waited.
    assert_eq!(
        said.stdout.matches("as the guide says").count(),
        2,
        "{}",
        said.stdout
    );
    for wanted in [
        "1 of 1 secrets in sync",
        "would create /run/secrets/greeting",
    ] {
        assert!(
            said.stdout.contains(wanted),
            "no `{wanted}` in\n{}",
            said.stdout
        );
    }
    // It was started three times, and stopped as often.
    let journal = machine.journal();
    assert_eq!(journal.matches("\"msg\":\"ready\"").count(), 3, "{journal}");
    assert_eq!(
        journal.matches("\"msg\":\"stopped\"").count(),
        3,
        "{journal}"
    );
    assert!(!journal.contains("Failed"), "{journal}");
}

#[test]
fn the_commands_of_the_page_on_operations_open_another_directory() {
    let machine = match Machine::installed() {
        Ok(machine) => machine,
        Err(why) => skip!("{why}"),
    };
    machine.ok(&commands("operations.md", "systemd"));
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "a", &json!({ "x": "value" }));
    let config = format!(
        "secretStore: {{ address: '{}', authMethod: token, token: root, mountPath: {mount} }}\n\
         secrets: [{{ name: a, key: a, files: [{{ path: /srv/app/secrets/a, field: x }}] }}]\n",
        bao.address()
    );
    machine.write(
        "/etc/secrets-sync/config.yaml",
        "0640",
        "root:secrets-sync",
        &config,
    );
    machine.ok("systemctl start secrets-sync");
    assert_eq!(machine.ok("cat /srv/app/secrets/a"), "value");
}

#[test]
fn every_file_that_the_guide_names_is_there() {
    let guide = guide();
    let mut named = 0;
    for part in guide.split("](").skip(1) {
        let target = part.split([')', '#']).next().unwrap();
        if !target.is_empty() && !target.contains("://") {
            let path = root().join("docs").join(target);
            assert!(path.exists(), "{target}");
            named += 1;
        }
    }
    for word in guide
        .split_whitespace()
        .filter(|word| word.starts_with("contrib/") || word.starts_with("packaging/"))
    {
        assert!(root().join(word).exists(), "{word}");
        named += 1;
    }
    assert!(named > 5);
}
