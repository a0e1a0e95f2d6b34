//! `instructions NAME DIRECTORY`: does one piece of work as often as it says, after one time that makes all
//! warm. `instructions.py` runs it under callgrind, which counts inside [`counted_work`] alone.

use std::path::Path;

use micro::WORKS;

#[inline(never)]
fn counted_work(work: &mut dyn FnMut(), times: u32) {
    for _ in 0..times {
        work();
    }
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(|argument| &**argument).collect::<Vec<_>>()[..] {
        [] => WORKS.iter().for_each(|work| println!("{} {}", work.name, work.times)),
        [name, directory] => {
            let work = WORKS.iter().find(|work| work.name == name).expect("a name of the list");
            let mut run = (work.prepare)(&micro::fresh(Path::new(directory), name));
            run();
            counted_work(&mut *run, work.times);
        }
        _ => panic!("usage: instructions [NAME DIRECTORY]"),
    }
}
