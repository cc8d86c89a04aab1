//! Walks through incoming bytes by frame headers: methods are handed out, bodies are skipped but for their first bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Result, bail};

use super::wire::{self, FRAME_BODY, FRAME_HEAD_BYTES, FRAME_HEADER, FRAME_METHOD, FRAME_OVERHEAD_BYTES};
use crate::cli::bench::ledger::BODY_HEAD_BYTES;
use crate::cli::dial::now;

/// A method frame longer than this does not occur here; the bound keeps what is carried over small.
const METHOD_BYTES_MAX: usize = 64 * 1024;

/// What is worth a look in the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// Class, method and arguments.
    Method { channel: u16, payload: &'a [u8] },
    /// The head of a message's body; the rest is skipped.
    Body { channel: u16, head: [u8; BODY_HEAD_BYTES] },
}

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The socket is drained: wait for the next event.
    Drained,
    /// There may be more at once.
    More,
}

/// The state of one connection's incoming side between two reads.
#[derive(Debug, Default)]
pub struct Reader {
    /// An incomplete head or method, at most `METHOD_BYTES_MAX`.
    carry: Vec<u8>,
    /// Bytes of the current frame that are still to be passed over.
    skip: usize,
    /// Per channel: a content header came and the body's first frame has not.
    awaits_body: Vec<bool>,
}

impl Reader {
    /// One read through `buffer`, and what it brought, item by item.
    pub fn receive(
        &mut self,
        source: &mut impl Read,
        buffer: &mut [u8],
        mut each: impl FnMut(Item<'_>) -> Result<()>,
    ) -> Result<Progress> {
        let carried = self.carry.len();
        buffer[..carried].copy_from_slice(&self.carry);
        let room = buffer.len() - carried;
        let read = loop {
            match source.read(&mut buffer[carried..]) {
                Ok(0) => bail!("the broker closed the connection; its log says why"),
                Ok(read) => break read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Progress::Drained),
                Err(error) => return Err(error.into()),
            }
        };
        let bytes = &buffer[..carried + read];
        let consumed = self.walk(bytes, &mut each)?;
        self.carry.clear();
        self.carry.extend_from_slice(&bytes[consumed..]);
        // A read that left room has drained the socket; the next arrival raises a new event.
        Ok(if read < room { Progress::Drained } else { Progress::More })
    }

    /// Closes the connection in the protocol's way and waits for the answer: then the broker has processed all that was
    /// sent before, acks above all.
    pub fn take_leave(mut self, stream: mio::net::TcpStream, buffer: &mut [u8]) -> Result<()> {
        let mut stream = TcpStream::from(stream);
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(Duration::from_secs(3)))?;
        stream.set_write_timeout(Some(Duration::from_secs(3)))?;
        let mut bytes = Vec::new();
        wire::Method::new(10, 50).u16(200).short("done").u16(0).u16(0).frame(0, &mut bytes);
        stream.write_all(&bytes)?;
        let deadline = now() + Duration::from_secs(5);
        let mut answered = false;
        while !answered && now() < deadline {
            self.receive(&mut stream, buffer, |item| {
                if let Item::Method { channel: 0, payload } = item {
                    answered |= wire::method_id(payload) == wire::CONNECTION_CLOSE_OK;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Passes over all whole frames in `bytes`; returns how many bytes are done with.
    fn walk(&mut self, bytes: &[u8], each: &mut impl FnMut(Item<'_>) -> Result<()>) -> Result<usize> {
        let mut at = 0;
        loop {
            let passed = self.skip.min(bytes.len() - at);
            self.skip -= passed;
            at += passed;
            let Some(&[kind, c0, c1, s0, s1, s2, s3]) = bytes[at..].first_chunk::<FRAME_HEAD_BYTES>() else {
                return Ok(at);
            };
            let rest = &bytes[at + FRAME_HEAD_BYTES..];
            let channel = u16::from_be_bytes([c0, c1]);
            let size = u32::from_be_bytes([s0, s1, s2, s3]) as usize;
            match kind {
                FRAME_METHOD => {
                    if size > METHOD_BYTES_MAX {
                        bail!("a method of {size} bytes: the stream is out of step");
                    }
                    if rest.len() <= size {
                        return Ok(at);
                    }
                    each(Item::Method { channel, payload: &rest[..size] })?;
                }
                FRAME_HEADER => *self.awaits(channel) = true,
                FRAME_BODY if *self.awaits(channel) => {
                    if size >= BODY_HEAD_BYTES {
                        let Some(&head) = rest.first_chunk() else { return Ok(at) };
                        each(Item::Body { channel, head })?;
                    }
                    *self.awaits(channel) = false;
                }
                FRAME_BODY | 8 => {}
                _ => bail!("a frame of type {kind}: the stream is out of step"),
            }
            self.skip = size + FRAME_OVERHEAD_BYTES;
        }
    }

    fn awaits(&mut self, channel: u16) -> &mut bool {
        let index = usize::from(channel);
        if self.awaits_body.len() <= index {
            self.awaits_body.resize(index + 1, false);
        }
        &mut self.awaits_body[index]
    }
}
