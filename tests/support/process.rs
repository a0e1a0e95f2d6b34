//! Child processes that do not outlive the test program, whatever becomes of it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// A command for `program` that the kernel kills when its parent ends. Needs [`spawn`].
pub fn command(program: &Path) -> Command {
    let Some(setpriv) = in_path("setpriv") else {
        return Command::new(program);
    };
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Starts it, from a thread that lives as long as the program: the kernel's "parent" is the thread
/// that forked, and the thread of a test ends before its neighbours do.
pub fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let orders = SPAWNER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in inbox {
                let _ = reply.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (reply, answer) = mpsc::channel();
    orders.lock().unwrap().send((command, reply)).unwrap();
    answer.recv().unwrap()
}

/// Sends a signal to a child that has not been waited for.
pub fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .unwrap();
    // It may have ended; that is for the one who waits to find.
    let _ = kill_process(pid, signal);
}

/// Kills it and waits until it is gone.
pub fn kill(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Its end, if that comes within the time given.
pub fn wait(child: &mut Child, within: Duration) -> Option<ExitStatus> {
    super::poll(within, || child.try_wait().unwrap())
}

/// A program in `PATH`.
pub fn in_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}
