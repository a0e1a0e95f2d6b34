//! A process that meets an error in each of its system calls.

use super::*;
use crate::files::behind::BEHIND;

const ERRORS: [Errno; 5] = [
    Errno::NOSPC,
    Errno::IO,
    Errno::ROFS,
    Errno::ACCESS,
    Errno::MFILE,
];

/// The number of the first call that readers may notice.
fn first_shown(scene: Scene, calls: &[&'static str]) -> usize {
    let is_shown = |call: &&str| *call == "rename" || scene == Scene::InPlace;
    calls.iter().position(is_shown).unwrap()
}

/// Runs with these faults; then the same worker's next cycle, and the next start.
fn disturb(scene: Scene, faults: Faults, shown: usize) -> Result<Committed, WriteError> {
    let (at, fault) = faults.at.unwrap();
    let _nobody = nobody_starts();
    let home = Home::quick();
    let home = home.dir.path();
    scene.prepare(home);
    let mut worker = Worker::new(scene, home);
    let (done, made) = faults::with(faults, || scene.run(&mut worker));
    let call = made.get(at).copied().unwrap_or("none");
    let about = format!("{scene:?}, {fault:?} at call {at}, `{call}`");
    let new = scene.check(home, &about);
    match &done {
        Ok(_) => scene.check_new(home, &about),
        Err(error) => {
            let text = error.to_string();
            assert!(says_step_and_path(&text, home), "{about}: {text}");
            assert!(at >= shown || new == [false, false], "{about}: {new:?}");
            // What is said of the files is so: of a switched directory, whose first files are all new.
            let has_new = new != [false, false];
            assert!(error.is_halfway || !has_new, "{about}: {error} {new:?}");
        }
    }
    // Nothing stays that could be taken away. A start's own left-overs wait for the next one.
    let once = matches!(fault, Fault::Error(_));
    let cleans = ["unlink", "remove_directory"].contains(&call);
    if once && !cleans && !scene.is_start() && done.is_err() {
        let mut left = scene.left_over(home);
        // The note of what has yet to follow stays until it has.
        left.retain(|name| !name::is_generation(name.as_ref()) && name != BEHIND);
        assert_eq!(left, Vec::<String>::new(), "{about}: {made:?}");
    }
    // Of a file system that can do everything again.
    let next = worker.cycle();
    next.unwrap_or_else(|error| panic!("{about}, the next cycle: {error}"));
    scene.check_new(home, &about);
    if scene.is_switched() && !scene.is_start() {
        let mut left = scene.left_over(home);
        left.retain(|name| !name::is_temporary(name.as_ref()));
        assert_eq!(left, Vec::<String>::new(), "{about}: after the next cycle");
    }
    scene.start_again(home, &about);
    done
}

/// Such a fault at every call of every scene of one layout.
fn disturb_each_call(switched: bool, fault: fn(Errno) -> Fault, errors: &[Errno]) {
    for scene in SCENES.into_iter().filter(|s| s.is_switched() == switched) {
        let calls = scene.calls(false);
        let shown = first_shown(scene, &calls);
        for errno in errors {
            for at in 0..calls.len() {
                let faults = scene.faults(Some((at, fault(*errno))));
                let _ = disturb(scene, faults, shown);
            }
        }
    }
}

#[test]
fn an_error_in_any_system_call_leaves_whole_files_says_where_and_heals() {
    disturb_each_call(false, Fault::Error, &ERRORS);
}

#[test]
fn an_error_in_any_system_call_leaves_a_whole_directory_says_where_and_heals() {
    disturb_each_call(true, Fault::Error, &ERRORS);
}

#[test]
fn a_cause_that_stays_leaves_whole_files_and_the_next_cycle_after_it_heals() {
    disturb_each_call(false, Fault::Lasting, &[Errno::NOSPC, Errno::ROFS]);
}

#[test]
fn a_cause_that_stays_leaves_a_whole_directory_and_the_next_cycle_after_it_heals() {
    disturb_each_call(true, Fault::Lasting, &[Errno::NOSPC, Errno::ROFS]);
}

#[test]
fn an_error_after_a_part_of_a_write_leaves_whole_files_and_heals() {
    for scene in SCENES {
        let calls = scene.calls(true);
        let shown = first_shown(scene, &calls);
        let writes = (0..calls.len()).filter(|at| calls[*at] == "write_all");
        assert!(writes.clone().count() > 6, "{scene:?}: {calls:?}");
        for at in writes {
            let faults = Faults {
                halves: true,
                ..scene.faults(Some((at, Fault::Lasting(Errno::NOSPC))))
            };
            let error = disturb(scene, faults, shown).unwrap_err();
            assert!(error.cause.contains("No space left"), "{scene:?}: {error}");
            assert!(
                error.help.unwrap().contains("free space"),
                "{scene:?}: {at}"
            );
        }
    }
}

#[test]
fn interrupts_and_short_writes_are_not_noticed() {
    for scene in SCENES {
        let calls = scene.calls(false).len();
        let interrupts = (0..calls).map(|at| Some((at, Fault::Error(Errno::INTR))));
        for at in interrupts.chain([None]) {
            let _nobody = nobody_starts();
            let about = format!("{scene:?} {at:?}");
            let home = Home::quick();
            let home = home.dir.path();
            scene.prepare(home);
            let mut worker = Worker::new(scene, home);
            let faults = Faults {
                halves: true,
                ..scene.faults(at)
            };
            let (done, _) = faults::with(faults, || scene.run(&mut worker));
            assert_eq!(done.expect(&about).written.len(), 2, "{about}");
            scene.check_new(home, &about);
            assert_eq!(scene.left_over(home), Vec::<String>::new(), "{about}");
        }
    }
}

#[test]
fn an_error_in_any_system_call_of_the_sweep_is_named_and_the_next_sweep_finishes() {
    for scene in [Scene::Start, Scene::StartDirectory] {
        let run = |at| {
            let _nobody = nobody_starts();
            let home = Home::quick();
            scene.prepare(home.dir.path());
            let sweep = || scene.sweep(home.dir.path());
            let (first, calls) = faults::with(scene.faults(at), sweep);
            for warning in &first.warnings {
                assert!(says_step_and_path(warning, home.dir.path()), "{warning}");
            }
            let again = sweep();
            assert_eq!(again.warnings, Vec::<String>::new(), "{scene:?} {at:?}");
            let left = scene.left_over(home.dir.path());
            assert_eq!(left, Vec::<String>::new(), "{scene:?} {at:?}");
            let new = scene.check(home.dir.path(), "swept");
            assert_eq!(new, [false, false], "{scene:?} {at:?}");
            (first, calls)
        };
        let (swept, calls) = run(None);
        assert!(swept.removed.len() >= 2 && swept.warnings.is_empty());
        for errno in ERRORS.into_iter().chain([Errno::INTR]) {
            for at in 0..calls.len() {
                let (first, _) = run(Some((at, Fault::Error(errno))));
                let told = first.warnings.len();
                if errno == Errno::INTR {
                    assert_eq!(told, 0, "{:?}", first.warnings);
                } else if first.removed.len() < swept.removed.len() {
                    assert!(told > 0, "{scene:?}, {errno:?} at {at}: {calls:?}");
                }
            }
        }
    }
}
