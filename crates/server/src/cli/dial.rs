//! A blocking connection to a broker, and what went wrong with one.

use std::io::ErrorKind;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(60);

/// Connects; keeps trying for `patience` while nobody listens. `option` is the one that names the place.
pub fn dial(host: &str, port: u16, patience: Duration, option: &str) -> Result<TcpStream> {
    let deadline = now() + patience;
    let place = format!("{host}:{port}");
    loop {
        let socket = (host, port)
            .to_socket_addrs()
            .with_context(|| format!("{place}: no such host"))?
            .next()
            .with_context(|| format!("{place}: no address"))?;
        match TcpStream::connect_timeout(&socket, Duration::from_secs(5)) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(ANSWER))?;
                return Ok(stream);
            }
            Err(error) if now() >= deadline => {
                let advice = match error.kind() {
                    ErrorKind::ConnectionRefused => {
                        format!("nobody listens there; start a broker with `yam serve`, or give its {option}")
                    }
                    _ => "is the address right?".to_owned(),
                };
                return Err(anyhow!("{place}: {error}: {advice}"));
            }
            Err(_) => pause(Duration::from_millis(2)),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the generator is part of a roof: it reads the clock")]
pub fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "between two attempts to connect there is no event to wait for")]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Whether the broker ended the connection.
pub fn is_closed(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

/// A failed read, for people.
pub fn explain(error: std::io::Error) -> anyhow::Error {
    match error.kind() {
        _ if is_closed(&error) => anyhow!("the broker closed the connection; its log says why"),
        ErrorKind::WouldBlock | ErrorKind::TimedOut => anyhow!("the broker did not answer within a minute"),
        _ => anyhow!(error),
    }
}

/// As many sockets as the system lets this process have; if that is too few, opening one says so.
pub fn allow_many_sockets() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
