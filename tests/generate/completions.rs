//! Completions for bash, zsh and fish, from the command line's declarations.

use std::fmt::Write;

use secrets_sync::cli::command_line::{CommandLine, CommandWords, Switch};

const MADE: &str = "Made from the program's own declarations by `make generate`.";

/// How the daemon's status names its secrets: the name stands in front of the store.
const NAMES: &str = r#"command secrets-sync status --json 2>/dev/null | grep -o '"name":"[^"]*","store"' | cut -d'"' -f4"#;

/// What may stand for a value or an operand.
enum Kind {
    Files,
    Directories,
    Names,
    Words(Vec<String>),
    Anything,
}

impl Kind {
    /// By the name that the declaration gives it.
    fn of(name: &str, about: &str) -> Self {
        match name {
            "path" | "FILE" => Self::Files,
            "dir" => Self::Directories,
            "NAME" => Self::Names,
            _ => match quoted(about) {
                words if words.is_empty() => Self::Anything,
                words => Self::Words(words),
            },
        }
    }

    fn of_option(option: &Switch) -> Option<Self> {
        option.value.map(|name| Self::of(name, option.about))
    }
}

/// The words that a description shows as such.
fn quoted(about: &str) -> Vec<String> {
    about
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// One line, without the marks of words.
fn plain(about: &str) -> String {
    let words: Vec<&str> = about.split_whitespace().collect();
    words
        .join(" ")
        .replace('`', "")
        .trim_end_matches('.')
        .to_owned()
}

/// Within the single quotes of zsh; in an option's description `]` would end it.
fn zsh_text(about: &str) -> String {
    plain(about)
        .replace('\'', r"'\''")
        .replace('[', r"\[")
        .replace(']', r"\]")
}

fn fish_text(about: &str) -> String {
    plain(about).replace('\'', r"\'")
}

fn spellings(option: &Switch) -> Vec<String> {
    let short = option.short.map(|letter| format!("-{letter}"));
    short.into_iter().chain([option.long.to_owned()]).collect()
}

fn all_spellings<'a>(options: impl IntoIterator<Item = &'a Switch>) -> String {
    let all: Vec<String> = options.into_iter().flat_map(spellings).collect();
    all.join(" ")
}

/// Options that are understood everywhere; `--version` stands alone.
fn everywhere(line: &CommandLine) -> Vec<&Switch> {
    line.options
        .iter()
        .filter(|option| option.long != "--version")
        .collect()
}

fn names(line: &CommandLine) -> String {
    let mut names: Vec<&str> = line.commands.iter().map(|it| it.name).collect();
    names.push("help");
    names.join(" ")
}

/// The default command's options are understood without it.
fn default(line: &CommandLine) -> &CommandWords {
    line.commands.iter().find(|it| it.name == "run").unwrap()
}

