//! A blocking connection for the commands that are clients: the AMQP client without I/O, over a socket.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use amqp::client::{Client, ClientEvent, ConnectOptions};
use anyhow::{Context as _, bail};

use super::url::Url;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);

/// How long a write may stand still before the broker is heard.
const STALL: Duration = Duration::from_millis(20);
/// Reads of up to 64 KiB before the next attempt to write.
const READS_PER_STALL: usize = 64;

pub struct Link {
    stream: TcpStream,
    pub client: Client,
    /// Frames to be sent by the next `flush`.
    pub out: Vec<u8>,
    input: Vec<u8>,
}

/// The broker's word that it will not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("the broker {}: {code} {text}", if *.connection { "closed the connection" } else { "refused" })]
pub struct Refused {
    /// Of AMQP 0-9-1.
    pub code: u16,
    pub text: String,
    /// The whole connection is gone, and not one channel alone.
    connection: bool,
}

/// What `next` does with an event: `Some` ends the wait.
type Handler<'h, T> = &'h mut dyn FnMut(ClientEvent<'_>) -> anyhow::Result<Option<T>>;

impl Link {
    /// Connect, log in, open channel 1.
    pub fn open(url: &Url) -> anyhow::Result<Link> {
        let place = url.place();
        let stream = TcpStream::connect((url.host.as_str(), url.port))
            .with_context(|| format!("cannot connect to {place}; is the broker running there? (--url names another)"))?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(STALL))?;
        let mut out = Vec::new();
        let options = ConnectOptions {
            user: &url.user,
            password: &url.password,
            host: &url.vhost,
            name: "yam command line",
            ..ConnectOptions::default()
        };
        let client = Client::connect(&options, &mut out);
        let mut link = Link { stream, client, out, input: Vec::new() };
        link.wait(&mut |event| matches!(event, ClientEvent::Opened)).map_err(|error| {
            let refused = error.is::<Refused>();
            let question = if refused { "" } else { ": is it an AMQP listener?" };
            error.context(format!("cannot log in at {place} as '{}' with vhost '{}'{question}", url.user, url.vhost))
        })?;
        link.client.open_channel(&mut link.out, 1);
        link.answer()?;
        Ok(link)
    }

    /// Send what is in `out`. A broker that wants to be heard before it takes more, as of messages that come back, is
    /// heard meanwhile: what it says is kept for [`Link::take`] and [`Link::next`].
    pub fn flush(&mut self) -> anyhow::Result<()> {
        let mut sent = 0;
        while let Some(rest) = self.out.get(sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(count) => sent += count,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    self.stream.set_nonblocking(true)?;
                    let gathered = self.gather();
                    self.stream.set_nonblocking(false)?;
                    gathered?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("the broker closed the connection"),
            }
        }
        self.out.clear();
        Ok(())
    }

    /// Read what is there, and not for ever.
    fn gather(&mut self) -> anyhow::Result<()> {
        for _ in 0..READS_PER_STALL {
            if !self.read()? {
                break;
            }
        }
        Ok(())
    }

    /// Read once. Returns whether anything came before the socket's time was over.
    fn read(&mut self) -> anyhow::Result<bool> {
        let mut chunk = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => bail!("the broker closed the connection"),
                Ok(count) => self.input.extend_from_slice(&chunk[..count]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("the connection broke"),
            }
            return Ok(true);
        }
    }

    /// Send what is in `out`, then hand events to `handle` until it makes something of one. What came with the last
    /// one is kept for the next call. `Ok(None)`: nothing came for that long.
    pub fn next<T>(&mut self, timeout: Option<Duration>, handle: Handler<'_, T>) -> anyhow::Result<Option<T>> {
        self.stream.set_read_timeout(timeout)?;
        loop {
            if let Some(found) = self.take(handle)? {
                return Ok(Some(found));
            }
            self.flush()?;
            if !self.read()? {
                return Ok(None);
            }
        }
    }

    /// Hand over events that are there already.
    pub fn take<T>(&mut self, handle: Handler<'_, T>) -> anyhow::Result<Option<T>> {
        let mut used = 0;
        let mut found = None;
        while found.is_none() {
            let mut rest = self.input.get(used..).unwrap_or_default();
            let before = rest.len();
            match self.client.receive(&mut rest, &mut self.out)? {
                None => {
                    used += before - rest.len();
                    break;
                }
                Some(ClientEvent::Closed { code, text }) => {
                    bail!(Refused { code, text: text.to_owned(), connection: true })
                }
                Some(ClientEvent::ChannelClosed { code, text, .. }) => {
                    bail!(Refused { code, text: text.to_owned(), connection: false })
                }
                Some(event) => found = handle(event)?,
            }
            used += before - rest.len();
        }
        self.input.drain(..used);
        Ok(found)
    }

    fn wait(&mut self, wanted: &mut dyn FnMut(&ClientEvent<'_>) -> bool) -> anyhow::Result<()> {
        match self.next(Some(ANSWER), &mut |event| Ok(wanted(&event).then_some(())))? {
            Some(()) => Ok(()),
            None => bail!("the broker did not answer within {} s", ANSWER.as_secs()),
        }
    }

    /// Wait for the answer to a method.
    pub fn answer(&mut self) -> anyhow::Result<()> {
        self.wait(&mut |event| matches!(event, ClientEvent::Method { .. }))
    }

    /// Say good-bye, which also waits for everything sent before to be looked at.
    pub fn close(mut self) -> anyhow::Result<()> {
        self.client.close(&mut self.out);
        self.wait(&mut |event| matches!(event, ClientEvent::CloseOk))
    }
}
