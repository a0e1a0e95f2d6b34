//! One sync for all who wait: nobody is told that a directory is synced by a sync that began before it came.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::*;
use crate::files::syncs::Syncs;
use crate::files::sys::{self, NodeId};

type Synced = Result<(), Errno>;

/// Of a directory that is there for no test but this.
fn directory(home: &Home, name: &str) -> NodeId {
    fs::create_dir(home.path(name)).unwrap();
    let handle = fs::File::open(home.path(name)).unwrap();
    sys::node(&handle.into()).unwrap().id
}

/// A sync that says that it has begun and ends when it is told how.
struct Slow {
    began: mpsc::Receiver<()>,
    end: mpsc::Sender<Synced>,
}

impl Slow {
    fn new() -> (Self, impl FnOnce() -> Synced) {
        let (begin, began) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let sync = move || {
            begin.send(()).unwrap();
            ended.recv().unwrap()
        };
        (Self { began, end }, sync)
    }
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "not yet: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn those_who_come_during_a_sync_are_served_by_the_next_one_and_all_by_that_one() {
    for outcome in [Ok(()), Err(Errno::IO)] {
        let home = Home::quick();
        let here = directory(&home, "here");
        let elsewhere = directory(&home, "elsewhere");
        let syncs = Syncs::default();
        let (syncs, begun) = (&syncs, &AtomicUsize::new(0));
        let (first, sync) = Slow::new();
        let (ends, told) = mpsc::channel::<Synced>();
        let told = std::sync::Mutex::new(told);
        let told = &told;
        // What a failed assertion drops ends the others, too.
        thread::scope(move |scope| {
            let leader = scope.spawn(move || syncs.share(here, sync));
            first.began.recv().unwrap();
            let late: Vec<ScopedJoinHandle<'_, Synced>> = (0..4)
                .map(|_| {
                    scope.spawn(move || {
                        syncs.share(here, || {
                            begun.fetch_add(1, Ordering::SeqCst);
                            told.lock().unwrap().recv().unwrap()
                        })
                    })
                })
                .collect();
            until("all four wait", || syncs.waiting(here) == 4);
            // Who has files elsewhere does not wait for this one.
            assert_eq!(syncs.share(elsewhere, || Ok(())), Ok(()));
            assert_eq!(begun.load(Ordering::SeqCst), 0);

            first.end.send(Err(Errno::NOSPC)).unwrap();
            assert_eq!(leader.join().unwrap(), Err(Errno::NOSPC), "its own");
            until("one has begun", || begun.load(Ordering::SeqCst) == 1);
            assert!(late.iter().all(|thread| !thread.is_finished()));
            ends.send(outcome).unwrap();
            for thread in late {
                assert_eq!(thread.join().unwrap(), outcome);
            }
            assert_eq!(begun.load(Ordering::SeqCst), 1, "one for the four");
        });
        // A later one has a result of its own.
        assert_eq!(syncs.share(here, || Ok(())), Ok(()));
        assert_eq!(syncs.places(), 0, "nothing is kept");
    }
}

#[test]
fn a_sync_that_panics_is_a_failure_of_those_it_served_and_holds_nobody_up() {
    let home = Home::quick();
    let here = directory(&home, "here");
    let syncs = Syncs::default();
    let syncs = &syncs;
    let (first, sync) = Slow::new();
    thread::scope(move |scope| {
        let leader = scope.spawn(move || syncs.share(here, sync));
        first.began.recv().unwrap();
        let broken = move || syncs.share(here, || panic!("of the test"));
        let late = [scope.spawn(broken), scope.spawn(broken)];
        until("both wait", || syncs.waiting(here) == 2);
        first.end.send(Ok(())).unwrap();
        assert_eq!(leader.join().unwrap(), Ok(()));
        let mut results: Vec<_> = late.into_iter().map(|late| late.join().ok()).collect();
        results.sort_by_key(Option::is_some);
        assert_eq!(results, [None, Some(Err(Errno::IO))]);
    });
    assert_eq!(syncs.share(here, || Ok(())), Ok(()));
}

#[test]
fn whatever_is_renamed_before_the_call_has_reached_the_disk_after_it() {
    const THREADS: usize = 8;
    let home = Home::quick();
    let here = directory(&home, "here");
    let syncs = Syncs::default();
    let of_all = || -> Arc<Vec<AtomicUsize>> { Arc::new((0..THREADS).map(|_| 0.into()).collect()) };
    let (renamed, on_disk, count) = (of_all(), of_all(), AtomicUsize::new(0));
    thread::scope(|scope| {
        for own in 0..THREADS {
            let (syncs, renamed, on_disk, count) = (&syncs, &renamed, &on_disk, &count);
            scope.spawn(move || {
                for number in 1..=500 {
                    renamed[own].store(number, Ordering::SeqCst);
                    let sync = || {
                        count.fetch_add(1, Ordering::SeqCst);
                        let seen: Vec<_> =
                            renamed.iter().map(|n| n.load(Ordering::SeqCst)).collect();
                        thread::yield_now();
                        for (disk, seen) in on_disk.iter().zip(seen) {
                            disk.store(seen, Ordering::SeqCst);
                        }
                        Ok(())
                    };
                    syncs.share(here, sync).unwrap();
                    assert!(on_disk[own].load(Ordering::SeqCst) >= number);
                }
            });
        }
    });
    assert!(count.load(Ordering::SeqCst) <= THREADS * 500);
    assert_eq!(syncs.places(), 0, "nothing is kept");
}
