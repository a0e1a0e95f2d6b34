//! The manual and the guides name every option, variable, key, metric and failure class that the
//! program has, and none that it has not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod pages;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex_lite::Regex;
use secrets_sync::cli::command_line::{CommandLine, Switch};
use secrets_sync::config::VARIABLES;
use secrets_sync::config::schema::MAPS;
use secrets_sync::failure::ErrorType;
use secrets_sync::observe::metrics::families;

type Words = BTreeSet<String>;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(root(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn words<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Words {
    words.into_iter().map(Into::into).collect()
}

/// All that there is, and nothing else.
#[track_caller]
fn same(page: &str, found: &Words, wanted: &Words) {
    let missing: Vec<_> = wanted.difference(found).collect();
    let unknown: Vec<_> = found.difference(wanted).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "{page}: {missing:?} missing, {unknown:?} does not exist"
    );
}

/// The lines of one section or subsection of a manual page, without its heading.
fn section(page: &str, title: &str) -> String {
    let lines = page
        .lines()
        .skip_while(|line| line.strip_prefix(".Sh ").or(line.strip_prefix(".Ss ")) != Some(title));
    let whole = page.contains(&format!("\n.Sh {title}\n"));
    let text: Vec<&str> = lines
        .skip(1)
        .take_while(|line| !line.starts_with(".Sh ") && (whole || !line.starts_with(".Ss ")))
        .collect();
    assert!(!text.is_empty(), "no section `{title}`");
    text.join("\n")
}

/// The words that the items of a section's lists begin with: those behind `.It MACRO`.
fn items(section: &str, macro_: &str) -> Words {
    let start = format!(".It {macro_} ");
    section
        .lines()
        .filter_map(|line| line.strip_prefix(&start))
        .flat_map(|rest| rest.split(" , "))
        .map(|item| item.split(' ').next().unwrap().to_owned())
        .collect()
}

/// `-config` and `c` of `.It Fl c Ar path , Fl -config Ar path`, with all dashes.
fn flags(line: &str) -> Vec<String> {
    line.split(" , ")
        .filter_map(|part| part.strip_prefix("Fl "))
        .map(|part| format!("-{}", part.split(' ').next().unwrap()))
        .collect()
}

fn spellings<'a>(options: impl IntoIterator<Item = &'a Switch>) -> Words {
    options
        .into_iter()
        .flat_map(|it| {
            it.short
                .map(|c| format!("-{c}"))
                .into_iter()
                .chain([it.long.to_owned()])
        })
        .collect()
}

#[test]
fn the_manual_has_every_command_with_its_options_and_no_other() {
    let page = read("man/secrets-sync.1");
    let line = CommandLine::new();
    let mut found: BTreeMap<String, Words> = BTreeMap::new();
    let mut command = String::new();
    found.insert(String::new(), Words::new());
    for text in section(&page, "DESCRIPTION").lines() {
        let Some(item) = text.strip_prefix(".It ") else {
            continue;
        };
        if let Some(name) = item.strip_prefix("Cm ") {
            name.split(' ').next().unwrap().clone_into(&mut command);
            found.insert(command.clone(), Words::new());
        }
        found.get_mut(&command).unwrap().extend(flags(item));
    }
    let mut wanted: BTreeMap<String, Words> = line
        .commands
        .iter()
        .map(|it| (it.name.to_owned(), spellings(&it.options)))
        .collect();
    wanted.insert(String::new(), spellings(&line.options));
    wanted.insert("help".to_owned(), Words::new());
    let flat = |map: &BTreeMap<String, Words>| -> Words {
        map.iter()
            .flat_map(|(command, options)| {
                let names = options.iter().map(move |it| format!("{command} {it}"));
                [command.clone()].into_iter().chain(names)
            })
            .collect()
    };
    same(
        "secrets-sync(1), DESCRIPTION",
        &flat(&found),
        &flat(&wanted),
    );
    let synopsis = section(&page, "SYNOPSIS");
    for name in wanted.keys().filter(|name| !name.is_empty()) {
        let lines = [format!(".Cm {name}"), format!(".Op Cm {name}")];
        assert!(
            synopsis.lines().any(|it| lines.contains(&it.to_owned())),
            "SYNOPSIS: {name}"
        );
    }
}

#[test]
fn the_manual_has_every_exit_code() {
    let page = read("man/secrets-sync.1");
    let exits = section(&page, "EXIT STATUS");
    let mut wanted = words(["0", "2"]);
    for command in &CommandLine::new().commands {
        wanted.extend(command.exit_codes.iter().map(|(code, _)| code.to_string()));
        if command.exit_codes.iter().any(|(code, _)| *code == 1) {
            let (_, text) = exits.split_once(".It 1\n").unwrap();
            let (text, _) = text.split_once(".It 2\n").unwrap();
            let named = text.contains(&format!(".Cm {} :", command.name))
                || command
                    .options
                    .iter()
                    .any(|it| text.contains(&format!(".Fl {}", &it.long[1..])));
            assert!(named, "exit code 1 of `{}`", command.name);
        }
    }
    let found = exits.lines().filter_map(|line| line.strip_prefix(".It "));
    same("secrets-sync(1), EXIT STATUS", &words(found), &wanted);
}