/// contrib/completions/secrets-sync.bash
pub fn bash() -> String {
    let line = CommandLine::new();
    let options = || {
        line.options
            .iter()
            .chain(line.commands.iter().flat_map(|it| &it.options))
    };
    let mut valued: Vec<String> = options()
        .filter(|it| it.value.is_some())
        .flat_map(spellings)
        .collect();
    valued.sort();
    valued.dedup();
    let mut out = format!(
        "# bash completion for secrets-sync. {MADE}\n# shellcheck shell=bash\n\n\
         _secrets_sync_names() {{\n  {NAMES}\n}}\n\n\
         _secrets_sync_words() {{\n  mapfile -t COMPREPLY < <(compgen -W \"$1\" -- \"$2\")\n}}\n\n\
         _secrets_sync_files() {{\n  mapfile -t COMPREPLY < <(compgen \"$1\" -- \"$2\")\n  compopt -o filenames 2>/dev/null\n}}\n\n\
         _secrets_sync() {{\n  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD - 1]}} word command='' i\n  \
         COMPREPLY=()\n  \
         # bash parts `--key=value` at the sign.\n  \
         if [[ $cur == = ]]; then\n    cur=\n  \
         elif [[ $prev == = ]] && ((COMP_CWORD > 1)); then\n    prev=${{COMP_WORDS[COMP_CWORD - 2]}}\n  fi\n  \
         for ((i = 1; i < COMP_CWORD; i++)); do\n    word=${{COMP_WORDS[i]}}\n    case $word in\n      \
         {valued})\n        [[ ${{COMP_WORDS[i + 1]}} == = ]] && ((i++))\n        ((i++)) ;;\n      \
         -* | =) ;;\n      \
         *)\n        command=$word\n        break ;;\n    esac\n  done\n  case $prev in\n",
        valued = valued.join(" | "),
    );
    let mut done: Vec<Vec<String>> = Vec::new();
    for option in options() {
        let Some(kind) = Kind::of_option(option) else {
            continue;
        };
        if done.contains(&spellings(option)) {
            continue;
        }
        done.push(spellings(option));
        let reply = bash_reply(&kind);
        let _ = write!(
            out,
            "    {})\n      {reply}\n      return ;;\n",
            spellings(option).join(" | ")
        );
    }
    out += "  esac\n  case $command in\n";
    for command in &line.commands {
        let all = all_spellings(command.options.iter().chain(everywhere(&line)));
        let operands = command
            .operands
            .first()
            .map(|name| bash_reply(&Kind::of(name, "")));
        let _ = write!(
            out,
            "    {})\n      if [[ $cur == -* ]]; then\n        _secrets_sync_words '{all}' \"$cur\"\n",
            command.name
        );
        if let Some(reply) = operands {
            let _ = write!(out, "      else\n        {reply}\n");
        }
        out += "      fi\n      ;;\n";
    }
    let all = all_spellings(line.options.iter().chain(&default(&line).options));
    let _ = write!(
        out,
        "    '' | help)\n      if [[ $cur == -* ]]; then\n        _secrets_sync_words '{all}' \"$cur\"\n      \
         else\n        _secrets_sync_words '{}' \"$cur\"\n      fi\n      ;;\n  esac\n}}\n\n\
         complete -F _secrets_sync secrets-sync\n",
        names(&line)
    );
    out
}

fn bash_reply(kind: &Kind) -> String {
    match kind {
        Kind::Files => "_secrets_sync_files -f \"$cur\"".to_owned(),
        Kind::Directories => "_secrets_sync_files -d \"$cur\"".to_owned(),
        Kind::Names => "_secrets_sync_words \"$(_secrets_sync_names)\" \"$cur\"".to_owned(),
        Kind::Words(words) => format!("_secrets_sync_words '{}' \"$cur\"", words.join(" ")),
        Kind::Anything => ":".to_owned(),
    }
}

/// contrib/completions/_secrets-sync
pub fn zsh() -> String {
    let line = CommandLine::new();
    let mut out = format!(
        "#compdef secrets-sync\n# zsh completion for secrets-sync. {MADE}\n\n\
         _secrets_sync_names() {{\n  local -a names\n  names=(${{(f)\"$({NAMES})\"}})\n  compadd -a names\n}}\n\n\
         _secrets_sync_commands() {{\n  local -a commands\n  commands=(\n"
    );
    for command in &line.commands {
        let _ = writeln!(out, "    '{}:{}'", command.name, zsh_text(command.about));
    }
    out += "    'help:tell the commands and options'\n  )\n  _describe -t commands command commands\n}\n\n";
    out += "_secrets-sync() {\n  local curcontext=$curcontext state line\n  typeset -A opt_args\n  _arguments -C -S \\\n";
    for option in line.options.iter().chain(&default(&line).options) {
        let _ = writeln!(out, "    {} \\", zsh_option(option));
    }
    out += "    '1: :_secrets_sync_commands' \\\n    '*:: :->words'\n  [[ $state == words ]] || return\n  case $words[1] in\n";
    for command in &line.commands {
        let _ = write!(out, "    {})\n      _arguments -S", command.name);
        for option in command.options.iter().chain(everywhere(&line)) {
            let _ = write!(out, " \\\n        {}", zsh_option(option));
        }
        if let Some(name) = command.operands.first() {
            let action = zsh_action(&Kind::of(name, ""));
            // One name, but any number of files.
            let place = if *name == "NAME" { "1" } else { "*" };
            let _ = write!(out, " \\\n        '{place}:{name}:{action}'");
        }
        out += "\n      ;;\n";
    }
    out += "    help)\n      _secrets_sync_commands\n      ;;\n  esac\n}\n\n";
    out += "if [[ $funcstack[1] == _secrets-sync ]]; then\n  _secrets-sync \"$@\"\nelse\n  compdef _secrets-sync secrets-sync\nfi\n";
    out
}

