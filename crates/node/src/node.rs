//! The turn of the wheel: bytes in, disk, deliveries, bytes out.

use std::sync::Arc;

use broker::{Broker, Sink, User};
use model::{Event, Failure, Lsn, Now, Output, Request, SessionId, SessionState, limits};
use storage::{OpenError, Stopped};
use vfs::{Lane, Vfs};

use crate::lengths::{self, Lengths, Longest, Stretch};
use crate::sessions::{Common, Peer, Protocol, Sessions};

/// Sessions' time-outs are looked at this often, in milliseconds.
const SWEEP_MS: u64 = 250;
/// What one session may ask in one go, before others have their turn: one request of Kafka can name a million things.
const REQUESTS_MAX: usize = 16 * 1024;
/// Free space on the disk is looked at this often, in milliseconds.
const DISK_CHECK_MS: u64 = 1000;

/// How a node behaves.
#[derive(Clone, Debug)]
pub struct Options {
    pub users: Vec<User>,
    /// How topics are made and bounded.
    pub topics: broker::TopicOptions,
    /// How consumer groups behave.
    pub groups: broker::GroupOptions,
    /// Confirm only what is synced to disk. `false` confirms what is merely written: a power cut may lose it.
    pub sync: bool,
    /// Recent journal kept in memory, in bytes.
    pub cache_bytes: usize,
    /// Transient messages kept in memory before the oldest go to disk, in bytes.
    pub transient_bytes: usize,
    /// Publishers wait while less than this is free on the disk, in bytes.
    pub disk_free_limit_bytes: u64,
    /// What people call the directory on that disk.
    pub data_dir: String,
    /// The name that clients are told the cluster has.
    pub cluster_name: String,
    pub kafka: kafka::SessionOptions,
    pub storage: storage::Options,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            users: vec![User::guest()],
            topics: broker::TopicOptions::default(),
            groups: broker::GroupOptions::default(),
            sync: true,
            cache_bytes: 32 * 1024 * 1024,
            transient_bytes: 64 * 1024 * 1024,
            disk_free_limit_bytes: 50 * 1024 * 1024,
            data_dir: String::new(),
            cluster_name: "yam".into(),
            kafka: kafka::SessionOptions::default(),
            storage: storage::Options::default(),
        }
    }
}

/// The node was stopped before everything was on disk.
#[derive(Debug, thiserror::Error)]
#[error(
    "stopped before everything was on disk: {unsynced} bytes of the journal, and what was acknowledged last, were not written to {data_dir} \
     (disk full: {full}, {free} bytes free); what was confirmed is safe, and acknowledged messages may be delivered again"
)]
pub struct NotDurable {
    pub data_dir: String,
    /// Bytes appended and not durable.
    pub unsynced: u64,
    /// No further journal file had room.
    pub full: bool,
    pub free: u64,
}

/// Figures for people and metrics.
#[derive(Clone, Copy, Debug, Default)]
pub struct Statistics {
    pub broker: broker::Statistics,
    pub storage: storage::Statistics,
    pub lengths: lengths::Statistics,
}

/// One broker.
pub struct Node {
    broker: Broker,
    vfs: Box<dyn Vfs>,
    sessions: Sessions,
    common: Common,
    disk_free_limit_bytes: u64,
    data_dir: String,
    /// How far sessions know the journal to be durable.
    told: Lsn,
    /// The moment of the last turn.
    now: Now,
    next_sweep_ms: u64,
    next_disk_check_ms: u64,
    /// The disk has too little room: publishers were told to wait.
    low_disk: bool,
    /// Publishers are not read from.
    held: bool,
    /// The count of messages put into queues at which publishers wait for the next turn.
    enqueue_until: u64,
    /// Sessions that wait for the next turn.
    deferred: Vec<SessionId>,
    /// Sessions that had more to ask when they had asked enough for one turn; each once.
    unfinished: Vec<SessionId>,
    lengths: Lengths,
}

