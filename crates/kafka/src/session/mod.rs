//! One Kafka connection as a state machine: bytes in, requests out; events in, bytes out.
//!
//! One request of the client is carried out at a time, and answers go out in the order of the requests. An answer that
//! waits for the disk does not keep the next request from being read; one that waits for something else does.
//!
//! # Layout
//! - this file: the session and its turn
//! - [`job`], [`jobs`]: requests that are carried out by asking the broker
//! - [`answers`]: answers on their way out
//! - [`login`]: who the client is
//! - [`errors`]: failures as Kafka's numbers
//! - [`produce`], [`fetch`]: batches on their way in and out
//! - [`cluster`], [`metadata`]: what the cluster is, and its topics
//! - [`offsets`]: offsets of partitions
//! - [`membership`], [`groups`], [`committed`]: members of groups, groups as people see them, how far they have read
//! - [`transactions`]: producers and their transactions
//! - [`topics`], [`configs`], [`placement`]: topics made and removed, their settings, where they lie

use std::sync::Arc;

use model::{Complaint, Event, Identity, Lsn, Now, Output, Reply, Request, Session, SessionState, limits};

use crate::codec::frame::{self, SIZE_BYTES};
use crate::codec::{self, ApiKey, Reader, RequestHeader, Split};

mod answers;
mod cluster;
mod committed;
mod configs;
mod errors;
mod fetch;
mod groups;
mod job;
mod jobs;
mod login;
mod membership;
mod metadata;
mod offsets;
mod placement;
mod produce;
#[cfg(test)]
mod tests;
mod topics;
mod transactions;

use answers::{Answers, Frame};
use fetch::{Begun, FetchSession, Reading};
use job::{Answer, Here, Job};
use login::{Login, Sasl, Told};
use produce::Production;

/// Largest produce request, in bytes (Kafka's `socket.request.max.bytes`).
const PRODUCE_BYTES_MAX: usize = 100 * 1024 * 1024;
/// Largest request of any other kind, in bytes: names and numbers, which take more room than on the wire.
const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Largest request before login, in bytes (Kafka's `sasl.server.max.receive.size`).
const LOGIN_BYTES_MAX: usize = 512 * 1024;
/// What is said at most of why a connection ends, in bytes: it may quote the client.
const REASON_BYTES_MAX: usize = 512;
/// Bytes of a request's header that say what it is.
const HEAD_BYTES: usize = 8;

/// What the sessions of one broker have in common.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The broker's number.
    pub node_id: i32,
    /// The same for as long as the data is there. Empty: whoever owns the data fills it in.
    pub cluster_id: String,
    /// Clients must log in; otherwise those that do not are the user guest.
    pub sasl_required: bool,
    /// A connection over which nothing comes for so long is closed, in milliseconds (Kafka's `connections.max.idle.ms`).
    pub idle_timeout_ms: u64,
    /// How long a login may take where it is required, in milliseconds.
    pub login_timeout_ms: u64,
}

impl Default for SessionOptions {
    fn default() -> SessionOptions {
        SessionOptions {
            node_id: 1,
            cluster_id: String::new(),
            sasl_required: false,
            idle_timeout_ms: 600_000,
            login_timeout_ms: 30_000,
        }
    }
}

/// A connection's two ends.
#[derive(Clone, Debug)]
pub struct Ends {
    /// The client's address, without its port.
    pub client_host: String,
    /// Where clients reach this broker: what it tells those who ask.
    pub host: String,
    pub port: u16,
}

/// One Kafka connection.
pub struct KafkaSession {
    options: Arc<SessionOptions>,
    ends: Ends,
    sasl: Sasl,
    /// Who has logged in.
    user: Option<String>,
    /// What the client calls itself, for people.
    client_id: Box<str>,
    work: Work,
    /// The broker has yet to answer what it was asked.
    awaiting: bool,
    frame: Frame,
    answers: Answers,
    fetching: Option<FetchSession>,
    next_fetch_session: i32,
    /// Nothing further is read; what is to be sent yet is sent.
    ending: bool,
    complaint: Option<String>,
    opened_ms: u64,
    heard_ms: u64,
    input_left: usize,
    input_needed: usize,
}