#[test]
fn the_manual_has_every_variable_metric_signal_and_failure_and_no_other() {
    let page = read("man/secrets-sync.1");
    let check = |title: &str, macro_: &str, wanted: Words| {
        let found = items(&section(&page, title), macro_);
        same(&format!("secrets-sync(1), {title}"), &found, &wanted);
    };
    check("ENVIRONMENT", "Ev", words(VARIABLES.iter().copied()));
    check(
        "METRICS",
        "Va",
        words(families().into_iter().map(|it| it.name)),
    );
    check(
        "DIAGNOSTICS",
        "Cm",
        words(ErrorType::ALL.iter().map(|it| it.as_str())),
    );
    let signal = Regex::new(r"\bSIG[A-Z0-9]+\b").unwrap();
    let source = read("src/sync/signals.rs");
    let mut signals = words(signal.find_iter(&source).map(|it| it.as_str()));
    signals.insert("SIGPIPE".to_owned());
    check("Signals", "Dv", signals);
    for label in families().iter().flat_map(|family| &family.labels) {
        assert!(section(&page, "METRICS").contains(label), "label `{label}`");
    }
}

#[test]
fn the_manual_has_every_key_of_the_configuration_and_no_other() {
    let page = read("man/secrets-sync.yaml.5");
    for map in MAPS {
        let title = match map.name {
            "the configuration" => "The file",
            "a store" => "A store",
            "a credential set" => "A credential set",
            "a secret" => "A secret",
            "a source" => "A source",
            "the templates of a secret" => "A template",
            "a file" => "A file",
            "limits" => "Limits",
            other => panic!("no section for {other}"),
        };
        let found = items(&section(&page, title), "Ic");
        let keys = words(map.keys.iter().map(|key| key.name));
        same(&format!("secrets-sync.yaml(5), {title}"), &found, &keys);
    }
}

#[test]
fn mandoc_finds_nothing_to_say() {
    for page in ["man/secrets-sync.1", "man/secrets-sync.yaml.5"] {
        let Ok(said) = Command::new("mandoc")
            .args(["-T", "lint"])
            .arg(root(page))
            .output()
        else {
            skip!("needs mandoc");
        };
        // Pages of others need not be installed here.
        let text = String::from_utf8(said.stdout).unwrap() + &String::from_utf8_lossy(&said.stderr);
        let complaints: Vec<&str> = text
            .lines()
            .filter(|line| {
                !line.contains("referenced manual not found") && !line.contains("mandoc.db")
            })
            .collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
        let shown = Command::new("mandoc")
            .args(["-T", "utf8"])
            .arg(root(page))
            .output()
            .unwrap();
        assert!(
            shown.status.success() && shown.stdout.len() > 5_000,
            "{page}"
        );
    }
}

#[test]
fn the_configurations_of_the_manual_are_valid() {
    let page = read("man/secrets-sync.yaml.5");
    let blocks: Vec<&str> = page
        .split(".Bd -literal -offset indent\n")
        .skip(1)
        .collect();
    assert_eq!(blocks.len(), 3);
    for block in blocks {
        let mut text = block.split(".Ed").next().unwrap().to_owned();
        if !text.contains("secretStore:") {
            text.push_str("secretStore: { address: 'https://vault.example.com', token: t }\n");
        }
        support::Daemon::new(&text)
            .any_stdout()
            .any_stderr()
            .status(0)
            .validate();
    }
}

/// One section of a guide: from its heading to the next of that rank or above.
fn chapter<'p>(page: &'p str, heading: &str) -> &'p str {
    let (_, rest) = page
        .split_once(&format!("\n## {heading}\n"))
        .expect(heading);
    rest.split("\n## ").next().unwrap()
}

fn spans(text: &str) -> Words {
    let span = Regex::new("`([^`\n]+)`").unwrap();
    words(span.captures_iter(text).map(|it| it[1].to_owned()))
}

/// The words in the first column of the tables.
fn first_column(text: &str) -> Words {
    let rows = text.lines().filter(|line| line.starts_with("| "));
    rows.flat_map(|row| spans(row.split(" | ").next().unwrap()))
        .collect()
}