impl Node {
    /// Recover what the disk holds. Blocks until it is ready to serve.
    ///
    /// # Errors
    /// [`OpenError`]: the disk cannot be read, or is damaged; nothing was changed.
    pub fn open(options: Options, mut vfs: Box<dyn Vfs>, now: Now) -> Result<Node, OpenError> {
        let mut storage = options.storage;
        storage.journal.sync = options.sync;
        storage.journal.cache_bytes = options.cache_bytes;
        storage.arena_bytes = options.transient_bytes;
        let journal_file_bytes = storage.journal.segment_bytes;
        let broker_options = broker::Options {
            users: options.users,
            topics: options.topics,
            groups: options.groups,
            dialect: amqp::translate::DIALECT,
        };
        let mut broker = Broker::open(broker_options, storage, vfs.as_mut())?;
        broker.start(now);
        tell_of_a_small_disk(&options.data_dir, journal_file_bytes, options.disk_free_limit_bytes, vfs.as_mut());
        let told = broker.store().durable();
        Ok(Node {
            broker,
            vfs,
            sessions: Sessions::default(),
            common: Common {
                amqp: Arc::new(amqp::SessionOptions { cluster_name: options.cluster_name, ..amqp::SessionOptions::default() }),
                kafka: Arc::new(options.kafka),
            },
            disk_free_limit_bytes: options.disk_free_limit_bytes,
            data_dir: options.data_dir,
            told,
            now,
            next_sweep_ms: now.mono_ms,
            next_disk_check_ms: now.mono_ms,
            low_disk: false,
            held: false,
            enqueue_until: u64::MAX,
            deferred: Vec::new(),
            unfinished: Vec::new(),
            lengths: Lengths::default(),
        })
    }

    /// A connection was made.
    pub fn connect(&mut self, protocol: Protocol, peer: Peer, now: Now) -> SessionId {
        if matches!(protocol, Protocol::Kafka { .. }) && self.common.kafka.cluster_id.is_empty() {
            self.broker.cluster_id().clone_into(&mut Arc::make_mut(&mut self.common.kafka).cluster_id);
        }
        let id = self.sessions.open(protocol, &peer, &self.common, self.vfs.random(), now);
        self.broker.open_session(id, peer.loopback);
        if self.low_disk {
            self.sessions.send(id, Event::Blocked(LOW_DISK));
        }
        id
    }

    /// Offer bytes from the socket; returns how many were used. The rest must be offered again, with more behind it
    /// or when [`Node::poll_changed`] names the session.
    pub fn receive(&mut self, id: SessionId, bytes: &[u8], now: Now) -> usize {
        let mut used = 0;
        let (sessions, broker) = (&mut self.sessions, &mut self.broker);
        let mut awaits = None;
        let Some(connection) = sessions.get_mut(id) else { return bytes.len() };
        if connection.state() == SessionState::Closing {
            return bytes.len();
        }
        let mut stretch = Stretch::start(self.vfs.stopwatch_ns());
        let mut many = "";
        connection.look(bytes);
        let mut answered = connection.output.len();
        let mut waits = false;
        let mut asked = 0;
        loop {
            if asked == REQUESTS_MAX {
                if !self.unfinished.contains(&id) {
                    self.unfinished.push(id);
                }
                break;
            }
            // What has outrun the disk within this round is held from the next turn on.
            let outruns = || broker.enqueued() >= self.enqueue_until || (!self.held && broker.store().must_hold());
            if !waits && connection.publishes && outruns() {
                self.deferred.push(id);
                waits = true;
            }
            waits |= !connection.has_room() || connection.is_held(self.held);
            // One that must wait is asked without input: it may have confirms to send or scopes to close.
            let mut input = if waits { &[][..] } else { bytes.get(used..).unwrap_or_default() };
            let offered = input.len();
            let request = connection.session.poll_request(&mut input, now, &mut connection.output);
            used += offered - input.len();
            let Some(request) = request else { break };
            asked += 1;
            connection.publishes |= matches!(request, Request::Publish(_) | Request::Produce(_));
            let name = request.name();
            // These come by the thousand: reading the clock for each would be felt.
            let is_one_of_many = matches!(request, Request::Publish(_) | Request::Settle { multiple: false, .. });
            let event = match broker.request(id, request, now) {
                Ok(reply) => {
                    awaits = awaits.max(reply.durable_at());
                    Event::Reply(reply)
                }
                Err(failure) => {
                    if let Failure::LoginRefused { user } = &failure {
                        tracing::warn!(
                            user = limits::for_the_log(user),
                            peer = &*connection.peer,
                            "login refused: unknown user, wrong password, or a guest from elsewhere"
                        );
                    }
                    Event::Failed(failure)
                }
            };
            connection.session.handle(event, now, &mut connection.output);
            if is_one_of_many {
                many = name;
            } else {
                let ns = stretch.part(name, self.vfs.stopwatch_ns());
                self.lengths.requested(name, ns, now.mono_ms);
            }
        }
        if !many.is_empty() {
            let ns = stretch.part(many, self.vfs.stopwatch_ns());
            self.lengths.requested(many, ns, now.mono_ms);
        }
        answered = connection.output.len().saturating_sub(answered);
        // Whoever waits for room must be looked at again when there is some.
        connection.paused |= !connection.has_room();
        let closing = connection.state() == SessionState::Closing;
        connection.used(used);
        connection.log(now);
        match awaits {
            // Nothing was written: it is safe already.
            Some(lsn) if lsn <= self.told => {
                sessions.send(id, Event::Durable(self.told));
            }
            Some(lsn) => sessions.await_durable(id, lsn),
            None => {}
        }
        if answered > 0 || closing {
            sessions.mark_changed(id);
        }
        if closing { bytes.len() } else { used }
    }

