//! The documentation: every configuration that it shows is one that `validate` accepts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod pages;
mod support;

use std::fs;
use std::process::Command;

use secrets_sync::cli::command_line::CommandLine;

use support::Daemon;

#[test]
fn every_configuration_that_is_shown_is_valid() {
    let mut count = 0;
    for page in pages::all() {
        for (line, text) in pages::configurations(&fs::read_to_string(&page).unwrap()) {
            eprintln!("{}:{line}", page.display());
            Daemon::new(&text)
                .any_stdout()
                .any_stderr()
                .status(0)
                .validate();
            count += 1;
        }
    }
    assert!(count > 15, "only {count} configurations found");
}

#[test]
fn the_sample_is_valid() {
    let sample = Daemon::bare().any_stdout().run(&["init"]).stdout;
    Daemon::new(&sample)
        .any_stdout()
        .any_stderr()
        .status(0)
        .validate();
}

/// The blocks of shell commands on a page.
fn scripts(page: &str) -> Vec<String> {
    let mut scripts = Vec::new();
    let mut open: Option<String> = None;
    for line in page.lines() {
        match &mut open {
            Some(script) if line.trim_start().starts_with("```") => {
                scripts.push(std::mem::take(script));
                open = None;
            }
            Some(script) => {
                script.push_str(line);
                script.push('\n');
            }
            None if line.trim() == "```sh" => open = Some(String::new()),
            None => {}
        }
    }
    scripts
}

/// The words of each command in a script that is plain enough: no more is shown in the guides.
fn commands(script: &str) -> Vec<Vec<String>> {
    let whole = script.replace("\\\n", " ");
    let lines = whole.lines().map(|line| line.split(" #").next().unwrap());
    lines
        .flat_map(|line| line.split(['|', ';']).flat_map(|part| part.split("&&")))
        .map(|command| {
            let words = command.split_whitespace().map(str::to_owned);
            let set = |word: &String| word.contains('=') && !word.starts_with('-');
            words.skip_while(set).collect()
        })
        .filter(|words: &Vec<String>| words.first().is_some_and(|word| !word.starts_with('#')))
        .collect()
}

/// What is wrong with one command, if it is one of ours.
fn fault(words: &[String], makefile: &str) -> Option<String> {
    match words[0].rsplit('/').next().unwrap() {
        "secrets-sync" => ours(&words[1..]),
        "make" => words[1..]
            .iter()
            .filter(|word| !word.contains(['=', '>']) && !word.starts_with('-'))
            .find(|target| {
                let rule = format!("{target}:");
                !makefile.lines().any(|line| line.starts_with(&rule))
            })
            .map(|target| format!("no target `{target}`")),
        "cargo" => words
            .windows(2)
            .filter(|pair| pair[0] == "--test" && pair[1] != "NAME")
            .find(|pair| {
                let tests = std::path::Path::new("tests");
                !tests.join(format!("{}.rs", pair[1])).exists() && !tests.join(&pair[1]).exists()
            })
            .map(|pair| format!("no test `{}`", pair[1])),
        _ => None,
    }
}

fn ours(words: &[String]) -> Option<String> {
    let line = CommandLine::new();
    let named = |word: &String| line.commands.iter().find(|command| command.name == word);
    // Without a command it is `run`.
    let command = words.iter().find_map(named);
    if command.is_none() && words.first().is_some_and(|word| !word.starts_with('-')) {
        return Some(format!("no command among {words:?}"));
    }
    let run = line.commands.iter().find(|command| command.name == "run");
    let own = command.or(run).map(|command| command.options.clone());
    let known: Vec<_> = line
        .options
        .iter()
        .cloned()
        .chain(own.unwrap_or_default())
        .collect();
    words
        .iter()
        .filter(|word| word.starts_with('-') && word.len() > 1)
        .find(|word| {
            let bare = word.split('=').next().unwrap();
            !known.iter().any(|option| {
                option.long == bare
                    || option
                        .short
                        .is_some_and(|short| format!("-{short}") == bare)
            })
        })
        .map(|word| format!("no option `{word}`"))
}

#[test]
fn every_command_that_is_shown_is_one() {
    let makefile = fs::read_to_string("Makefile").unwrap();
    let mut count = 0;
    for page in pages::all() {
        for script in scripts(&fs::read_to_string(&page).unwrap()) {
            let parsed = Command::new("bash")
                .args(["-n", "-c", &script])
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&parsed.stderr);
            assert!(
                parsed.status.success(),
                "{}: {said}\n{script}",
                page.display()
            );
            for words in commands(&script) {
                let fault = fault(&words, &makefile);
                assert_eq!(fault, None, "{}: {}", page.display(), words.join(" "));
                count += 1;
            }
        }
    }
    assert!(count > 60, "only {count} commands found");
}

/// As the hosts of repositories make it of a heading.
fn anchor(heading: &str) -> String {
    let lower = heading.trim().to_lowercase();
    let kept = lower
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_of_the_pages_leads_somewhere() {
    let mut count = 0;
    for page in pages::all() {
        let text = fs::read_to_string(&page).unwrap();
        for part in text.split("](").skip(1) {
            let target = part.split(')').next().unwrap();
            if target.contains("://") || target.contains(char::is_whitespace) || target.is_empty() {
                continue;
            }
            let (file, place) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap().join(file)
            };
            assert!(path.exists(), "{}: `{target}`", page.display());
            if !place.is_empty() && path.extension().is_some_and(|extension| extension == "md") {
                let text = fs::read_to_string(&path).unwrap();
                let mut headings = text.lines().filter_map(|line| line.strip_prefix('#'));
                let found = headings.any(|line| anchor(line.trim_start_matches('#')) == place);
                assert!(found, "{}: `{target}`", page.display());
            }
            count += 1;
        }
    }
    assert!(count > 60, "only {count} links found");
}
