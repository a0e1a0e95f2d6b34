//! The words of the command line, brought into the order that the parser understands.

use argh::SubCommands;

use super::arguments::{Command, Instead, usage};
use super::command_line::CommandLine;
use crate::config;

/// `--query-vault` by its other name.
const QUERY: &str = "--query";

/// `[-c PATH] COMMAND OPTIONS…`, whatever order the words came in.
pub(super) fn order(words: &[String]) -> Result<Vec<String>, Instead> {
    let line = CommandLine::new();
    let mut words = split(words, &line)?.into_iter();
    let mut config = None;
    let mut command: Option<String> = None;
    let mut others = Vec::new();
    // `-`, which the parser would take for an option, and what is behind a `--`.
    let mut plain = Vec::new();
    let (mut help, mut version) = (false, false);
    while let Some(word) = words.next() {
        match word.as_str() {
            "-c" | "--config" => {
                // The last one counts, so that a script's can be overridden.
                config = Some(
                    words
                        .next()
                        .filter(|path| !path.is_empty())
                        .ok_or_else(|| usage(&format!("`{word}` needs a path")))?,
                );
            }
            "-h" | "--help" => help = true,
            "-V" | "--version" if command.is_none() => version = true,
            option if line.takes_value(option) => {
                others.push(word);
                others.extend(words.next());
            }
            "--" => plain.extend(words.by_ref()),
            // The same option under another name.
            QUERY => others.push("--query-vault".to_owned()),
            "-" if command.is_some() => plain.push(word),
            option if option.starts_with('-') && option.len() > 1 => others.push(word),
            "help" if command.is_none() && !help => help = true,
            _ if command.is_none() => command = Some(word),
            _ => others.push(word),
        }
    }
    if let Some(command) = &command {
        known(command)?;
    }
    if help {
        return Ok(command.into_iter().chain(["--help".to_owned()]).collect());
    }
    if version && command.is_none() {
        return Ok(vec!["--version".to_owned()]);
    }
    Ok(config
        .map(|path| ["--config".to_owned(), path])
        .into_iter()
        .flatten()
        .chain([command.unwrap_or_else(|| "run".to_owned())])
        .chain(others)
        .chain((!plain.is_empty()).then(|| "--".to_owned()))
        .chain(plain)
        .collect())
}

/// `--key=value` and `-cPATH` as two words. A value for an option that has none would be taken for a command or a file.
fn split(words: &[String], line: &CommandLine) -> Result<Vec<String>, Instead> {
    let mut apart = Vec::with_capacity(words.len() + 2);
    let mut words = words.iter();
    for word in words.by_ref() {
        if word == "--" {
            apart.push(word.clone());
            break;
        }
        let pair = if word.starts_with("--") {
            word.split_once('=')
        } else {
            word.strip_prefix("-c")
                .filter(|path| !path.is_empty())
                .map(|path| ("-c", path.strip_prefix('=').unwrap_or(path)))
        };
        match pair {
            Some((key, _)) if line.is_switch(key) || key == QUERY => {
                return Err(Instead::Usage {
                    message: format!("`{key}` takes no value"),
                    help: format!("write `{key}` alone, or leave it out"),
                });
            }
            // It is told whole that nobody knows it.
            Some((key, _)) if !line.takes_value(key) => apart.push(word.clone()),
            Some((key, value)) => apart.extend([key.to_owned(), value.to_owned()]),
            None => apart.push(word.clone()),
        }
    }
    apart.extend(words.cloned());
    Ok(apart)
}

fn known(command: &str) -> Result<(), Instead> {
    let names = || Command::COMMANDS.iter().map(|command| command.name);
    if names().any(|name| name == command) {
        return Ok(());
    }
    let message = format!("unknown command `{command}`");
    Err(match config::nearest(command, names()) {
        Some(near) => Instead::Usage {
            message,
            help: format!("did you mean `{near}`?"),
        },
        None => usage(&message),
    })
}
