//! The guide: its commands are run as they stand there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod podman;
mod support;

use std::fs;

use podman::{Podman, root};
use serde_json::json;
use support::OpenBao;

fn guide() -> String {
    fs::read_to_string(root().join("docs/getting-started.md")).unwrap()
}

/// The shell commands of one section, in their order.
fn commands(section: &str) -> String {
    let guide = guide();
    let section = guide
        .split("\n## ")
        .find(|part| part.starts_with(section))
        .expect("the section");
    let blocks = section.split("```sh\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap())
        .collect()
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
    bash.args(["-euxo", "pipefail", "-c", &commands("Podman")])
        .current_dir(&dir)
        .env("CONTAINERS_CONF", dir.join("containers.conf"))
        .env("VAULT_ADDR", bao.address())
        .env("VAULT_TOKEN", "root");
    let said = podman::run(bash);
    said.expect_success("the commands of the guide");
    for wanted in ["as the guide says", "greeting", "in_sync"] {
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
        .filter(|word| word.starts_with("contrib/"))
    {
        assert!(root().join(word).exists(), "{word}");
        named += 1;
    }
    assert!(named > 5);
}
