//! A process that is killed at each of its system calls.

use super::*;

/// Set for the process that is to be killed: scene, directory, number of the call, and whether
/// writes are short.
const VICTIM: &str = "SECRETS_SYNC_TEST_MATRIX";

/// Does nothing in an ordinary run: it is the process that is killed.
#[test]
fn victim() {
    let Ok(words) = std::env::var(VICTIM) else {
        return;
    };
    let words: Vec<&str> = words.split('\n').collect();
    let (scene, home) = (Scene::named(words[0]), Path::new(words[1]));
    let faults = Faults {
        halves: words[3] == "true",
        ..scene.faults(Some((words[2].parse().unwrap(), Fault::Kill)))
    };
    let mut worker = Worker::new(scene, home);
    let _ = faults::with(faults, || scene.run(&mut worker));
}

/// Whether a reader could have opened one new and one old file.
fn kill_at_each_call(scene: Scene, halves: bool) -> bool {
    let mut mixed = false;
    for (at, call) in scene.calls(halves).iter().enumerate() {
        let about = format!("{scene:?} killed at call {at}, `{call}`");
        let home = Home::quick();
        scene.prepare(home.dir.path());
        let path = home.dir.path().display();
        let mut victim = start(
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "files::tests::matrix::kills::victim"])
                .env(VICTIM, format!("{scene:?}\n{path}\n{at}\n{halves}"))
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        let status = victim.wait().unwrap();
        let _nobody = nobody_starts();
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert_eq!(signal, Some(9), "{about}: it lived");
        let new = scene.check(home.dir.path(), &about);
        mixed |= new[0] != new[1];
        scene.start_again(home.dir.path(), &about);
    }
    mixed
}

#[test]
fn files_survive_a_kill_at_each_system_call() {
    // They are renamed one after the other: else the matrix would have missed the place.
    assert!(kill_at_each_call(Scene::Files, false));
}

#[test]
fn first_files_survive_a_kill_at_each_system_call() {
    kill_at_each_call(Scene::FirstFiles, false);
}

#[test]
fn a_start_that_cleans_up_survives_a_kill_at_each_system_call() {
    kill_at_each_call(Scene::Start, false);
}

#[test]
fn a_kill_after_a_part_of_a_write_leaves_whole_files() {
    kill_at_each_call(Scene::Files, true);
}

#[test]
fn a_generation_survives_a_kill_at_each_system_call_and_is_never_mixed() {
    assert!(!kill_at_each_call(Scene::Directory, false));
}

#[test]
fn the_first_generation_survives_a_kill_at_each_system_call_and_is_never_mixed() {
    assert!(!kill_at_each_call(Scene::FirstGeneration, false));
}

#[test]
fn the_change_to_a_directory_survives_a_kill_at_each_system_call() {
    // Plain files become links one after the other; from then on all are switched at once.
    kill_at_each_call(Scene::FirstDirectory, false);
}

#[test]
fn a_file_that_is_named_no_more_survives_a_kill_at_each_system_call() {
    assert!(!kill_at_each_call(Scene::Narrowed, false));
}

#[test]
fn a_file_that_cannot_have_a_second_name_survives_a_kill_at_each_system_call() {
    assert!(!kill_at_each_call(Scene::Moved, false));
}

#[test]
fn a_start_with_generations_survives_a_kill_at_each_system_call_and_is_never_mixed() {
    assert!(!kill_at_each_call(Scene::StartDirectory, false));
}

#[test]
fn a_file_in_place_is_repaired_after_a_kill_at_each_system_call() {
    kill_at_each_call(Scene::InPlace, false);
}

#[test]
fn a_file_in_place_is_repaired_after_a_kill_in_the_middle_of_a_write() {
    kill_at_each_call(Scene::InPlace, true);
}