    /// False: do not read from this socket now.
    #[must_use]
    pub fn may_read(&self, id: SessionId) -> bool {
        let open = |connection: &crate::sessions::Connection| connection.has_room() && !connection.is_held(self.held);
        self.sessions.get(id).is_some_and(open)
    }

    /// The smallest input worth offering again; 0 where that is not known.
    #[must_use]
    pub fn input_needed(&self, id: SessionId) -> usize {
        self.sessions.get(id).map_or(0, |connection| connection.session.input_needed())
    }

    /// What waits to be sent, for as long as the session exists.
    pub fn output(&mut self, id: SessionId) -> Option<&mut Output> {
        self.sessions.get_mut(id).map(|connection| &mut connection.output)
    }

    /// Output was sent: there may be room for more.
    pub fn sent(&mut self, id: SessionId) {
        let Some(connection) = self.sessions.get_mut(id) else { return };
        let waiting = connection.output.len();
        connection.takes = true;
        if connection.paused && waiting < limits::OUTPUT_BYTES_HIGH / 2 {
            connection.paused = false;
            self.broker.set_paused(id, false);
            self.sessions.mark_changed(id);
        }
    }

    #[must_use]
    pub fn state(&self, id: SessionId) -> SessionState {
        self.sessions.get(id).map_or(SessionState::Closing, |connection| connection.state())
    }

    /// The connection is gone.
    pub fn disconnect(&mut self, id: SessionId, now: Now) {
        let mut stretch = Stretch::start(self.vfs.stopwatch_ns());
        if let Some(connection) = self.sessions.get_mut(id) {
            connection.log_end(now);
        }
        self.broker.close_session(id, now);
        self.sessions.remove(id);
        let ns = stretch.part("end of a connection", self.vfs.stopwatch_ns());
        self.lengths.requested("end of a connection", ns, now.mono_ms);
    }

    /// After every round of input: take what the disk has done, deliver, hand the disk what is to be done.
    ///
    /// # Errors
    /// [`Stopped`]: the journal failed. Exit at once; what was confirmed is on disk.
    pub fn turn(&mut self, now: Now) -> Result<(), Stopped> {
        let mut turn = Stretch::start(self.vfs.stopwatch_ns());
        self.sessions.now = now;
        self.now = now;
        while let Some(completion) = self.vfs.poll() {
            match completion.lane {
                Lane::Compute => self.broker.worked_out(completion),
                _ => self.broker.store_mut().completed(completion)?,
            }
        }
        turn.part("take what the disk has done", self.vfs.stopwatch_ns());
        let durable = self.broker.store().durable();
        if durable > self.told {
            self.told = durable;
            self.sessions.durable(durable);
        }
        self.broker.deliver(&mut self.sessions, now);
        turn.part("deliver", self.vfs.stopwatch_ns());
        self.answer_waiting(now);
        if now.mono_ms >= self.next_sweep_ms {
            self.next_sweep_ms = now.mono_ms + SWEEP_MS;
            self.sessions.timeouts(now, self.held);
        }
        self.broker.tick(now);
        turn.part("time-outs and retention", self.vfs.stopwatch_ns());
        while let Some(id) = self.sessions.poll_answered() {
            self.receive(id, &[], now);
        }
        if self.broker.store().wants_checkpoint() {
            self.broker.checkpoint();
            turn.part("checkpoint", self.vfs.stopwatch_ns());
        }
        self.broker.store_mut().poll(self.vfs.as_mut());
        self.broker.submit_work(self.vfs.as_mut());
        self.watch_disk(now);
        self.hold_publishers();
        turn.part("hand work to the disk", self.vfs.stopwatch_ns());
        self.lengths.turned(&turn, now.mono_ms);
        Ok(())
    }

    /// Sessions that had to wait for a turn go on.
    fn answer_waiting(&mut self, now: Now) {
        let room = if self.broker.busy() { broker::ROUND_BATCH as u64 } else { u64::MAX };
        self.enqueue_until = self.broker.enqueued().saturating_add(room);
        for id in self.deferred.drain(..) {
            self.sessions.mark_changed(id);
        }
        for id in std::mem::take(&mut self.unfinished) {
            self.receive(id, &[], now);
            self.sessions.mark_changed(id);
        }
    }

