//! The other end of the wire: a minimal client, for the command line, the load generator and the tools.
//!
//! It speaks over a stream that it is given, in the newest versions that both sides know, and waits for answers as that
//! stream does. It never opens a socket. Answers come in the order of the questions, so that several may be under way.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};

use crate::codec::frame::{self, FrameError, RequestHeader, SIZE_BYTES, Split};
use crate::codec::{ApiKey, DecodeError, Reader, Request, Response, api_versions, error_code, sasl_authenticate, sasl_handshake};

#[cfg(test)]
mod tests;

/// Larger answers do not occur: fetches say how much they take.
const FRAME_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Why a connection is of no further use, or a question was never asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("what answers there does not speak Kafka's protocol")]
    Frame(#[from] FrameError),
    #[error("an answer to {} cannot be read: {error}", .key.name())]
    Decode { key: ApiKey, error: DecodeError },
    #[error("an answer to another question came, not to {}", .0.name())]
    Other(ApiKey),
    #[error("the broker has no version of {} in common with this program", .0.name())]
    Version(ApiKey),
    #[error("the broker answers ApiVersions with error {0}")]
    Refused(i16),
    #[error("an answer is awaited that no question asked for")]
    Unasked,
    #[error("the broker refuses to log in user '{user}': {why}")]
    Login { user: String, why: String },
}

/// The newest version that a caller's requests are made for: those that name topics by name.
fn newest(key: ApiKey) -> i16 {
    match key {
        ApiKey::Fetch => 12,
        ApiKey::DeleteTopics => 5,
        _ => *key.versions().end(),
    }
}

/// The oldest: from here on a question may be about several groups.
fn oldest(key: ApiKey) -> i16 {
    match key {
        ApiKey::OffsetFetch => 8,
        _ => *key.versions().start(),
    }
}

/// The version of each API that both sides speak.
#[derive(Clone, Debug, Default)]
pub struct Versions(Vec<(ApiKey, i16)>);

impl Versions {
    fn of(answer: &api_versions::Response<'_>) -> Versions {
        let common = |key: &ApiKey| {
            let theirs = answer.api_keys.iter().find(|api| api.api_key == key.number())?;
            let version = newest(*key).min(theirs.max_version);
            (version >= theirs.min_version.max(oldest(*key))).then_some((*key, version))
        };
        Versions(ApiKey::ALL.iter().filter_map(common).collect())
    }

    /// # Errors
    /// [`ClientError::Version`] where there is none.
    pub fn get(&self, key: ApiKey) -> Result<i16, ClientError> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, version)| *version).ok_or(ClientError::Version(key))
    }

    /// Speak nothing newer.
    pub fn limit(&mut self, key: ApiKey, newest: i16) {
        for (_, version) in self.0.iter_mut().filter(|(known, _)| *known == key) {
            *version = newest.min(*version);
        }
    }
}

/// A connection.
#[derive(Debug)]
pub struct Client<S> {
    stream: S,
    /// Who this is, in every request.
    name: &'static str,
    pub versions: Versions,
    frames: Frames,
    correlation_id: i32,
    /// Questions without an answer so far.
    asked: VecDeque<(ApiKey, i16, i32)>,
}

impl<S: Read + Write> Client<S> {
    /// Ask for the versions that the broker speaks.
    ///
    /// # Errors
    /// [`ClientError`] where the broker is gone, or is none.
    pub fn open(stream: S, name: &'static str) -> Result<Client<S>, ClientError> {
        let versions = Versions(vec![(ApiKey::ApiVersions, 0)]);
        let mut client = Client { stream, name, versions, frames: Frames::default(), correlation_id: 0, asked: VecDeque::new() };
        let answer: api_versions::Response<'_> = client.ask(&Request::ApiVersions(api_versions::Request::default()))?;
        if answer.error_code != 0 {
            return Err(ClientError::Refused(answer.error_code));
        }
        client.versions = Versions::of(&answer);
        Ok(client)
    }

    /// Log in with SASL PLAIN (RFC 4616). A broker that requires it answers little else before.
    ///
    /// # Errors
    /// [`ClientError`]; then the connection is of no further use.
    pub fn log_in(&mut self, user: &str, password: &str) -> Result<(), ClientError> {
        let refused = |code: i16, text: Option<&str>| {
            let name = || error_code::name(code).map_or_else(|| format!("error {code}"), str::to_owned);
            ClientError::Login { user: user.to_owned(), why: text.map_or_else(name, str::to_owned) }
        };
        let handshake = sasl_handshake::Request { mechanism: "PLAIN" };
        let told: sasl_handshake::Response<'_> = self.ask(&Request::SaslHandshake(handshake))?;
        if told.error_code != 0 {
            return Err(refused(told.error_code, None));
        }
        let token = format!("\0{user}\0{password}");
        let authenticate = sasl_authenticate::Request { auth_bytes: token.as_bytes() };
        let told: sasl_authenticate::Response<'_> = self.ask(&Request::SaslAuthenticate(authenticate))?;
        if told.error_code != 0 {
            return Err(refused(told.error_code, told.error_message));
        }
        Ok(())
    }