fn zsh_option(option: &Switch) -> String {
    let (equals, plus, value) = match (Kind::of_option(option), option.value) {
        (Some(kind), Some(name)) => ("=", "+", format!(":{name}:{}", zsh_action(&kind))),
        _ => ("", "", String::new()),
    };
    let about = zsh_text(option.about);
    let long = option.long;
    match option.short {
        Some(letter) => {
            format!("'(-{letter} {long})'{{-{letter}{plus},{long}{equals}}}'[{about}]{value}'")
        }
        None => format!("'{long}{equals}[{about}]{value}'"),
    }
}

fn zsh_action(kind: &Kind) -> String {
    match kind {
        Kind::Files => "_files".to_owned(),
        Kind::Directories => "_files -/".to_owned(),
        Kind::Names => "_secrets_sync_names".to_owned(),
        Kind::Words(words) => format!("({})", words.join(" ")),
        Kind::Anything => " ".to_owned(),
    }
}

/// contrib/completions/secrets-sync.fish
pub fn fish() -> String {
    let line = CommandLine::new();
    let all = names(&line);
    let mut out = format!(
        "# fish completion for secrets-sync. {MADE}\n\n\
         function __secrets_sync_names\n    {NAMES}\nend\n\n\
         complete -c secrets-sync -f\n"
    );
    for option in &line.options {
        let only = if option.long == "--version" {
            format!(" -n 'not __fish_seen_subcommand_from {all}'")
        } else {
            String::new()
        };
        let _ = writeln!(out, "complete -c secrets-sync{only}{}", fish_option(option));
    }
    for command in &line.commands {
        let (name, about) = (command.name, fish_text(command.about));
        let _ = writeln!(
            out,
            "\ncomplete -c secrets-sync -n 'not __fish_seen_subcommand_from {all}' -a {name} -d '{about}'"
        );
        let here = if name == default(&line).name {
            format!("__fish_seen_subcommand_from {name}; or not __fish_seen_subcommand_from {all}")
        } else {
            format!("__fish_seen_subcommand_from {name}")
        };
        for option in &command.options {
            let _ = writeln!(
                out,
                "complete -c secrets-sync -n '{here}'{}",
                fish_option(option)
            );
        }
        match command.operands.first().map(|name| Kind::of(name, "")) {
            Some(Kind::Names) => {
                let _ = writeln!(
                    out,
                    "complete -c secrets-sync -n '{here}' -a '(__secrets_sync_names)'"
                );
            }
            Some(Kind::Files) => {
                let _ = writeln!(out, "complete -c secrets-sync -n '{here}' -F");
            }
            _ => {}
        }
    }
    let _ = writeln!(
        out,
        "\ncomplete -c secrets-sync -n 'not __fish_seen_subcommand_from {all}' -a help -d 'tell the commands and options'"
    );
    out
}

fn fish_option(option: &Switch) -> String {
    let mut out = String::new();
    if let Some(letter) = option.short {
        let _ = write!(out, " -s {letter}");
    }
    let _ = write!(out, " -l {}", option.long.trim_start_matches("--"));
    match Kind::of_option(option) {
        Some(Kind::Files) => out += " -r -F",
        Some(Kind::Directories) => out += " -x -a '(__fish_complete_directories)'",
        Some(Kind::Names) => out += " -x -a '(__secrets_sync_names)'",
        Some(Kind::Words(words)) => {
            let _ = write!(out, " -x -a '{}'", words.join(" "));
        }
        Some(Kind::Anything) => out += " -x",
        None => {}
    }
    let _ = write!(out, " -d '{}'", fish_text(option.about));
    out
}
