//! One file a command: arguments in, text and exit code out. Decides nothing about secrets.

mod arguments;
pub mod command_line;
mod config_path;
pub mod console;
mod convert;
mod doctor;
mod environ;
pub mod exit;
mod explain;
mod init;
mod isready;
mod left_overs;
mod policy;
pub mod process;
mod run;
mod status;
mod traces;
mod validate;
mod version;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;

use arguments::{Arguments, Command, Instead};
use config_path::NotFound;
use exit::Exit;

use crate::config::Environment;
use crate::observe::log::report_defects;

pub use arguments::Run;

/// The whole program.
#[must_use]
pub fn main() -> ExitCode {
    report_defects();
    let words: Result<Vec<String>, _> = std::env::args_os()
        .skip(1)
        .map(std::ffi::OsString::into_string)
        .collect();
    let environment = Environment::of_process();
    match words {
        Ok(words) => dispatch(&words, environment),
        Err(word) => {
            console::fail(&format_args!(
                "the argument `{}` is not UTF-8",
                word.to_string_lossy()
            ));
            Exit::Unusable
        }
    }
    .into()
}

fn dispatch(words: &[String], environment: Environment) -> Exit {
    let arguments = match Arguments::parse(words) {
        Ok(arguments) => arguments,
        Err(Instead::Help(text)) => return console::print(&text),
        Err(Instead::Usage { message, help }) => {
            console::fail_with_help(&message, &help);
            return Exit::Unusable;
        }
    };
    let config = arguments.config;
    match arguments.command {
        Command::Run(options) => with_config(config, &environment, |file| {
            run::main(&file, &options, environment.clone())
        }),
        Command::Validate(_) => with_config(config, &environment, |file| {
            validate::main(&file, &environment)
        }),
        Command::Isready(options) => isready::main(options.status_file.as_deref(), &environment),
        Command::Status(options) => status::main(&options, &environment),
        Command::Doctor(options) => with_config(config, &environment, |file| {
            doctor::main(&file, &options, &environment)
        }),
        Command::Policy(options) => with_config(config, &environment, |file| {
            policy::main(&file, &options, &environment)
        }),
        Command::Explain(options) => explain::main(&options, config, &environment),
        Command::Convert(options) => convert::main(&options, environment),
        Command::Init(_) => init::main(),
        Command::Version(_) => version::main(),
    }
}

fn with_config(
    given: Option<PathBuf>,
    environment: &Environment,
    command: impl FnOnce(PathBuf) -> Exit,
) -> Exit {
    match config_path::find(given, environment) {
        Ok(file) => command(file),
        Err(missing) => {
            console::fail_with_help(&missing, &NotFound::HELP);
            Exit::Unusable
        }
    }
}