/// What is being carried out.
enum Work {
    Nothing,
    Login {
        login: Login,
        head: Head,
    },
    Produce {
        production: Production,
        head: Head,
    },
    Fetch {
        reading: Reading,
        head: Head,
    },
    Job {
        job: Box<dyn Job>,
        head: Head,
        safe_at: Lsn,
        /// What the job has been told so far, in bytes.
        told: usize,
    },
}

/// What a request's header says, as far as its response needs it.
#[derive(Clone, Copy, Debug)]
struct Head {
    key: ApiKey,
    version: i16,
    correlation_id: i32,
}

/// The header of what has none.
const NO_HEAD: Head = Head { key: ApiKey::SaslAuthenticate, version: 0, correlation_id: 0 };

/// A request to the broker, before it borrows from the session.
enum Asked<'i> {
    /// It borrows from the input.
    Ready(Request<'i>),
    OfWork,
}

enum Step {
    /// Something has begun, or was answered at once.
    Again,
    /// So many bytes are needed; 0: something else must happen first.
    More(usize),
}

impl KafkaSession {
    /// A connection has been accepted. `seed` makes up numbers of fetch sessions.
    #[must_use]
    pub fn new(options: Arc<SessionOptions>, ends: Ends, seed: u64, now: Now) -> KafkaSession {
        KafkaSession {
            options,
            ends,
            sasl: Sasl::Nothing,
            user: None,
            client_id: Box::default(),
            work: Work::Nothing,
            awaiting: false,
            frame: Frame::default(),
            answers: Answers::default(),
            fetching: None,
            next_fetch_session: (seed as i32 & i32::MAX).max(1),
            ending: false,
            complaint: None,
            opened_ms: now.mono_ms,
            heard_ms: now.mono_ms,
            input_left: 0,
            input_needed: 0,
        }
    }

    /// End the connection once what waits is sent, for this reason.
    fn end(&mut self, mut reason: String) {
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        self.ending = true;
        self.work = Work::Nothing;
        self.complaint = Some(reason);
    }

    fn end_with_too_much(&mut self, head: Head) {
        let max = limits::ANSWER_BYTES_MAX;
        self.end(format!("the answer to {} would be larger than {max} bytes: ask for less at once", head.key.name()));
    }

