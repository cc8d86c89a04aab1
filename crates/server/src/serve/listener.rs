//! Listening sockets. They are bound at the start, so that a port that is taken is told before a long recovery, and
//! listen only when everything is ready: whoever can connect is served.

use std::io;
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};

use crate::config::settings::Advertised;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// What is spoken on an address.
#[derive(Clone, Debug)]
pub enum Speaks {
    Amqp,
    /// `advertised`: where clients are told to find this broker, if not by the address they came by.
    Kafka {
        advertised: Option<Advertised>,
    },
}

impl Speaks {
    /// As it is printed at the start.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Speaks::Amqp => "amqp",
            Speaks::Kafka { .. } => "kafka",
        }
    }

    /// The option that names the address.
    fn flag(&self) -> String {
        format!("--{}-listen", self.name())
    }
}

/// An address cannot be listened on. Its text is one line that says what to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}", remedy(self))]
pub struct BindError {
    address: SocketAddr,
    /// The option that named it.
    flag: String,
    /// What this process has bound the port for already, if that is why.
    own: Option<(String, SocketAddr)>,
    error: io::Error,
}

fn remedy(BindError { address, flag, own, error }: &BindError) -> String {
    let host = if address.is_ipv6() { "[::1]" } else { "127.0.0.1" };
    match error.kind() {
        io::ErrorKind::AddrInUse if let Some((other, taken)) = own => {
            format!("{other} {taken} has taken port {} already; give one of the two another port", address.port())
        }
        io::ErrorKind::AddrInUse => {
            format!("port {} is in use by another process; stop that one, or give {flag} another address", address.port())
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("this machine does not have that address; give {flag} one it has, e.g. {host}:{}", address.port())
        }
        io::ErrorKind::PermissionDenied => format!(
            "permission denied for port {}; give {flag} a port from 1024 on, or run with the right to bind it",
            address.port()
        ),
        _ => format!("{error}; give {flag} another address"),
    }
}

/// Whether two sockets cannot listen on these at once. `[::]` takes IPv4 along.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let takes = |all: SocketAddr, other: SocketAddr| all.ip().is_unspecified() && (all.is_ipv6() || other.is_ipv4());
    one.port() != 0 && one.port() == other.port() && (one.ip() == other.ip() || takes(one, other) || takes(other, one))
}

/// A socket that has its address, and does not listen yet.
fn bound(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    // The port may still be in use by connections of the process before this one.
    set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    let listener = TcpListener::from_std(socket.into());
    let real = listener.local_addr()?;
    Ok((listener, real))
}

/// All listening sockets.
pub struct Listeners {
    all: Vec<(TcpListener, SocketAddr, Speaks)>,
    /// Where the next `accept` begins, so that no listener starves another.
    next: usize,
}

impl Listeners {
    /// Binds every address, or none.
    ///
    /// # Errors
    /// The first address that cannot be bound.
    pub fn bind(addresses: impl IntoIterator<Item = (SocketAddr, Speaks)>) -> Result<Listeners, BindError> {
        let mut all = Vec::new();
        for (address, speaks) in addresses {
            // The system would notice only once one of them listens.
            let own = all.iter().find(|(_, taken, _): &&(_, SocketAddr, Speaks)| overlap(*taken, address));
            let outcome = match own {
                Some(_) => Err(io::ErrorKind::AddrInUse.into()),
                None => bound(address),
            };
            match outcome {
                Ok((listener, real)) => all.push((listener, real, speaks)),
                Err(error) => {
                    let own = own.map(|(_, taken, speaks)| (speaks.flag(), *taken));
                    return Err(BindError { address, flag: speaks.flag(), own, error });
                }
            }
        }
        Ok(Listeners { all, next: 0 })
    }

    /// What is spoken, and the addresses as they are, with the ports that the system chose.
    pub fn addresses(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        self.all.iter().map(|(_, address, speaks)| (speaks.name(), *address))
    }

    /// Listen on all of them, and watch them under the tokens from `first` on.
    ///
    /// # Errors
    /// Those of the system; another process may have been quicker to listen on an address that both had bound.
    pub fn listen(&mut self, registry: &Registry, first: usize) -> Result<(), BindError> {
        for (index, (listener, address, speaks)) in self.all.iter_mut().enumerate() {
            let token = Token(first + index);
            let outcome = listen(&*listener, BACKLOG).map_err(io::Error::from);
            outcome.and_then(|()| registry.register(listener, token, Interest::READABLE)).map_err(|error| BindError {
                address: *address,
                flag: speaks.flag(),
                own: None,
                error,
            })?;
        }
        Ok(())
    }

    /// The next connection of any listener, `None` when there is none left.
    ///
    /// # Errors
    /// Those of the system, except those that only tell of one connection that is gone again.
    pub fn accept(&mut self) -> io::Result<Option<(TcpStream, SocketAddr, Speaks)>> {
        for _ in 0..self.all.len() {
            self.next = (self.next + 1) % self.all.len();
            let (listener, _, speaks) = &self.all[self.next];
            loop {
                match listener.accept() {
                    Ok((stream, address)) => return Ok(Some((stream, address, speaks.clone()))),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(None)
    }

    /// Close them all: whoever connects now is refused.
    pub fn close(&mut self) {
        self.all.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use mio::Poll;

    use super::*;

    /// A health check that connects found the port open long before anybody was served.
    #[test]
    fn nobody_can_connect_before_it_listens_though_a_taken_port_is_told_at_once() {
        let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let mut early = Listeners::bind([(local, Speaks::Amqp)]).unwrap();
        let address = early.addresses().next().unwrap().1;
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let poll = Poll::new().unwrap();
        early.listen(poll.registry(), 0).unwrap();
        TcpStream::connect(address).unwrap();
        let taken = Listeners::bind([(address, Speaks::Amqp)]).map(|_| ()).unwrap_err().to_string();
        assert!(taken.contains("in use by another process"), "{taken}");
    }

    /// Two that start at once may both have the address, until one of them listens.
    #[test]
    fn whoever_listens_second_is_told_that_the_port_is_taken() {
        let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let mut one = Listeners::bind([(local, Speaks::Amqp)]).unwrap();
        let address = one.addresses().next().unwrap().1;
        let Ok(mut other) = Listeners::bind([(address, Speaks::Amqp)]) else { return };
        let poll = Poll::new().unwrap();
        one.listen(poll.registry(), 0).unwrap();
        let taken = other.listen(poll.registry(), 1).unwrap_err().to_string();
        assert!(taken.contains("in use by another process") && taken.contains("--amqp-listen"), "{taken}");
    }

    #[test]
    fn which_addresses_exclude_each_other() {
        let overlap = |one: &str, other: &str| super::overlap(one.parse().unwrap(), other.parse().unwrap());
        assert!(overlap("127.0.0.1:1", "0.0.0.0:1") && overlap("[::]:1", "127.0.0.1:1") && overlap("[::]:1", "[::1]:1"));
        assert!(
            !overlap("127.0.0.1:1", "127.0.0.1:2") && !overlap("[::1]:1", "0.0.0.0:1") && !overlap("127.0.0.1:1", "127.0.0.2:1")
        );
        assert!(!overlap("127.0.0.1:1", "[::1]:1"));
    }
}
