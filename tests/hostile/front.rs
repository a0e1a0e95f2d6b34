//! A server below HTTP: it meets each connection as a test says, and remembers when they came.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Lives as long as the test program.
pub struct Front {
    /// Where it listens, on loopback.
    pub port: u16,
    times: Arc<Mutex<Vec<Instant>>>,
}

impl Front {
    /// Meets each connection with `meet`, on a thread of its own.
    pub fn listen(meet: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let times = Arc::<Mutex<Vec<_>>>::default();
        let (noted, meet) = (Arc::clone(&times), Arc::new(meet));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                noted.lock().unwrap().push(Instant::now());
                let meet = Arc::clone(&meet);
                // A client that breaks off is what these tests are about.
                std::thread::spawn(move || drop(meet(stream)));
            }
        });
        Self { port, times }
    }

    /// Answers whatever comes first with these bytes, and then listens in silence.
    pub fn answers(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::listen(move |mut stream| {
            hear(&mut stream)?;
            stream.write_all(&bytes)?;
            silence(stream)
        })
    }

    /// The same, and then ends the connection: with a reset, or as one does.
    pub fn answers_and_ends(bytes: impl Into<Vec<u8>>, reset: bool) -> Self {
        let bytes = bytes.into();
        Self::listen(move |mut stream| {
            hear(&mut stream)?;
            stream.write_all(&bytes)?;
            if reset {
                rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
            }
            Ok(())
        })
    }

    /// Ends each connection as soon as it is there.
    pub fn ends(reset: bool) -> Self {
        Self::listen(move |stream| {
            if reset {
                rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
            }
            Ok(())
        })
    }

    /// Never says a word.
    pub fn silent() -> Self {
        Self::listen(silence)
    }

    /// Says these bytes, over and over, each a tenth of a second after the one before.
    pub fn drips(bytes: &'static [u8]) -> Self {
        Self::listen(move |mut stream| {
            for byte in bytes.iter().cycle() {
                stream.write_all(&[*byte])?;
                std::thread::sleep(Duration::from_millis(100));
            }
            Ok(())
        })
    }

    /// Hands each connection on to this port.
    pub fn relays(to: u16) -> Self {
        Self::listen(move |from| {
            let onward = TcpStream::connect((Ipv4Addr::LOCALHOST, to))?;
            let mut back = (onward.try_clone()?, from.try_clone()?);
            std::thread::spawn(move || {
                let _ = io::copy(&mut back.0, &mut back.1);
                let _ = back.1.shutdown(Shutdown::Write);
            });
            let (mut from, mut onward) = (from, onward);
            io::copy(&mut from, &mut onward)?;
            onward.shutdown(Shutdown::Write)
        })
    }

    /// When connections came.
    pub fn times(&self) -> Vec<Instant> {
        self.times.lock().unwrap().clone()
    }
}

fn hear(stream: &mut TcpStream) -> io::Result<()> {
    stream.read(&mut [0; 4096]).map(drop)
}

/// Until the client has gone.
fn silence(mut stream: TcpStream) -> io::Result<()> {
    while stream.read(&mut [0; 4096])? > 0 {}
    Ok(())
}