    /// Go on until the broker is needed or the input is used up.
    fn advance<'i>(&mut self, input: &mut &'i [u8], now: Now, out: &mut Output) -> Option<Asked<'i>> {
        self.input_needed = 0;
        loop {
            if self.awaiting {
                return None;
            }
            match &mut self.work {
                Work::Nothing => match self.step(input, now, out) {
                    Ok(Step::Again) => continue,
                    Ok(Step::More(needed)) => {
                        self.input_needed = needed;
                        return None;
                    }
                    Err(reason) => {
                        self.end(reason);
                        continue;
                    }
                },
                Work::Produce { production, head } => {
                    // Without input there is nothing to go on with just now.
                    let Ok(Split::Frame(payload)) = frame::split(input, PRODUCE_BYTES_MAX) else { return None };
                    if let Some(request) = production.next(payload, &mut self.frame.bytes) {
                        self.awaiting = true;
                        return Some(Asked::Ready(request));
                    }
                    let (head, safe_at) = (*head, production.safe_at);
                    *input = input.get(SIZE_BYTES + payload.len()..).unwrap_or_default();
                    if production.ends_connection() {
                        self.end(format!("{} with acks=0 was refused", head.key.name()));
                    } else if !production.is_silent() {
                        self.answers.put(&mut self.frame, safe_at, out);
                    }
                    self.work = Work::Nothing;
                }
                Work::Login { .. } | Work::Fetch { .. } | Work::Job { .. } => {
                    self.awaiting = true;
                    return Some(Asked::OfWork);
                }
            }
        }
    }

    /// Look at the next frame.
    fn step(&mut self, input: &mut &[u8], now: Now, out: &mut Output) -> Result<Step, String> {
        if self.ending {
            *input = &[];
            return Ok(Step::More(0));
        }
        if self.answers.is_full() {
            return Ok(Step::More(0));
        }
        let payload = match frame::split(input, self.frame_max(input)).map_err(|error| error.to_string())? {
            Split::Frame(payload) => payload,
            Split::Need(needed) if input.len() < SIZE_BYTES + HEAD_BYTES => {
                return Ok(Step::More(needed.min(SIZE_BYTES + HEAD_BYTES)));
            }
            Split::Need(needed) => return Ok(Step::More(needed)),
        };
        let frame_len = SIZE_BYTES + payload.len();
        if self.sasl == Sasl::BareToken {
            *input = input.get(frame_len..).unwrap_or_default();
            self.begin_login(payload, Told::ByBareToken, NO_HEAD, out);
            return Ok(Step::Again);
        }
        let taken = self.begin(payload, now, out)?;
        if taken {
            *input = input.get(frame_len..).unwrap_or_default();
        }
        Ok(Step::Again)
    }

    /// How large the frame at the front of the input may be.
    fn frame_max(&self, input: &[u8]) -> usize {
        if self.user.is_none() && self.options.sasl_required {
            return LOGIN_BYTES_MAX;
        }
        let key = input.get(SIZE_BYTES..).and_then(|payload| payload.first_chunk::<2>());
        match key.map(|key| ApiKey::of(i16::from_be_bytes(*key))) {
            Some(Some(ApiKey::Produce)) | None => PRODUCE_BYTES_MAX,
            Some(_) => REQUEST_BYTES_MAX,
        }
    }

    /// Begin to carry out the request in a frame. False: the frame stays in the input for now.
    fn begin(&mut self, payload: &[u8], now: Now, out: &mut Output) -> Result<bool, String> {
        let (head, supported) = head(payload)?;
        if !supported && head.key == ApiKey::ApiVersions {
            self.frame.begin(head.key, 0, head.correlation_id);
            cluster::api_versions_unknown(&mut self.frame.bytes);
            self.answers.put(&mut self.frame, Lsn(0), out);
            return Ok(true);
        }
        if !supported {
            return Err(format!("{} version {} is not supported", head.key.name(), head.version));
        }
        let logs_in = matches!(head.key, ApiKey::ApiVersions | ApiKey::SaslHandshake | ApiKey::SaslAuthenticate);
        if self.user.is_none() && !logs_in {
            if self.options.sasl_required {
                return Err(format!("{} before a login, which is required", head.key.name()));
            }
            self.work = Work::Login { login: Login::guest(), head };
            return Ok(false);
        }
        let malformed = |error: codec::DecodeError| format!("malformed {} version {}: {error}", head.key.name(), head.version);
        let mut reader = Reader::new(payload);
        let header = RequestHeader::decode(&mut reader).map_err(malformed)?;
        if self.client_id.is_empty()
            && let Some(client_id) = header.client_id
        {
            self.client_id = limits::for_the_log(client_id).into();
        }
        self.frame.begin(head.key, head.version, head.correlation_id);
        if head.key == ApiKey::Produce {
            let body_at = payload.len() - reader.rest().len();
            let production = Production::new(payload, body_at, head.version, &mut self.frame.bytes).map_err(malformed)?;
            self.work = Work::Produce { production, head };
            return Ok(false);
        }
        let request = codec::Request::decode(head.key, &mut reader, head.version).map_err(malformed)?;
        self.carry_out(&request, &header, head, now, out)?;
        Ok(true)
    }

    fn carry_out(
        &mut self,
        request: &codec::Request<'_>,
        header: &RequestHeader<'_>,
        head: Head,
        now: Now,
        out: &mut Output,
    ) -> Result<(), String> {
        let here = Here { options: &self.options, ends: &self.ends, version: head.version, now };
        let version = head.version;
        let bytes = &mut self.frame.bytes;
        let mut job: Box<dyn Job> = match request {
            codec::Request::ApiVersions(request) => {
                cluster::api_versions(request, &here, bytes);
                return self.put(out);
            }
            codec::Request::SaslHandshake(request) => {
                match login::handshake(request, &here, bytes) {
                    Some(next) => self.sasl = next,
                    None => self.end(format!("SASL mechanism '{}' is not known", request.mechanism)),
                }
                return self.put(out);
            }
            codec::Request::SaslAuthenticate(request) => {
                if self.sasl != Sasl::Authenticate {
                    return Err("SaslAuthenticate without a handshake".into());
                }
                self.begin_login(request.auth_bytes, Told::ByResponse, head, out);
                return Ok(());
            }
            codec::Request::DescribeCluster(request) => {
                cluster::describe_cluster(request, &here, bytes);
                return self.put(out);
            }
            codec::Request::DescribeQuorum(request) => {
                cluster::describe_quorum(request, &here, bytes);
                return self.put(out);
            }
            codec::Request::UpdateFeatures(request) => {
                cluster::update_features(request, &here, bytes);
                return self.put(out);
            }
            codec::Request::DescribeClientQuotas(request) => {
                cluster::describe_client_quotas(request, &here, bytes);
                return self.put(out);
            }
            codec::Request::FindCoordinator(request) => {
                cluster::find_coordinator(request, &here, bytes);
                return self.put(out);
            }
            codec::Request::Fetch(request) => {
                self.next_fetch_session = self.next_fetch_session.checked_add(1).unwrap_or(1);
                match Reading::begin(request, version, &mut self.fetching, self.next_fetch_session) {
                    Begun::Read(reading) => self.work = Work::Fetch { reading, head },
                    Begun::Answer { error_code, session_id } => {
                        fetch::answer_nothing(error_code, session_id, version, &mut self.frame);
                        return self.put(out);
                    }
                }
                return Ok(());
            }
            codec::Request::ListPartitionReassignments(_) => {
                placement::reassignments(&here, bytes);
                return self.put(out);
            }
            other => match jobs::job(other, header, &here) {
                Some(job) => job,
                None => return Err(format!("{} in the wrong place", head.key.name())),
            },
        };
        if job.is_done() {
            job.respond(&here, &mut self.frame);
            return self.put(out);
        }
        self.work = Work::Job { job, head, safe_at: Lsn(0), told: 0 };
        Ok(())
    }

    /// Answer with what the frame holds, at once unless others wait.
    fn put(&mut self, out: &mut Output) -> Result<(), String> {
        self.answers.put(&mut self.frame, Lsn(0), out);
        Ok(())
    }

    fn begin_login(&mut self, token: &[u8], told: Told, head: Head, out: &mut Output) {
        self.sasl = Sasl::Nothing;
        let login = Login::plain(token, told, self.user.as_deref());
        match login.result() {
            Some(granted) => self.end_login(login, head, granted, out),
            None => self.work = Work::Login { login, head },
        }
    }

    fn end_login(&mut self, login: Login, head: Head, granted: bool, out: &mut Output) {
        self.work = Work::Nothing;
        match login.told {
            Told::Tacitly => {}
            Told::ByBareToken if granted => {
                self.frame.begin_bare();
                self.answers.put(&mut self.frame, Lsn(0), out);
            }
            Told::ByBareToken => {}
            Told::ByResponse => {
                self.frame.begin(head.key, head.version, head.correlation_id);
                login::authenticated(granted, head.version, &mut self.frame.bytes);
                self.answers.put(&mut self.frame, Lsn(0), out);
            }
        }
        if granted {
            self.user = Some(login.user);
        } else {
            self.end(format!("login refused for user '{}'", login.user));
        }
    }

    /// The broker has answered.
    fn answered(&mut self, answer: Answer, now: Now, out: &mut Output) {
        self.awaiting = false;
        match std::mem::replace(&mut self.work, Work::Nothing) {
            Work::Nothing => {}
            Work::Login { mut login, head } => {
                login.answered(&answer);
                match login.result() {
                    Some(granted) => self.end_login(login, head, granted, out),
                    None => self.work = Work::Login { login, head },
                }
            }
            Work::Produce { mut production, head } => {
                production.answered(answer, &mut self.frame.bytes);
                self.work = Work::Produce { production, head };
            }
            Work::Fetch { reading, head } => {
                self.frame.begin(head.key, head.version, head.correlation_id);
                reading.respond(answer, &mut self.fetching, &mut self.frame);
                self.answers.put(&mut self.frame, Lsn(0), out);
            }
            Work::Job { mut job, head, mut safe_at, mut told } => {
                if let Ok(reply) = &answer {
                    safe_at = safe_at.max(reply.durable_at().unwrap_or_default());
                    told += reply.bytes();
                }
                job.answered(answer);
                if told > limits::ANSWER_BYTES_MAX {
                    return self.end_with_too_much(head);
                }
                if !job.is_done() {
                    self.work = Work::Job { job, head, safe_at, told };
                    return;
                }
                let here = Here { options: &self.options, ends: &self.ends, version: head.version, now };
                self.frame.begin(head.key, head.version, head.correlation_id);
                job.respond(&here, &mut self.frame);
                if self.frame.len() > limits::ANSWER_BYTES_MAX {
                    self.frame = Frame::default();
                    return self.end_with_too_much(head);
                }
                self.answers.put(&mut self.frame, safe_at, out);
            }
        }
    }

    /// What was asked last is to be asked once more.
    fn ask_again(&mut self) {
        self.awaiting = false;
        if let Work::Produce { production, .. } = &mut self.work {
            production.ask_again();
        }
    }

    /// Whether nothing is under way.
    fn is_quiet(&self) -> bool {
        !self.awaiting && matches!(self.work, Work::Nothing) && self.answers.is_empty()
    }
}

