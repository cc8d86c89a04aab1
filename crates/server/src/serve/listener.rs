//! Listening sockets.

use std::io;
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

/// An address cannot be listened on. Its text is one line that says what to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}", remedy(error, *address))]
pub struct BindError {
    pub address: SocketAddr,
    #[source]
    pub error: io::Error,
}

fn remedy(error: &io::Error, address: SocketAddr) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("port {} is in use by another process; stop that one, or give --amqp-listen another address", address.port())
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have that address; give --amqp-listen one it has, e.g. 127.0.0.1:5672".to_owned()
        }
        io::ErrorKind::PermissionDenied => format!(
            "permission denied for port {}; give --amqp-listen a port from 1024 on, or run with the right to bind it",
            address.port()
        ),
        _ => format!("{error}; give --amqp-listen another address"),
    }
}

/// All listening sockets, bound.
pub struct Listeners {
    all: Vec<(TcpListener, SocketAddr)>,
    /// Where the next `accept` begins, so that no listener starves another.
    next: usize,
}

impl Listeners {
    /// Binds every address, or none.
    ///
    /// # Errors
    /// The first address that cannot be bound.
    pub fn bind(addresses: &[SocketAddr]) -> Result<Listeners, BindError> {
        let mut all = Vec::with_capacity(addresses.len());
        for &address in addresses {
            let bound = TcpListener::bind(address).and_then(|listener| {
                let real = listener.local_addr()?;
                Ok((listener, real))
            });
            all.push(bound.map_err(|error| BindError { address, error })?);
        }
        Ok(Listeners { all, next: 0 })
    }

    /// The addresses as they are, with the ports that the system chose.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.all.iter().map(|(_, address)| *address)
    }

    /// Watch all of them, under the tokens from `first` on.
    ///
    /// # Errors
    /// Those of the system.
    pub fn register(&mut self, registry: &Registry, first: usize) -> io::Result<()> {
        for (index, (listener, _)) in self.all.iter_mut().enumerate() {
            registry.register(listener, Token(first + index), Interest::READABLE)?;
        }
        Ok(())
    }

    /// The next connection of any listener, `None` when there is none left.
    ///
    /// # Errors
    /// Those of the system, except those that only tell of one connection that is gone again.
    pub fn accept(&mut self) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        for _ in 0..self.all.len() {
            self.next = (self.next + 1) % self.all.len();
            let (listener, _) = &self.all[self.next];
            loop {
                match listener.accept() {
                    Ok(accepted) => return Ok(Some(accepted)),
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
