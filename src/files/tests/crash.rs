//! A daemon that is killed at any moment: readers see whole content, the next start cleans up.

use std::time::{Duration, Instant};

use super::*;
use crate::files::sweep;

/// Set for the process that is to be killed: the directory it writes to.
const VICTIM: &str = "SECRETS_SYNC_TEST_VICTIM";
/// More than one write's worth, so that a torn one would show.
const LENGTH: usize = 70_000;

fn content(letter: u8) -> String {
    char::from(letter).to_string().repeat(LENGTH)
}

fn targets(dir: &Path) -> Vec<Target> {
    vec![target(dir.join("a")), target(dir.join("b"))]
}

/// Does nothing in an ordinary run: it is the process that the tests below start and kill.
#[test]
fn victim() {
    let Some(dir) = std::env::var_os(VICTIM) else {
        return;
    };
    let dir = PathBuf::from(dir);
    let switched = dir.ends_with("directory");
    let mut writer = Writer::new(targets(&dir), switched);
    for letter in (b'a'..=b'z').cycle() {
        let text = content(letter);
        writer.commit(&files(&[&text, &text])).unwrap();
    }
}

fn start_victim(dir: &Path) -> Child {
    start(
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "files::tests::crash::victim"])
            .env(VICTIM, dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    )
}

/// Reads until `end`; how many whole contents were seen.
fn watch(dir: &Path, end: Instant) -> usize {
    let mut seen = 0;
    while Instant::now() < end {
        for name in ["a", "b"] {
            // Not there before the first commit, and for a moment in a generation's switch.
            let Ok(text) = fs::read(dir.join(name)) else {
                continue;
            };
            assert_eq!(text.len(), LENGTH);
            assert!(text.iter().all(|byte| *byte == text[0]), "torn");
            seen += 1;
        }
    }
    seen
}

fn kill_again_and_again(name: &str, switched: bool) {
    let home = Home::new();
    let dir = home.path(name);
    fs::create_dir(&dir).unwrap();
    let mut seen = 0;
    let mut left = 0;
    for _ in 0..12 {
        let mut victim = start_victim(&dir);
        seen += watch(
            &dir,
            Instant::now() + Duration::from_millis(fastrand::u64(20..120)),
        );
        victim.kill().unwrap();
        victim.wait().unwrap();

        let _nobody = nobody_starts();
        let targets = targets(&dir);
        let swept = sweep([(targets.as_slice(), switched)]);
        assert_eq!(swept.warnings, Vec::<String>::new());
        left += swept.removed.len();
        let allowed = |name: &String| ["a", "b", "..data"].contains(&name.as_str());
        let mut rest = names(&dir);
        rest.retain(|name| !allowed(name));
        assert!(rest.len() <= usize::from(switched), "left over: {rest:?}");
    }
    assert!(seen > 0);
    eprintln!("{seen} whole contents seen, {left} left-overs swept");
    let text = content(b'.');
    let mut writer = Writer::new(targets(&dir), switched);
    let committed = writer.commit(&files(&[&text, &text]));
    assert_eq!(committed.unwrap().written.len(), 2);
    writer.remove_old().unwrap();
    watch(&dir, Instant::now() + Duration::from_millis(1));
    assert_eq!(names(&dir).len(), if switched { 4 } else { 2 });
}

#[test]
fn separate_files_survive_a_kill_at_any_moment() {
    kill_again_and_again("files", false);
}

#[test]
fn a_directory_survives_a_kill_at_any_moment() {
    kill_again_and_again("directory", true);
}
