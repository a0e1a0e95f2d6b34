//! What the shells themselves offer behind `secrets-sync`, with the completions that come with it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod podman;
mod site;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use podman::root;
use secrets_sync::cli::command_line::{CommandLine, Switch};
use site::{Site, hourly};
use support::{Daemon, SOON, process};

type Words = BTreeSet<String>;

/// A shell that completes a line: a script, the line being `$LINE`.
struct Shell {
    program: &'static str,
    script: &'static str,
}

const BASH: Shell = Shell {
    program: "bash",
    script: r#"
        source secrets-sync.bash
        # As readline does: parted at spaces and at the signs of COMP_WORDBREAKS.
        mapfile -t COMP_WORDS < <(grep -oE '=|[^= ]+' <<<"$LINE")
        [[ $LINE == *' ' ]] && COMP_WORDS+=('')
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _secrets_sync
        printf '%s\n' "${COMPREPLY[@]}"
    "#,
};

const FISH: Shell = Shell {
    program: "fish",
    script: "source secrets-sync.fish; complete -C \"$LINE\" | string replace -r '\\t.*' ''; true",
};

/// Completion runs in zsh's editor, and that only on a terminal: zpty makes one.
const ZSH: Shell = Shell {
    program: "zsh",
    script: r#"
        zmodload zsh/zpty
        zpty inner zsh -f -i
        await() { local line; while zpty -r inner line; do [[ $line == *$1* ]] && return; done; exit 1 }
        zpty -w inner "PS1= PROMPT_EOL_MARK=; stty -echo; fpath=(${(q)PWD} \$fpath)"
        zpty -w inner 'autoload -Uz compinit; compinit -u -D
            compadd() {
                local -a hits
                builtin compadd -O hits "$@"
                (( $#hits )) && print -rl -- "" H:$^hits
                builtin compadd "$@"
            }
            finish() { print -r -- ""; print -r -- THE_"END" }
            comppostfuncs=(finish)
            zle -C offer list-choices _main_complete
            bindkey "^I" offer
            print REA"DY"'
        await READY
        zpty -w -n inner "$LINE"$'\t'
        while zpty -r inner line; do
            line=${line//$'\r'}
            [[ $line == H:* ]] && print -r -- ${${line#H:}%$'\n'}
            [[ $line == *THE_END* ]] && break
        done
        zpty -d inner
    "#,
};

impl Shell {
    /// What it offers; `None` where it is not installed.
    fn offers(&self, line: &str) -> Option<Words> {
        self.offers_with(line, &[])
    }

    fn offers_with(&self, line: &str, env: &[(&str, &Path)]) -> Option<Words> {
        process::in_path(self.program)?;
        let home = tempfile::tempdir().unwrap();
        let directory = Path::new(env!("CARGO_BIN_EXE_secrets-sync"))
            .parent()
            .unwrap();
        let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("timeout");
        command
            .args(["30", self.program])
            .args(match self.program {
                "bash" => ["--noprofile", "--norc"].as_slice(),
                "zsh" => &["-f"],
                _ => &["--no-config"],
            })
            .args(["-c", self.script])
            .current_dir(root().join("contrib/completions"))
            .env("LINE", line)
            .env("PATH", path)
            .env("HOME", home.path())
            .env("TERM", "dumb")
            .env_remove("STATUS_FILE")
            .envs(env.iter().copied());
        let said = podman::run(command);
        assert_eq!(said.code, 0, "{} on `{line}`: {said:?}", self.program);
        let words = said.stdout.lines().filter(|word| !word.is_empty());
        Some(words.map(str::to_owned).collect())
    }
}

fn words<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Words {
    words.into_iter().map(Into::into).collect()
}

fn longs<'a>(options: impl IntoIterator<Item = &'a Switch>) -> Words {
    options.into_iter().map(|it| it.long.to_owned()).collect()
}

/// What every shell must offer for each line, all of it and nothing else.
fn check(shell: &Shell) -> Option<()> {
    let line = CommandLine::new();
    let commands = line.commands.iter().map(|it| it.name.to_owned());
    let commands: Words = commands.chain(["help".to_owned()]).collect();
    assert_eq!(shell.offers("secrets-sync ")?, commands);
    assert_eq!(shell.offers("secrets-sync -c x ")?, commands);
    assert_eq!(shell.offers("secrets-sync --config=x ")?, commands);
    assert_eq!(shell.offers("secrets-sync st")?, words(["status"]));
    for command in &line.commands {
        let mut wanted = longs(command.options.iter().chain(&line.options));
        wanted.remove("--version");
        let offered = shell.offers(&format!("secrets-sync {} --", command.name))?;
        assert_eq!(offered, wanted, "{}: {}", shell.program, command.name);
    }
    // `run` is meant where no command stands.
    let run = line.commands.iter().find(|it| it.name == "run").unwrap();
    let offered = shell.offers("secrets-sync --")?;
    assert_eq!(offered, longs(run.options.iter().chain(&line.options)));

    let whole = words(["eso", "vault-agent", "consul-template"]);
    assert_eq!(shell.offers("secrets-sync convert --from ")?, whole);
    let kv = shell.offers("secrets-sync convert --kv-version=")?;
    let kv = words(kv.iter().map(|it| it.trim_start_matches("--kv-version=")));
    assert_eq!(kv, words(["v1", "v2"]));
    // Paths, where paths stand.
    for before in ["-c ", "validate --config ", "convert ", "convert a -o "] {
        let offered = shell.offers(&format!("secrets-sync {before}_secr"))?;
        assert_eq!(
            offered,
            words(["_secrets-sync"]),
            "{}: {before}",
            shell.program
        );
    }
    // zsh offers options where there is nothing else.
    let mut rest = shell.offers("secrets-sync validate ")?;
    rest.retain(|word| !word.starts_with('-'));
    assert_eq!(rest, Words::new());
    Some(())
}

#[test]
fn bash_offers_commands_options_and_values() {
    if check(&BASH).is_none() {
        skip!("needs bash");
    }
}

#[test]
fn zsh_offers_commands_options_and_values() {
    if check(&ZSH).is_none() {
        skip!("needs zsh");
    }
}

#[test]
fn fish_offers_commands_options_and_values() {
    if check(&FISH).is_none() {
        skip!("needs fish");
    }
}

#[test]
fn names_of_secrets_come_from_the_running_daemon() {
    let site = Site::with(&["tls-cert", "db.password"]);
    let daemon = Daemon::new(&site.config(&[hourly("tls-cert"), hourly("db.password")])).start();
    daemon.wait_ready(SOON);
    let status = daemon.path("status.json");
    let env = [("STATUS_FILE", status.as_path())];
    assert!(status.is_file());
    let wanted = words(["tls-cert", "db.password"]);
    // The function itself, as each of the three scripts has it.
    let scripts = [
        ("bash", "source secrets-sync.bash; _secrets_sync_names"),
        ("fish", "source secrets-sync.fish; __secrets_sync_names"),
        (
            "zsh",
            "compdef() { }; compadd() { print -rl -- $names }; source ./_secrets-sync; _secrets_sync_names",
        ),
    ];
    for (program, script) in scripts {
        let offered = Shell { program, script }.offers_with("", &env);
        assert!(offered.is_none_or(|it| it == wanted), "{program}");
    }
    // And wherever a command takes a name.
    for command in &CommandLine::new().commands {
        if command.operands.contains(&"NAME") {
            for shell in [BASH, FISH, ZSH] {
                let offered = shell.offers_with(&format!("secrets-sync {} ", command.name), &env);
                assert!(offered.is_none_or(|it| it == wanted), "{}", shell.program);
            }
        }
    }
}

#[test]
fn the_scripts_are_well_formed() {
    let scripts = root().join("contrib/completions");
    assert_eq!(fs::read_dir(&scripts).unwrap().count(), 3);
    for (program, args) in [
        ("shellcheck", ["-s", "bash", "secrets-sync.bash"].as_slice()),
        ("bash", &["-n", "secrets-sync.bash"]),
        ("zsh", &["-n", "_secrets-sync"]),
        ("fish", &["-n", "secrets-sync.fish"]),
    ] {
        if process::in_path(program).is_some() {
            let mut command = Command::new(program);
            command.args(args).current_dir(&scripts);
            podman::run(command).expect_success(program);
        }
    }
}