/// What a request's header says, and whether that version is served.
fn head(payload: &[u8]) -> Result<(Head, bool), String> {
    let (Some(&key), Some(&version), Some(&correlation_id)) = (
        payload.first_chunk::<2>(),
        payload.get(2..).and_then(|rest| rest.first_chunk::<2>()),
        payload.get(4..).and_then(|rest| rest.first_chunk::<4>()),
    ) else {
        return Err(format!("a request of {} bytes", payload.len()));
    };
    let (number, version) = (i16::from_be_bytes(key), i16::from_be_bytes(version));
    let Some(key) = ApiKey::of(number) else { return Err(format!("API key {number} is not supported")) };
    Ok((Head { key, version, correlation_id: i32::from_be_bytes(correlation_id) }, key.versions().contains(&version)))
}

impl Session for KafkaSession {
    fn poll_request<'a>(&'a mut self, input: &mut &'a [u8], now: Now, out: &mut Output) -> Option<Request<'a>> {
        if input.len() > self.input_left {
            self.heard_ms = now.mono_ms;
        }
        let asked = self.advance(input, now, out);
        self.input_left = input.len();
        let this: &'a Self = self;
        match (asked?, &this.work) {
            (Asked::Ready(request), _) => Some(request),
            (Asked::OfWork, Work::Login { login, .. }) => login.ask(),
            (Asked::OfWork, Work::Fetch { reading, .. }) => Some(reading.ask()),
            (Asked::OfWork, Work::Job { job, .. }) => Some(job.ask()),
            (Asked::OfWork, Work::Nothing | Work::Produce { .. }) => None,
        }
    }

