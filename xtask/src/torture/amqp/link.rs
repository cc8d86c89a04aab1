//! One blocking connection: the AMQP client without I/O, over a socket.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use amqp::client::{Client, ClientEvent, ConnectOptions};

use crate::torture::fault::LinkError;

/// How long one `poll` waits.
pub const TICK: Duration = Duration::from_millis(50);
/// How long an answer may take.
const ANSWER_TICKS: u32 = 600;

pub struct Link {
    stream: TcpStream,
    pub client: Client,
    /// Frames to be sent by the next `flush`.
    pub out: Vec<u8>,
    input: Vec<u8>,
    /// Bytes of `input` that are used up.
    used: usize,
}

impl Link {
    /// Connect, log in, open channel 1.
    pub fn open(address: SocketAddr, name: &str) -> Result<Link, LinkError> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TICK))?;
        let mut out = Vec::new();
        let client = Client::connect(&ConnectOptions { name, ..ConnectOptions::default() }, &mut out);
        let mut link = Link { stream, client, out, input: Vec::new(), used: 0 };
        link.wait(|event| matches!(event, ClientEvent::Opened))?;
        link.client.open_channel(&mut link.out, 1);
        link.answer()?;
        Ok(link)
    }

    pub fn flush(&mut self) -> Result<(), LinkError> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// Send what is in `out`, wait a tick at most for bytes, and hand over what they say. False: nothing came.
    pub fn poll(&mut self, handle: &mut dyn FnMut(ClientEvent<'_>)) -> Result<bool, LinkError> {
        self.flush()?;
        let mut chunk = [0; 64 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => return Err(LinkError::Gone(io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => self.input.extend_from_slice(&chunk[..count]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let mut fault = None;
        loop {
            // A slice of its own for each event: it is borrowed for as long as the event is.
            let mut rest = &self.input[self.used..];
            let before = rest.len();
            let more = match self.client.receive(&mut rest, &mut self.out) {
                Ok(Some(ClientEvent::Closed { code, text })) => {
                    fault = Some(format!("the broker closed the connection: {code} {text}"));
                    true
                }
                Ok(Some(ClientEvent::ChannelClosed { code, text, .. })) => {
                    fault = Some(format!("the broker closed the channel: {code} {text}"));
                    true
                }
                Ok(Some(event)) => {
                    handle(event);
                    true
                }
                Ok(None) => false,
                Err(error) => {
                    fault = Some(format!("the broker sent nonsense: {error}"));
                    false
                }
            };
            self.used += before - rest.len();
            if !more {
                break;
            }
        }
        if self.used == self.input.len() {
            self.input.clear();
            self.used = 0;
        } else if self.used > 256 * 1024 {
            self.input.drain(..self.used);
            self.used = 0;
        }
        fault.map_or(Ok(true), |fault| Err(LinkError::Fault(fault)))
    }

    /// Wait for a certain event; others that come before it are dropped.
    pub fn wait(&mut self, wanted: impl Fn(&ClientEvent<'_>) -> bool) -> Result<(), LinkError> {
        self.wait_for(|event| wanted(event).then_some(()))
    }

    /// Wait for any answer to a method.
    pub fn answer(&mut self) -> Result<(), LinkError> {
        self.wait(|event| matches!(event, ClientEvent::Method { .. }))
    }

    /// Wait for an event that `wanted` makes something of.
    pub fn wait_for<T>(&mut self, wanted: impl Fn(&ClientEvent<'_>) -> Option<T>) -> Result<T, LinkError> {
        for _ in 0..ANSWER_TICKS {
            let mut found = None;
            self.poll(&mut |event| {
                if found.is_none() {
                    found = wanted(&event);
                }
            })?;
            if let Some(found) = found {
                return Ok(found);
            }
        }
        Err(LinkError::Fault("no answer for 30 s".into()))
    }

    /// Say good-bye and wait for the answer.
    pub fn close(mut self) -> Result<(), LinkError> {
        self.client.close(&mut self.out);
        self.wait(|event| matches!(event, ClientEvent::CloseOk))
    }
}
