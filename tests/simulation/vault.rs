//! The simulated server's connections. It answers over a unix socket, whose bytes arrive at once:
//! nothing is under way while both sides wait.

use std::io::{self, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use secrets_sync::clock::Clock;
use serde_json::json;

use super::clock::Sim;
use super::world::{Mood, Reply, Seen, World};
use crate::support::wire;

/// The server; it ends when dropped.
pub struct Vault {
    path: PathBuf,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    sim: Sim,
    world: Mutex<World>,
}

impl Vault {
    pub fn start(path: &Path, sim: &Sim) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let shared = Arc::new(Shared {
            sim: sim.clone(),
            world: Mutex::new(World::new()),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = std::thread::Builder::new()
            .name("vault".into())
            .spawn(move || accepting.accept(&listener))
            .unwrap();
        Self {
            path: path.to_owned(),
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// As in `secretStore.address`.
    pub fn address(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world()
    }

    /// What was asked since the last time this was called.
    pub fn take_seen(&self) -> Vec<Seen> {
        self.world().seen.drain(..).collect()
    }

    /// Changes the server's mood; whoever is connected to one that goes away loses the connection.
    pub fn set_mood(&self, mood: Mood) {
        let mut world = self.world();
        world.mood = mood;
        if mood == Mood::Away {
            world.cut();
        }
        drop(world);
        self.shared.sim.settle();
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        {
            let mut world = self.world();
            world.stopping = true;
            world.cut();
        }
        drop(UnixStream::connect(&self.path));
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().unwrap();
        }
    }
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: Arc<Self>, listener: &UnixListener) {
        let mut serving: Vec<JoinHandle<()>> = Vec::new();
        for (number, stream) in (0..).zip(listener.incoming()) {
            let stream = stream.unwrap();
            {
                let mut world = self.world();
                if world.stopping {
                    break;
                }
                if world.mood == Mood::Away {
                    continue;
                }
                world.streams.insert(number, stream.try_clone().unwrap());
            }
            serving.retain(|thread| !thread.is_finished());
            let shared = Arc::clone(&self);
            let serve = move || {
                let _ = shared.serve(&stream);
                shared.world().streams.remove(&number);
            };
            let thread = std::thread::Builder::new()
                .name("vault connection".into())
                .stack_size(256 << 10)
                .spawn(serve)
                .unwrap();
            serving.push(thread);
        }
        for thread in serving {
            thread.join().unwrap();
        }
    }

    fn serve(&self, mut stream: &UnixStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        while let Some((head, headers)) = wire::read_head(&mut reader)? {
            wire::read_body(&mut reader, &headers, false)?;
            let token = wire::header(&headers, "x-vault-token").unwrap_or_default();
            let reply = {
                let mut world = self.world();
                let (seen, reply) = world.answer(self.sim.now(), &head, token);
                world.seen.push_back(seen);
                reply
            };
            let (status, pause, body) = match reply {
                Reply::Answer(204, _) => (204, None, String::new()),
                Reply::Answer(status, body) => (status, None, body.to_string()),
                Reply::Pause(pause) => (429, Some(pause), json!({"errors": ["slow"]}).to_string()),
                Reply::Garbage => (200, None, "{\"data\": {\"data\": {\"value\": ".into()),
                // The next that comes is the end: the client's time is up.
                Reply::Nothing => continue,
                Reply::Close => return Ok(()),
            };
            let mut text = format!("HTTP/1.1 {status} Simulated\r\n");
            if status != 204 {
                text.push_str(&format!("Content-Length: {}\r\n", body.len()));
            }
            if let Some(pause) = pause {
                text.push_str(&format!("Retry-After: {pause}\r\n"));
            }
            text.push_str("\r\n");
            text.push_str(&body);
            stream.write_all(text.as_bytes())?;
        }
        Ok(())
    }
}
