//! The command line as a list, for whatever must name the whole of it: the order of words, the
//! completions of shells, and the check that the manual names every option.

use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfoKind};

use super::arguments::TopLevel;

/// The program: options that are understood everywhere, and commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// Understood before the command; `-c` and `-h` also after it.
    pub options: Vec<Switch>,
    /// In the order of the help.
    pub commands: Vec<CommandWords>,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandWords {
    /// Its word.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
    /// Its own options.
    pub options: Vec<Switch>,
    /// What its other words are, such as `FILE` or `NAME`.
    pub operands: Vec<&'static str>,
    /// Exit codes that mean something else than success and usage, as the help tells them.
    pub exit_codes: Vec<(i32, &'static str)>,
}

/// One option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// With its dashes: `--config`.
    pub long: &'static str,
    /// Its letter, if it has one.
    pub short: Option<char>,
    /// What its value is, if it takes one, such as `path`.
    pub value: Option<&'static str>,
    /// What it does.
    pub about: &'static str,
}

impl CommandLine {
    /// What the parser's own declarations say.
    #[must_use]
    pub fn new() -> Self {
        let top = TopLevel::get_args_info();
        let mut options = switches(&top);
        options.push(Switch {
            long: "--help",
            short: Some('h'),
            value: None,
            about: "tell the commands and options; behind a command, those of that command",
        });
        Self {
            options,
            commands: top
                .commands
                .iter()
                .map(|command| CommandWords {
                    name: command.name,
                    about: command.command.description,
                    options: switches(&command.command),
                    operands: command
                        .command
                        .positionals
                        .iter()
                        .map(|operand| operand.name)
                        .collect(),
                    exit_codes: command
                        .command
                        .error_codes
                        .iter()
                        .map(|code| (code.code, code.description))
                        .collect(),
                })
                .collect(),
        }
    }

    /// Whether a word is an option, of whatever command, whose value is the next word.
    pub(super) fn takes_value(&self, word: &str) -> bool {
        self.every()
            .any(|option| option.value.is_some() && option.is(word))
    }

    /// Whether a word is an option that has no value.
    pub(super) fn is_switch(&self, word: &str) -> bool {
        self.every()
            .any(|option| option.value.is_none() && option.is(word))
    }

    fn every(&self) -> impl Iterator<Item = &Switch> {
        let own = self.commands.iter().flat_map(|command| &command.options);
        self.options.iter().chain(own)
    }
}

impl Default for CommandLine {
    fn default() -> Self {
        Self::new()
    }
}

impl Switch {
    fn is(&self, word: &str) -> bool {
        let mut letters = word.chars();
        self.long == word
            || (letters.next() == Some('-')
                && letters.next() == self.short
                && self.short.is_some()
                && letters.next().is_none())
    }
}

/// The options of a command; the parser's own `--help` is told once, above.
fn switches(info: &CommandInfoWithArgs) -> Vec<Switch> {
    info.flags
        .iter()
        .filter(|flag| flag.long != "--help" && !flag.hidden)
        .map(|flag| Switch {
            long: flag.long,
            short: flag.short,
            value: match flag.kind {
                FlagInfoKind::Option { arg_name } => Some(arg_name),
                FlagInfoKind::Switch => None,
            },
            about: flag.description,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_the_parser_knows() {
        let line = CommandLine::new();
        let longs: Vec<_> = line.options.iter().map(|option| option.long).collect();
        assert_eq!(longs, ["--config", "--version", "--help"]);
        let run = &line.commands[0];
        assert_eq!(run.name, "run");
        assert_eq!(run.exit_codes.len(), 3);
        let timeout = &run.options[2];
        assert_eq!(
            (timeout.long, timeout.value),
            ("--timeout", Some("duration"))
        );
        let convert = line.commands.iter().find(|it| it.name == "convert");
        assert_eq!(convert.map(|it| it.operands.clone()), Some(vec!["FILE"]));
    }

    #[test]
    fn options_with_values_are_told_from_those_without() {
        let line = CommandLine::new();
        for (word, takes) in [
            ("--config", true),
            ("-c", true),
            ("--timeout", true),
            ("-o", true),
            ("--once", false),
            ("-V", false),
            ("-", false),
            ("--", false),
            ("-oc", false),
            ("config", false),
        ] {
            assert_eq!(line.takes_value(word), takes, "{word}");
        }
    }
}
