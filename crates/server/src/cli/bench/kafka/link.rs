//! A connection that answers one request after another, for the cold parts; the versions that the broker speaks; and frames
//! as they come in.

use std::io::{ErrorKind, Read, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use kafka::codec::frame::{self, RequestHeader, Split};
use kafka::codec::{ApiKey, Reader, Request, Response, api_versions};

use super::options::Place;
use crate::cli::bench::dial::{dial, explain};

/// Larger answers do not occur: fetches say how much they take.
const FRAME_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Who this is, in every request.
const CLIENT_ID: Option<&str> = Some("yam bench");

/// The newest versions used here: up to those that name topics by name. What is older comes from the broker.
const NEWEST: &[(ApiKey, i16)] = &[
    (ApiKey::Produce, 12),
    (ApiKey::Fetch, 12),
    (ApiKey::ListOffsets, 7),
    (ApiKey::Metadata, 9),
    (ApiKey::CreateTopics, 7),
    (ApiKey::DeleteTopics, 5),
    (ApiKey::InitProducerId, 4),
    (ApiKey::DescribeConfigs, 4),
];

/// The version of each API that broker and generator both speak.
#[derive(Debug, Clone, Default)]
pub struct Versions(Vec<(ApiKey, i16)>);

impl Versions {
    fn of(answer: &api_versions::Response<'_>) -> Versions {
        let common = |&(key, newest): &(ApiKey, i16)| {
            let theirs = answer.api_keys.iter().find(|api| api.api_key == key.number())?;
            let version = newest.min(theirs.max_version);
            (version >= theirs.min_version && key.versions().contains(&version)).then_some((key, version))
        };
        Versions(NEWEST.iter().filter_map(common).collect())
    }

    pub fn get(&self, key: ApiKey) -> Result<i16> {
        let found = self.0.iter().find(|(known, _)| *known == key).map(|(_, version)| *version);
        found.with_context(|| format!("the broker has no version of {} in common with this program", key.name()))
    }
}

/// A blocking connection.
pub struct Link {
    stream: TcpStream,
    pub versions: Versions,
    frames: Frames,
}

impl Link {
    /// Connects and asks for the versions; keeps trying for `patience` while nobody listens.
    pub fn open(place: &Place, patience: Duration) -> Result<Link> {
        let stream = dial(&place.host, place.port, patience, "--kafka")?;
        let mut link = Link { stream, versions: Versions::default(), frames: Frames::default() };
        let request = Request::ApiVersions(api_versions::Request::default());
        let versions = link.exchange(&request, 0, |answer| match answer {
            Response::ApiVersions(answer) => Ok(Versions::of(&answer)),
            _ => bail!("an answer to another request"),
        });
        link.versions = versions.with_context(|| format!("{place} does not speak Kafka's protocol"))?;
        Ok(link)
    }

    /// Sends a request and hands its answer to `read`.
    pub fn call<T>(&mut self, request: &Request<'_>, read: impl FnOnce(Response<'_>) -> Result<T>) -> Result<T> {
        let version = self.versions.get(request.key())?;
        self.exchange(request, version, read).with_context(|| format!("{} failed", request.key().name()))
    }

    fn exchange<T>(&mut self, request: &Request<'_>, version: i16, read: impl FnOnce(Response<'_>) -> Result<T>) -> Result<T> {
        let mut out = Vec::new();
        put_request(&mut out, request, version, 0);
        self.stream.write_all(&out).context("writing to the broker")?;
        loop {
            self.frames.read(&mut self.stream).map_err(explain)?;
            if let Some(body) = self.frames.next()? {
                return read(decode(body, request.key(), version)?.1);
            }
        }
    }

    /// The socket, non-blocking, for the event loop. Invariant: no answer is outstanding, so nothing read is left behind.
    pub fn into_stream(self) -> Result<mio::net::TcpStream> {
        self.stream.set_nonblocking(true)?;
        Ok(mio::net::TcpStream::from_std(self.stream))
    }
}

/// Append a request with its header and size.
pub fn put_request(out: &mut Vec<u8>, request: &Request<'_>, version: i16, correlation_id: i32) {
    let header = RequestHeader { api_key: request.key().number(), api_version: version, correlation_id, client_id: CLIENT_ID };
    frame::put_frame(out, |out| {
        header.encode(out);
        request.encode(out, version);
    });
}

/// The correlation id of an answer and what it says.
pub fn decode(body: &[u8], key: ApiKey, version: i16) -> Result<(i32, Response<'_>)> {
    let mut reader = Reader::new(body);
    let correlation_id = frame::read_response_header(&mut reader, key, version)?;
    let response = Response::decode(key, &mut reader, version).with_context(|| format!("an answer to {}", key.name()))?;
    Ok((correlation_id, response))
}

/// What an error code stands for; nothing where there is none.
pub fn check(code: i16, what: &str) -> Result<()> {
    if code == 0 {
        return Ok(());
    }
    Err(anyhow!("{what}: {}", error_name(code)))
}

fn error_name(code: i16) -> String {
    match kafka::codec::error_code::name(code) {
        Some(name) => format!("{name} ({code})"),
        None => format!("error {code}"),
    }
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
    fn read(&mut self, source: &mut impl Read) -> std::io::Result<bool> {
        if self.filled.is_empty() {
            self.filled = 0..0;
        }
        let wanted = match frame::split(self.buffer.get(self.filled.clone()).unwrap_or_default(), FRAME_BYTES_MAX) {
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

    /// One read of a socket that does not block; returns whether there may be more.
    pub fn receive(&mut self, source: &mut impl Read) -> Result<bool> {
        match self.read(source) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            outcome => outcome.map_err(explain),
        }
    }

    /// The next whole frame, without its size.
    pub fn next(&mut self) -> Result<Option<&[u8]>> {
        let bytes = self.buffer.get(self.filled.clone()).unwrap_or_default();
        match frame::split(bytes, FRAME_BYTES_MAX)? {
            Split::Frame(body) => {
                self.filled.start += frame::SIZE_BYTES + body.len();
                Ok(Some(body))
            }
            Split::Need(_) => Ok(None),
        }
    }
}
