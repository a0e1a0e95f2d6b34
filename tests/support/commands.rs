//! Programs run to their end, and the commands that the guides show.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The shell commands of one section of a page in docs/, in their order; before the first heading
/// the section is the page's title.
pub fn commands(page: &str, section: &str) -> String {
    let text = fs::read_to_string(root().join("docs").join(page)).unwrap();
    let section = text
        .split("\n## ")
        .find(|part| part.trim_start_matches("# ").starts_with(section))
        .expect("the section");
    let blocks = section.split("```sh\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap())
        .collect()
}

/// How a command ended.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    #[track_caller]
    pub fn expect_success(&self, what: &str) {
        assert_eq!(self.code, 0, "{what}:\n{}\n{}", self.stdout, self.stderr);
    }
}

/// Runs it to its end.
pub fn run(mut command: Command) -> Said {
    let output = command.output().expect("start a program");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said {
        code: output.status.code().unwrap_or(-1),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}
