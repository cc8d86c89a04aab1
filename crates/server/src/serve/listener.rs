//! Listening sockets.

use std::io;
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

use crate::config::settings::Advertised;

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

/// Whether two sockets cannot listen on these at once.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port() && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

/// All listening sockets, bound.
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
            let bound = TcpListener::bind(address).and_then(|listener| {
                let real = listener.local_addr()?;
                Ok((listener, real))
            });
            let (listener, real) = match bound {
                Ok(bound) => bound,
                Err(error) => {
                    let own = all.iter().find(|(_, taken, _): &&(_, SocketAddr, Speaks)| overlap(*taken, address));
                    let own = own.map(|(_, taken, speaks)| (speaks.flag(), *taken));
                    return Err(BindError { address, flag: speaks.flag(), own, error });
                }
            };
            all.push((listener, real, speaks));
        }
        Ok(Listeners { all, next: 0 })
    }

    /// What is spoken, and the addresses as they are, with the ports that the system chose.
    pub fn addresses(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        self.all.iter().map(|(_, address, speaks)| (speaks.name(), *address))
    }

    /// Watch all of them, under the tokens from `first` on.
    ///
    /// # Errors
    /// Those of the system.
    pub fn register(&mut self, registry: &Registry, first: usize) -> io::Result<()> {
        for (index, (listener, ..)) in self.all.iter_mut().enumerate() {
            registry.register(listener, Token(first + index), Interest::READABLE)?;
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