    /// Look at the disk now and then, and whenever a file was made: a second is long for one that fills quickly.
    fn watch_disk(&mut self, now: Now) {
        let due = now.mono_ms >= self.next_disk_check_ms;
        let changed = self.broker.store_mut().take_disk_changed();
        if !due && (!changed || self.low_disk) {
            return;
        }
        let free = self.vfs.free_bytes().unwrap_or(u64::MAX);
        let store = self.broker.store_mut();
        if due {
            self.next_disk_check_ms = now.mono_ms + DISK_CHECK_MS;
            store.retry_disk();
        }
        // Files that wait to be used again are as good as free.
        let low = free.saturating_add(store.spare_bytes()) < self.disk_free_limit_bytes || store.disk_full();
        if due || low {
            store.set_short_of_space(low);
        }
        if low == self.low_disk {
            return;
        }
        self.low_disk = low;
        let (data_dir, limit) = (&self.data_dir, self.disk_free_limit_bytes);
        if low {
            tracing::warn!(%data_dir, free, limit, "the disk is low on space: publishers wait until there is room again");
        } else {
            tracing::info!(%data_dir, free, limit, "the disk has room again: publishers go on");
        }
        for id in self.sessions.ids() {
            self.sessions.send(id, if low { Event::Blocked(LOW_DISK) } else { Event::Unblocked });
        }
    }

    fn hold_publishers(&mut self) {
        let store = self.broker.store();
        let hold = self.low_disk || store.disk_full() || store.must_hold();
        if hold == self.held {
            return;
        }
        self.held = hold;
        if !hold {
            for id in self.sessions.ids() {
                self.sessions.mark_changed(id);
            }
        }
    }

    /// A session whose output grew, or that may be read from or offered its remaining input again.
    pub fn poll_changed(&mut self) -> Option<SessionId> {
        self.sessions.poll_changed()
    }

    /// True: call `turn` again without waiting for sockets.
    #[must_use]
    pub fn busy(&self) -> bool {
        self.broker.busy() || !self.unfinished.is_empty() || self.broker.store().is_taking_checkpoint()
    }

    /// There is more to hand out, and so much is unsettled that what consumers wait for may soon have to be read back.
    #[must_use]
    pub fn lags(&self) -> bool {
        self.broker.busy() && self.broker.store().is_crowded()
    }

    /// When `turn` must be called at the latest, in [`Now::mono_ms`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let regular = self.next_sweep_ms.min(self.next_disk_check_ms);
        Some(self.broker.poll_timeout(self.now).map_or(regular, |at| at.min(regular)))
    }

    /// Begin to stop: every session is told, and ends.
    pub fn shutdown(&mut self, now: Now) {
        self.sessions.now = now;
        for id in self.sessions.ids() {
            self.sessions.send(id, Event::Shutdown("broker forced connection closure with reason 'shutdown'"));
        }
    }

    /// Everything appended is durable and no I/O is under way.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.broker.store().idle() && !self.broker.works()
    }

    /// Write a last checkpoint, blocking, so that the next start is quick. Call when idle.
    ///
    /// # Errors
    /// [`NotDurable`]: there was no time, or no room, to make everything durable.
    pub fn close(mut self) -> Result<(), NotDurable> {
        let store = self.broker.store();
        if !store.all_durable() {
            let free = self.vfs.free_bytes().unwrap_or_default();
            let (unsynced, full) = (store.statistics().unsynced_bytes, store.disk_full());
            return Err(NotDurable { data_dir: self.data_dir, unsynced, full, free });
        }
        if let Err(error) = self.broker.close(self.vfs.as_mut()) {
            tracing::warn!(%error, "the last checkpoint could not be written; the next start replays the journal");
        }
        Ok(())
    }

    #[must_use]
    pub fn statistics(&self) -> Statistics {
        Statistics {
            broker: self.broker.statistics(),
            storage: self.broker.store().statistics(),
            lengths: self.lengths.statistics,
        }
    }

    /// How long the core was busy at a stretch with each kind of work, the longest first; what never took long is left out.
    #[must_use]
    pub fn longest(&self) -> Vec<Longest> {
        self.lengths.longest()
    }
}

/// The journal has its first file, needs a second one beside it, and publishers wait below the limit.
fn tell_of_a_small_disk(data_dir: &str, journal_file: u64, limit: u64, vfs: &mut dyn Vfs) {
    let needed = journal_file.saturating_add(limit);
    let Ok(free) = vfs.free_bytes() else { return };
    if limit > 0 && free < needed {
        tracing::warn!(
            data_dir,
            free,
            needed,
            journal_file,
            limit,
            "the disk is too small, or too full, for the journal's own files: publishers may have to wait until as much is free as is needed"
        );
    }
}

const LOW_DISK: &str = "low on disk";
