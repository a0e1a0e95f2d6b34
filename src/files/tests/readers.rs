//! Readers that never stop, during very many rotations: what they look at and open is whole, never empty,
//! has its mode and owner; and how long two files of one secret differ.
//!
//! The figures: `cargo test --lib files::tests::readers -- --nocapture`.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode as FsMode, OFlags, openat};

use super::*;

const IN_MEMORY: usize = 10_000;
const ON_DISK: usize = 300;

/// The files' names, and their modes.
const FILES: [(&str, u32); 2] = [("cert", 0o644), ("key", 0o600)];

/// Another user's, where they can be given away.
fn owner() -> (u32, u32) {
    if rustix::process::geteuid().is_root() {
        (12345, 54321)
    } else {
        (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        )
    }
}

fn targets(dir: &Path) -> Vec<Target> {
    let (uid, gid) = owner();
    let target = |(name, mode): (&str, u32)| Target {
        owner: Some(uid),
        group: Some(gid),
        ..with_mode(dir.join(name), &format!("0{mode:o}"))
    };
    FILES.map(target).into()
}

/// More than a page, of a length that changes with the generation.
fn content(name: &str, generation: usize) -> String {
    format!("{name} {generation:08} ").repeat(300 + generation % 50)
}

/// Not empty, of its mode and its owner.
fn assert_right(met: &fs::Metadata, name: &str, mode: u32) {
    let is = (met.mode() & 0o7777, (met.uid(), met.gid()));
    assert_eq!(is, (mode, owner()), "{name}");
    assert!(met.len() > 0, "{name} is empty");
}

/// The generation of an open file, once it is found whole and right.
fn generation(mut file: File, name: &str, mode: u32) -> usize {
    assert_right(&file.metadata().unwrap(), name, mode);
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    let number: usize = text[name.len() + 1..name.len() + 9].parse().unwrap();
    assert_eq!(text, content(name, number), "not whole");
    number
}

/// Rotates while readers read; how many reads there were, and how long the files differed.
fn rotate(home: &Home, switched: bool, rotations: usize) -> (usize, Vec<Duration>) {
    let dir = home.path("s");
    fs::create_dir(&dir).unwrap();
    let mut writer = Writer::new(targets(&dir), switched);
    let commit = |writer: &mut Writer, number: usize| {
        let texts = FILES.map(|(name, _)| content(name, number));
        writer.commit(&files(&[&texts[0], &texts[1]])).unwrap();
    };
    commit(&mut writer, 0);
    let over = AtomicBool::new(false);
    let reads = AtomicUsize::new(0);
    let differed = thread::scope(|scope| {
        // Looks and opens by path, as everybody does.
        scope.spawn(|| {
            // Two switches overtook it on the way; there is a second between two of the daemon.
            let missed = |error: std::io::Error| {
                assert!(switched && error.kind() == ErrorKind::NotFound, "{error}");
            };
            while !over.load(Ordering::Relaxed) {
                for (name, mode) in FILES {
                    let path = dir.join(name);
                    match fs::metadata(&path) {
                        Ok(met) => assert_right(&met, name, mode),
                        Err(error) => missed(error),
                    }
                    match File::open(&path) {
                        Ok(file) => drop(generation(file, name, mode)),
                        Err(error) => missed(error),
                    }
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        // Looks at both as fast as it can: when do they differ, and for how long?
        let pairs = scope.spawn(|| {
            let mut windows = Vec::new();
            let mut since: Option<Instant> = None;
            while !over.load(Ordering::Relaxed) {
                let is_mixed = if switched {
                    let Some([cert, key]) = pinned(&dir) else {
                        continue;
                    };
                    cert != key
                } else {
                    mixed(&dir)
                };
                reads.fetch_add(2, Ordering::Relaxed);
                match (is_mixed, since) {
                    (true, None) => since = Some(Instant::now()),
                    (false, Some(begun)) => {
                        windows.push(begun.elapsed());
                        since = None;
                    }
                    _ => {}
                }
            }
            windows
        });
        for number in 1..=rotations {
            commit(&mut writer, number);
        }
        over.store(true, Ordering::Relaxed);
        pairs.join().unwrap()
    });
    (reads.into_inner(), differed)
}

/// Both files through one look at `..data`, as the documentation says; `None` where that generation
/// was removed meanwhile.
fn pinned(dir: &Path) -> Option<[usize; 2]> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let data = openat(CWD, dir.join("..data"), flags, FsMode::empty()).ok()?;
    let open = |data: &OwnedFd, name: &str| {
        openat(
            data,
            name,
            OFlags::RDONLY | OFlags::CLOEXEC,
            FsMode::empty(),
        )
    };
    let mut found = [0; 2];
    for (place, (name, mode)) in found.iter_mut().zip(FILES) {
        *place = generation(open(&data, name).ok()?.into(), name, mode);
    }
    Some(found)
}

/// Whether the two paths hold different generations now: the lengths tell, and cost one look each.
/// The first is looked at again, so that a rotation between the two looks is no difference.
fn mixed(dir: &Path) -> bool {
    let length = |(name, _): (&str, u32)| {
        let bytes = fs::metadata(dir.join(name)).unwrap().len() as usize;
        bytes / (name.len() + 10)
    };
    let (first, second, again) = (length(FILES[0]), length(FILES[1]), length(FILES[0]));
    first == again && first != second
}

fn report(what: &str, rotations: usize, reads: usize, mut windows: Vec<Duration>) {
    windows.sort();
    let at = |share: f64| {
        let last = windows.len().saturating_sub(1);
        windows
            .get((last as f64 * share) as usize)
            .copied()
            .unwrap_or_default()
    };
    eprintln!(
        "{what}: {rotations} rotations, {reads} reads; seen to differ {} times, for {:?} (median), \
         {:?} (p99), {:?} (longest)",
        windows.len(),
        at(0.5),
        at(0.99),
        at(1.0),
    );
}

#[test]
fn ten_thousand_rotations_show_no_reader_anything_but_whole_files() {
    let home = Home::quick();
    let (reads, windows) = rotate(&home, false, IN_MEMORY);
    assert!(reads > IN_MEMORY, "{reads}");
    report("files, in memory", IN_MEMORY, reads, windows);
    let home = Home::new();
    let (reads, windows) = rotate(&home, false, ON_DISK);
    report("files, on disk", ON_DISK, reads, windows);
}

#[test]
fn ten_thousand_switches_of_a_directory_show_no_reader_a_mixed_pair() {
    for (home, what, rotations) in [
        (Home::quick(), "directory, in memory", IN_MEMORY),
        (Home::new(), "directory, on disk", ON_DISK),
    ] {
        let (reads, windows) = rotate(&home, true, rotations);
        assert!(reads > rotations, "{reads}");
        assert_eq!(windows, Vec::<Duration>::new(), "{what}");
        report(what, rotations, reads, windows);
    }
}
