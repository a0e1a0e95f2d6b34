//! What is shown about a directory once, for all that start together.

use std::sync::Arc;

use super::faults::{self, Faults};
use super::*;
use crate::files::Proofs;

/// How many files were made to prove these.
fn made(targets: Vec<Target>, proofs: &Arc<Proofs>) -> (usize, Result<(), WriteError>) {
    let mut writer = Writer::new(targets, false).sharing(Arc::clone(proofs));
    let (result, calls) = faults::with(Faults::default(), || writer.prove());
    let made = calls.iter().filter(|call| **call == "unlink").count();
    (made, result.map(drop))
}

#[test]
fn writers_that_start_together_show_a_directory_once() {
    let home = Home::new();
    let proofs = Arc::default();
    let of = |name: &str| vec![target(home.path(name))];
    assert_eq!(made(of("in/a"), &proofs).0, 1);
    for name in ["in/b", "in/c"] {
        assert_eq!(made(of(name), &proofs).0, 0, "{name}");
    }
    assert_eq!(made(of("elsewhere/a"), &proofs).0, 1, "another directory");
    let other = vec![with_mode(home.path("in/d"), "0644")];
    assert_eq!(made(other, &proofs).0, 1, "another mode");
    assert_eq!(made(of("in/a"), &Arc::default()).0, 1, "a later start");
    fs::rename(home.path("in"), home.path("old")).unwrap();
    assert_eq!(made(of("in/a"), &proofs).0, 1, "made anew");
    for dir in ["in", "old", "elsewhere"] {
        assert_eq!(names(&home.path(dir)), Vec::<String>::new(), "{dir}");
    }
}

#[test]
fn what_failed_for_one_is_tried_by_the_next() {
    let home = Home::new();
    let proofs: Arc<Proofs> = Arc::default();
    let path = home.path("in/a");
    let mut first = Writer::new(vec![target(&path)], false).sharing(Arc::clone(&proofs));
    let never = Faults {
        never: Some(("try_lock", rustix::io::Errno::IO)),
        ..Faults::default()
    };
    assert!(faults::with(never, || first.prove()).0.is_err());
    let (count, result) = made(vec![target(home.path("in/b"))], &proofs);
    assert!(result.is_ok());
    assert_eq!(count, 1);
    // Its own next attempt has the other's proof.
    assert_eq!(
        faults::with(Faults::default(), || first.prove())
            .0
            .unwrap()
            .len(),
        0
    );
}