#[test]
fn the_guide_to_the_configuration_has_every_key_and_its_tables_no_other() {
    let page = read("docs/configuration.md");
    for map in MAPS {
        let (heading, prefix) = match map.name {
            "the configuration" => ("A first look", ""),
            "a store" => ("Stores", ""),
            "a credential set" => ("Credential sets", ""),
            "a secret" => ("Secrets", ""),
            "a source" => ("Sources", ""),
            "the templates of a secret" => ("Templates of a secret", "template."),
            "a file" => ("Files", ""),
            "limits" => ("Limits", "limits."),
            other => panic!("no section for {other}"),
        };
        let text = chapter(&page, heading);
        let named = spans(text);
        let keys = words(map.keys.iter().map(|key| format!("{prefix}{}", key.name)));
        let missing: Vec<_> = keys.difference(&named).collect();
        assert!(missing.is_empty(), "{heading}: {missing:?} missing");
        let columns = first_column(text);
        let unknown: Vec<_> = columns.difference(&keys).collect();
        assert!(unknown.is_empty(), "{heading}: {unknown:?} unknown");
    }
}

#[test]
fn the_guides_have_every_variable_and_no_other() {
    let named = spans(&read("docs/environment.md"));
    let missing: Vec<_> = VARIABLES
        .iter()
        .filter(|name| !named.contains(&name.to_ascii_uppercase()))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/environment.md: {missing:?} missing"
    );
    // Of others, or made up for an example.
    let others = [
        "API_KEY",
        "APP_TOKEN",
        "BAO_",
        "CAP_CHOWN",
        "CAP_FOWNER",
        "CIRCUIT_BREAKER_",
        "CLIENT_SECRET",
        "CLOCK_BOOTTIME",
        "CREDENTIALS_DIRECTORY",
        "HELM_VALUES_PATH",
        "IN_MOVED_TO",
        "MONOTONIC_USEC",
        "PR_FUTEX_HASH",
        "ROLE_ID",
        "SECRET_ID",
    ];
    let variable = Regex::new(r"^\$?\{?([A-Z][A-Z0-9]*_[A-Z0-9_]*)").unwrap();
    for page in pages::all() {
        for span in spans(&fs::read_to_string(&page).unwrap()) {
            let Some(name) = variable.captures(&span).map(|it| it[1].to_owned()) else {
                continue;
            };
            let known = VARIABLES.contains(&name.as_str()) || others.contains(&name.as_str());
            assert!(known, "{}: `{name}` is no variable", page.display());
        }
    }
}

#[test]
fn the_guides_have_every_command_and_option_and_no_other() {
    let line = CommandLine::new();
    let commands = chapter(&read("docs/operations.md"), "Command line").to_owned();
    let mut all = String::new();
    for page in pages::all() {
        all.push_str(&fs::read_to_string(page).unwrap());
    }
    let named = spans(&all);
    let says = |word: &str| {
        named
            .iter()
            .any(|it| it.split([' ', '=', '|']).any(|it| it == word))
    };
    for command in &line.commands {
        assert!(
            first_column(&commands).contains(command.name),
            "operations.md: {}",
            command.name
        );
        for option in &command.options {
            assert!(says(option.long), "`{}` of `{}`", option.long, command.name);
        }
    }
    for option in &line.options {
        assert!(says(option.long), "`{}`", option.long);
    }
    for word in first_column(&commands) {
        let word = word.split(' ').next().unwrap().to_owned();
        let known = word.starts_with('-')
            || word == "help"
            || line.commands.iter().any(|command| command.name == word);
        assert!(known, "operations.md: there is no command `{word}`");
    }
    // What stands behind our program's name is ours.
    let every = spellings(
        line.commands
            .iter()
            .flat_map(|it| &it.options)
            .chain(&line.options),
    );
    let ours = Regex::new(r"(?m)(?:^|`|until |bin/|app/)secrets-sync( [^\n#|`]*)").unwrap();
    let option = Regex::new(r" (--?[a-zA-Z][a-z-]*)").unwrap();
    for call in ours.captures_iter(&all) {
        for word in option.captures_iter(&call[1]) {
            let known = every.contains(&word[1]) || &word[1] == "--query" || &word[1] == "--key";
            assert!(
                known,
                "`secrets-sync{}`: there is no `{}`",
                &call[1], &word[1]
            );
        }
    }
}

#[test]
fn the_guides_name_no_metric_that_does_not_exist() {
    let known = words(families().into_iter().map(|family| family.name));
    let metric =
        Regex::new(r"\b(secrets_sync|secret_fetch|secret_sync|circuit_breaker|process)_[a-z_]+")
            .unwrap();
    for page in pages::all() {
        let text = fs::read_to_string(&page).unwrap();
        for name in metric.find_iter(&text) {
            let name = name.as_str();
            let known = known.contains(name) || name == "process_";
            assert!(known, "{}: there is no metric `{name}`", page.display());
        }
    }
}