    fn handle(&mut self, event: Event<'_>, now: Now, out: &mut Output) {
        match event {
            Event::Reply(Reply::Pending) => {}
            // What was asked before the end is of no interest any more.
            Event::Reply(_) | Event::Failed(_) if !self.awaiting => {}
            Event::Reply(Reply::Again) => self.ask_again(),
            Event::Reply(reply) => self.answered(Ok(reply), now, out),
            Event::Failed(failure) => self.answered(Err(failure), now, out),
            Event::Durable(lsn) => self.answers.durable(lsn, out),
            Event::Shutdown(_) => {
                self.ending = true;
                self.work = Work::Nothing;
            }
            // Producers are not read from while the disk is full, and nobody subscribes.
            Event::Blocked(_)
            | Event::Unblocked
            | Event::Deliver { .. }
            | Event::Got { .. }
            | Event::Empty { .. }
            | Event::Cancelled { .. } => {}
        }
    }

    fn poll_timeout(&self) -> Option<u64> {
        if self.ending || !self.is_quiet() {
            return None;
        }
        let idle = self.heard_ms + self.options.idle_timeout_ms;
        let login = (self.options.sasl_required && self.user.is_none()).then(|| self.opened_ms + self.options.login_timeout_ms);
        Some(login.map_or(idle, |login| login.min(idle)))
    }

    fn timeout(&mut self, now: Now, _: &mut Output) {
        if self.poll_timeout().is_some_and(|at| at <= now.mono_ms) {
            self.ending = true;
            if self.options.sasl_required && self.user.is_none() {
                self.complaint = Some("no login in time".into());
            }
        }
    }

    fn poll_complaint(&mut self) -> Option<Complaint> {
        self.complaint.take().map(|text| Complaint { text, code: 0, operation: "", ends_connection: true })
    }

    fn identity(&self) -> Identity<'_> {
        match &self.user {
            Some(user) => Identity { user: limits::for_the_log(user), host: login::HOST, name: &self.client_id },
            None => Identity { name: &self.client_id, ..Identity::default() },
        }
    }

    fn not_heard(&mut self, now: Now) {
        self.heard_ms = now.mono_ms;
    }

    fn state(&self) -> SessionState {
        if self.ending && self.answers.is_empty() { SessionState::Closing } else { SessionState::Open }
    }

    fn input_needed(&self) -> usize {
        self.input_needed
    }
}