    /// Ask, and wait for the answer. Invariant: no other is awaited.
    ///
    /// # Errors
    /// [`ClientError`]
    pub fn ask<'s, T: TryFrom<Response<'s>>>(&'s mut self, request: &Request<'_>) -> Result<T, ClientError> {
        debug_assert!(self.asked.is_empty());
        self.send(request)?;
        self.receive()
    }

    /// Ask, and go on without the answer.
    ///
    /// # Errors
    /// [`ClientError`]
    pub fn send(&mut self, request: &Request<'_>) -> Result<(), ClientError> {
        let version = self.versions.get(request.key())?;
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let mut out = Vec::new();
        put_request(&mut out, request, version, self.correlation_id, self.name);
        self.stream.write_all(&out)?;
        self.asked.push_back((request.key(), version, self.correlation_id));
        Ok(())
    }

    /// Wait for the answer to the oldest question.
    ///
    /// # Errors
    /// [`ClientError`]
    pub fn receive<'s, T: TryFrom<Response<'s>>>(&'s mut self) -> Result<T, ClientError> {
        let &(key, version, asked) = self.asked.front().ok_or(ClientError::Unasked)?;
        // A stream that gives up waiting may be asked again.
        while !self.frames.is_whole()? {
            self.frames.read(&mut self.stream)?;
        }
        self.asked.pop_front();
        let body = self.frames.next_frame()?.unwrap_or_default();
        let (correlation_id, response) = decode(body, key, version)?;
        if correlation_id != asked {
            return Err(ClientError::Other(key));
        }
        T::try_from(response).map_err(|_| ClientError::Other(key))
    }

    /// Questions without an answer so far.
    pub fn outstanding(&self) -> usize {
        self.asked.len()
    }

    /// The stream, for those who go on by themselves. Invariant: no answer is awaited, so nothing read is left behind.
    pub fn into_stream(self) -> S {
        debug_assert!(self.asked.is_empty());
        self.stream
    }
}

/// Append a request with its header and size.
pub fn put_request(out: &mut Vec<u8>, request: &Request<'_>, version: i16, correlation_id: i32, client_id: &str) {
    let header =
        RequestHeader { api_key: request.key().number(), api_version: version, correlation_id, client_id: Some(client_id) };
    frame::put_frame(out, |out| {
        header.encode(out);
        request.encode(out, version);
    });
}

/// The correlation id of an answer, without its size, and what it says.
///
/// # Errors
/// [`ClientError::Decode`]
pub fn decode(body: &[u8], key: ApiKey, version: i16) -> Result<(i32, Response<'_>), ClientError> {
    let failed = |error| ClientError::Decode { key, error };
    let mut reader = Reader::new(body);
    let correlation_id = frame::read_response_header(&mut reader, key, version).map_err(failed)?;
    Ok((correlation_id, Response::decode(key, &mut reader, version).map_err(failed)?))
}

/// Bytes as they came, cut into frames.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: Vec<u8>,
    /// What of the buffer holds bytes that are not done with.
    filled: std::ops::Range<usize>,
}

/// The least room for a read.
const READ_BYTES_MIN: usize = 64 * 1024;

impl Frames {
    /// One read; returns whether there may be more to read at once.
    ///
    /// # Errors
    /// What the source says; `UnexpectedEof` at its end.
    pub fn read(&mut self, source: &mut impl Read) -> io::Result<bool> {
        if self.filled.is_empty() {
            self.filled = 0..0;
        }
        let wanted = match self.split() {
            Ok(Split::Need(bytes)) => bytes.max(READ_BYTES_MIN),
            _ => self.filled.len() + READ_BYTES_MIN,
        };
        if self.buffer.len() - self.filled.start < wanted {
            self.buffer.copy_within(self.filled.clone(), 0);
            self.filled = 0..self.filled.len();
        }
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        loop {
            let room = self.buffer.get_mut(self.filled.end..).unwrap_or_default();
            let size = room.len();
            match source.read(room) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    self.filled.end += read;
                    return Ok(read == size);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn split(&self) -> Result<Split<'_>, FrameError> {
        frame::split(self.buffer.get(self.filled.clone()).unwrap_or_default(), FRAME_BYTES_MAX)
    }

    fn is_whole(&self) -> Result<bool, FrameError> {
        self.split().map(|split| matches!(split, Split::Frame(_)))
    }

    /// The next whole frame, without its size.
    ///
    /// # Errors
    /// [`FrameError`] where no frame can begin so.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let Split::Frame(body) = self.split()? else { return Ok(None) };
        let begin = self.filled.start + SIZE_BYTES;
        let end = begin + body.len();
        self.filled.start = end;
        Ok(self.buffer.get(begin..end))
    }
}
