//! One world: a node over a false disk, clients over a false network, faults, and time, all from one seed.

use std::io::IoSlice;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::{Now, SessionId, SessionState};
use node::{Node, Peer, Protocol};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use vfs::simulated::SimulatedDisk;
use vfs::{Job, Lane, Vfs};

use crate::checker::answers::{self, Patience};
use crate::checker::topology::{Change, To};
use crate::checker::{ConnId, Model, Violation};
use crate::connection::{Ask, Connection, abandon};
use crate::disk::{Watch, WatchedDisk};
use crate::figures::Figures;
use crate::kafka;
use crate::plan::Plan;
use crate::trace::Trace;
use crate::wire::Wire;
use crate::workload::Hands;

/// What came of a step that may end the node.
pub type Outcome = Result<(), Violation>;

pub struct World {
    pub rng: StdRng,
    pub plan: Rc<Plan>,
    pub model: Model,
    pub trace: Trace,
    pub figures: Figures,
    pub disk: SimulatedDisk,
    pub watch: Arc<Watch>,
    node: Option<Node>,
    /// One per client that speaks AMQP; the last is the auditor's.
    pub connections: Vec<Option<Connection>>,
    /// Those that speak Kafka; the last is the auditor.
    pub kafka: Vec<kafka::Client>,
    pub kafka_model: kafka::Model,
    now: Now,
    next_conn: u32,
    pub next_chan: u32,
    /// Steps until the disk has room again, or is quick again.
    full_for: u32,
    slow_for: u32,
    /// Files removed and commits sent, when last looked at; steps in which a crash is likelier.
    seen: (u64, usize),
    tempted_for: u32,
    /// Faults may happen.
    wild: bool,
}

impl World {
    pub fn new(seed: u64, verbose: bool) -> World {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut plan = Plan::new(seed, &mut rng);
        let kafka = Rc::new(if plan.kafka { kafka::Plan::new(&mut rng) } else { kafka::Plan::nothing() });
        plan.node.topics = kafka.options.clone();
        plan.node.groups = kafka.groups.clone();
        let plan = Rc::new(plan);
        let connections = (0..=plan.clients).map(|_| None).collect();
        let disk = SimulatedDisk::new(rng.random());
        let roles = kafka.roles.iter().enumerate();
        World {
            model: Model::new(plan.clone()),
            kafka: roles.map(|(number, role)| kafka::Client::new(number, *role)).collect(),
            kafka_model: kafka::Model::new(kafka),
            trace: Trace::new(verbose),
            figures: Figures::default(),
            disk,
            watch: Arc::new(Watch::default()),
            node: None,
            connections,
            now: Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 },
            next_conn: 0,
            next_chan: 0,
            full_for: 0,
            slow_for: 0,
            seen: (0, 0),
            tempted_for: 0,
            wild: true,
            rng,
            plan,
        }
    }

    /// Faults may happen.
    pub fn is_wild(&self) -> bool {
        self.wild
    }

    pub fn now(&self) -> Now {
        self.now
    }

    /// Live through the whole plan.
    ///
    /// # Errors
    /// The first broken promise.
    pub fn live(&mut self) -> Outcome {
        self.start()?;
        for step in 0..self.plan.steps {
            self.trace.at(step, self.now.mono_ms);
            self.step()?;
        }
        self.calm();
        self.trace.event(format_args!("faults end"));
        self.settle_down()?;
        self.finish_kafka()?;
        match self.rng.random_range(0..4) {
            0 => {}
            1 => self.stop()?,
            _ => self.crash()?,
        }
        self.drain()?;
        self.drain_kafka()?;
        self.stop()?;
        self.check_disk()
    }

    fn one_in(&mut self, odds: u32) -> bool {
        odds > 0 && self.rng.random_ratio(1, odds)
    }

    fn step(&mut self) -> Outcome {
        // Where one lane of the disk is far behind the other, a crash finds most.
        let odds = if self.slow_for > 0 { self.plan.fault_odds.div_ceil(6) } else { self.plan.fault_odds };
        if self.wild && self.one_in(odds) {
            self.fault()?;
        }
        self.be_tempted()?;
        match self.rng.random_range(0..24) {
            0..=5 => self.client_acts()?,
            6..=11 => self.upload()?,
            12..=16 => self.download()?,
            17..=21 => {
                self.disk_works();
            }
            _ => self.time_passes(),
        }
        if self.rng.random_ratio(3, 4) {
            self.turn()?;
        }
        self.recover_disk();
        Ok(())
    }

    /// A crash finds most while a transaction is being committed, when somebody was shown what may not be durable, or a file was
    /// just removed.
    fn be_tempted(&mut self) -> Outcome {
        let removals = self.watch.removals.load(Ordering::Relaxed);
        let commits = self.model.commits() + self.kafka_model.ends + self.kafka_model.glimpses;
        if (removals, commits) != self.seen {
            self.seen = (removals, commits);
            self.tempted_for = 20;
        }
        if self.tempted_for > 0 && self.wild && self.plan.fault_odds > 0 {
            self.tempted_for -= 1;
            if self.one_in(80) {
                return self.crash();
            }
        }
        Ok(())
    }

    fn time_passes(&mut self) {
        let by = if self.one_in(100) { self.rng.random_range(1_000..3_000) } else { self.rng.random_range(0..40) };
        self.now.mono_ms += by;
        self.now.wall_ms += by;
        if self.one_in(400) {
            // The wall clock is set.
            self.now.wall_ms = self.now.wall_ms.saturating_add_signed(self.rng.random_range(-2_000..5_000));
        }
        self.tell_time();
    }

    fn tell_time(&mut self) {
        self.model.at_wall(self.now.wall_ms);
        self.kafka_model.at_wall(self.now.wall_ms);
    }

    fn disk_works(&mut self) {
        let times = self.rng.random_range(1..=4);
        for _ in 0..times {
            if !self.disk.step() {
                break;
            }
        }
    }

    fn recover_disk(&mut self) {
        if self.full_for > 0 {
            self.full_for -= 1;
            if self.full_for == 0 {
                self.trace.event(format_args!("the disk has room again"));
                self.disk.set_capacity(1 << 40);
            }
        }
        if self.slow_for > 0 {
            self.slow_for -= 1;
            if self.slow_for == 0 {
                self.disk.set_slow(None);
            }
        }
    }

    fn calm(&mut self) {
        self.wild = false;
        self.full_for = 0;
        self.slow_for = 0;
        self.disk.set_capacity(1 << 40);
        self.disk.set_slow(None);
        // A sync that was still to fail fails now, to nobody's harm.
        while self.disk.run(Job::Replace { path: "calm".into(), parts: Vec::new() }).is_err() {}
        let _ = self.disk.run(Job::Remove { path: "calm".into() });
    }

    // --- the node ---

    fn start(&mut self) -> Outcome {
        self.watch.poisoned.store(false, Ordering::Relaxed);
        if self.wild && self.one_in(6) {
            // The power fails while it recovers.
            let budget = self.rng.random_range(2..12);
            self.watch.run_budget.store(budget, Ordering::Relaxed);
            if let Ok(node) = self.open() {
                self.watch.run_budget.store(0, Ordering::Relaxed);
                self.node = Some(node);
                return Ok(());
            }
            self.trace.event(format_args!("the power fails during recovery"));
            self.figures.crashes += 1;
            self.watch.run_budget.store(0, Ordering::Relaxed);
            self.disk.crash();
        }
        let opened = self.open().or_else(|_| {
            // Perhaps the disk was full.
            self.full_for = 0;
            self.disk.set_capacity(1 << 40);
            self.open()
        });
        match opened {
            Ok(node) => {
                self.trace.event(format_args!("the node is up"));
                self.node = Some(node);
                Ok(())
            }
            Err(error) => Err(Violation::new("restart", format!("the node does not start: {error}"))),
        }
    }

    fn open(&mut self) -> Result<Node, storage::OpenError> {
        let disk = WatchedDisk::new(self.disk.clone(), self.watch.clone());
        Node::open(self.plan.node.clone(), Box::new(disk), self.now)
    }

    /// One turn of the node, and what follows from it.
    fn turn(&mut self) -> Outcome {
        let Some(node) = &mut self.node else { return Ok(()) };
        let outcome = node.turn(self.now);
        let poisoned = self.watch.poisoned.load(Ordering::Relaxed);
        if !answers::turned(outcome, poisoned)? {
            self.trace.event(format_args!("the journal failed: the node stops"));
            self.figures.failed_syncs += 1;
            return self.die(true);
        }
        while let Some(session) = self.node.as_mut().and_then(Node::poll_changed) {
            if let Some(at) = (0..self.seats()).find(|at| self.wire(*at).is_some_and(|wire| wire.session == session)) {
                self.offer(at);
                self.emit(at, usize::MAX);
                self.part(at)?;
            }
        }
        Ok(())
    }

    /// How many clients there are: those that speak AMQP come first.
    fn seats(&self) -> usize {
        self.connections.len() + self.kafka.len()
    }

    /// A client's connection.
    fn wire(&self, at: usize) -> Option<&Wire> {
        match at.checked_sub(self.connections.len()) {
            None => self.connections[at].as_ref().map(|conn| &conn.wire),
            Some(at) => self.kafka[at].conn.as_ref().map(|conn| &conn.wire),
        }
    }

    /// The node, and a client's connection to it.
    fn ends(&mut self, at: usize) -> Option<(&mut Node, &mut Wire)> {
        let wire = match at.checked_sub(self.connections.len()) {
            None => self.connections[at].as_mut().map(|conn| &mut conn.wire),
            Some(at) => self.kafka[at].conn.as_mut().map(|conn| &mut conn.wire),
        };
        self.node.as_mut().zip(wire)
    }

    /// Let the node use what has arrived from a client.
    fn offer(&mut self, at: usize) {
        let now = self.now;
        let Some((node, wire)) = self.ends(at) else { return };
        if wire.held.is_empty() || wire.held.len() < node.input_needed(wire.session) {
            return;
        }
        let used = node.receive(wire.session, &wire.held, now);
        wire.held.drain(..used);
    }

    /// Move output of the node into the network.
    fn emit(&mut self, at: usize, max: usize) {
        let Some((node, wire)) = self.ends(at) else { return };
        let Some(output) = node.output(wire.session) else { return };
        let mut left = max;
        while left > 0 {
            let mut slices = [IoSlice::new(&[]); 8];
            let filled = output.slices(&mut slices);
            let mut count = 0;
            for slice in &slices[..filled] {
                let part = &slice[..slice.len().min(left)];
                wire.down.extend_from_slice(part);
                count += part.len();
                left -= part.len();
            }
            if count == 0 {
                break;
            }
            output.advance(count);
        }
        node.sent(wire.session);
    }

    /// The node wants to be rid of a connection: once everything is sent it is closed.
    fn part(&mut self, at: usize) -> Outcome {
        let Some((node, wire)) = self.ends(at) else { return Ok(()) };
        let session = wire.session;
        if node.state(session) == SessionState::Open || node.output(session).is_some_and(|output| !output.is_empty()) {
            return Ok(());
        }
        let (silent, id) = match at.checked_sub(self.connections.len()) {
            None => self.connections[at].as_ref().map_or((false, 0), |conn| {
                (!conn.closing && conn.opened && conn.closed.is_none() && conn.wire.down.is_empty(), conn.id.0)
            }),
            Some(at) => self.kafka[at].conn.as_ref().map_or((false, 0), |conn| (!conn.closing, conn.id)),
        };
        if silent {
            return Err(answers::unexpected(format!("connection {id} was closed without a word")));
        }
        self.hang_up(at, true)
    }

    // --- the network ---

    fn some_connection(&mut self) -> Option<usize> {
        let at = self.rng.random_range(0..self.seats());
        self.wire(at).is_some().then_some(at)
    }

    fn upload(&mut self) -> Outcome {
        let Some(at) = self.some_connection() else { return Ok(()) };
        let all = self.rng.random_ratio(1, 2);
        self.upload_to(at, all)
    }

    fn upload_to(&mut self, at: usize, all: bool) -> Outcome {
        let Some((node, wire)) = self.ends(at) else { return Ok(()) };
        // What was not used holds the rest up only if there is much of it, as with a real socket buffer.
        if wire.up.is_empty() || !node.may_read(wire.session) || wire.held.len() > 300_000 {
            return Ok(());
        }
        let len = wire.up.len();
        let count = if all { len } else { self.rng.random_range(1..=len) };
        if let Some((_, wire)) = self.ends(at) {
            wire.held.extend(wire.up.drain(..count));
        }
        self.offer(at);
        Ok(())
    }

    fn download(&mut self) -> Outcome {
        let Some(at) = self.some_connection() else { return Ok(()) };
        let all = self.rng.random_ratio(1, 2);
        self.download_to(at, all)
    }

    fn download_to(&mut self, at: usize, all: bool) -> Outcome {
        let Some(len) = self.wire(at).map(|wire| wire.down.len()).filter(|len| *len > 0) else { return Ok(()) };
        let count = if all { len } else { self.rng.random_range(1..=len) };
        let kafka = at.checked_sub(self.connections.len());
        let conn = if kafka.is_none() { self.connections[at].as_mut() } else { None };
        if let Some(conn) = conn {
            conn.wire.arrive(count, &mut self.trace);
            return conn.hear(&mut self.model, &mut self.trace);
        }
        match kafka {
            Some(at) => self.kafka_hears(at, count),
            None => Ok(()),
        }
    }

    // --- clients ---

    fn client_acts(&mut self) -> Outcome {
        // The auditors do nothing by themselves.
        let amqp = if self.plan.amqp { self.plan.clients } else { 0 };
        let at = self.rng.random_range(0..amqp + self.kafka.len().saturating_sub(1));
        if let Some(at) = at.checked_sub(amqp) {
            return self.kafka_acts(at);
        }
        if self.connections[at].is_none() {
            self.connect(at);
            return Ok(());
        }
        if self.wild && self.one_in(150) {
            return self.drop_connection(at);
        }
        if self.one_in(300) {
            self.close_connection(at);
            return Ok(());
        }
        self.act(at);
        Ok(())
    }

    fn act(&mut self, at: usize) {
        let (queue_users, exchange_users) = self.users();
        let Some(conn) = &mut self.connections[at] else { return };
        let mut hands = Hands {
            rng: &mut self.rng,
            plan: &self.plan,
            model: &mut self.model,
            trace: &mut self.trace,
            queue_users: &queue_users,
            exchange_users: &exchange_users,
            next_chan: &mut self.next_chan,
            wall_ms: self.now.wall_ms,
        };
        hands.act(conn);
    }

    /// How many requests under way name each queue, and each exchange.
    fn users(&self) -> (Vec<u32>, Vec<u32>) {
        let mut queues = vec![0; self.plan.queues.len()];
        let mut exchanges = vec![0; self.plan.exchanges.len()];
        let channels = self.connections.iter().flatten().flat_map(|conn| &conn.channels);
        for channel in channels {
            for (_, ask) in &channel.awaiting {
                match ask {
                    Ask::Change(Change::DeclareQueue(queue) | Change::DeleteQueue(queue), _)
                    | Ask::Get { queue, .. }
                    | Ask::Passive(queue)
                    | Ask::Purge(queue) => queues[*queue] += 1,
                    Ask::Change(Change::DeclareExchange(exchange) | Change::DeleteExchange(exchange), _)
                    | Ask::PassiveExchange(exchange) => exchanges[*exchange] += 1,
                    Ask::Change(Change::Bind(arrow) | Change::Unbind(arrow), _) => {
                        exchanges[arrow.source] += 1;
                        match arrow.to {
                            To::Queue(queue) => queues[queue] += 1,
                            To::Exchange(exchange) => exchanges[exchange] += 1,
                        }
                    }
                    Ask::Consume(tag) => {
                        let queue = channel.consumers.iter().find(|consumer| consumer.tag == *tag).map(|consumer| consumer.queue);
                        queues[queue.unwrap_or(0)] += 1;
                    }
                    _ => {}
                }
            }
        }
        for (exchange, users) in exchanges.iter_mut().enumerate() {
            *users += u32::from(self.model.publishes_to(exchange));
        }
        (queues, exchanges)
    }

    /// A new connection to the node, if there is one: its number and its session.
    pub fn open_session(&mut self, protocol: Protocol, at: usize) -> Option<(u32, SessionId)> {
        let peer = Peer { address: format!("client {at}"), loopback: true };
        let session = self.node.as_mut()?.connect(protocol, peer, self.now);
        self.next_conn += 1;
        Some((self.next_conn, session))
    }

    pub fn connect(&mut self, at: usize) {
        let Some((id, session)) = self.open_session(Protocol::Amqp, at) else { return };
        let id = ConnId(id);
        let frame_max = if self.rng.random_ratio(1, 2) { 4096 } else { 131_072 };
        self.connections[at] = Some(Connection::new(id, session, at, frame_max));
        self.trace.event(format_args!("client {at} connects as connection {}", id.0));
    }

    /// The client closes its connection in good order.
    pub fn close_connection(&mut self, at: usize) {
        let Some(conn) = &mut self.connections[at] else { return };
        if !conn.opened || conn.closing {
            return;
        }
        conn.closing = true;
        self.trace.event(format_args!("connection {} closes", conn.id.0));
        for channel in &mut conn.channels {
            channel.ending = true;
            self.model.doom(channel.id);
        }
        conn.amqp.close(&mut conn.wire.up);
    }

    /// The client vanishes. Some of what it had sent still arrives, and it may still read some of what was sent to it.
    pub fn drop_connection(&mut self, at: usize) -> Outcome {
        if self.wire(at).is_none() {
            return Ok(());
        }
        self.trace.event(format_args!("the connection of client {at} breaks"));
        self.figures.drops += 1;
        if self.rng.random_ratio(1, 2) {
            self.download_to(at, false)?;
        }
        if self.rng.random_ratio(1, 2) {
            self.upload_to(at, false)?;
        }
        self.hang_up(at, false)
    }

    /// The connection is over. `flushed`: the client still gets what was sent to it.
    pub fn hang_up(&mut self, at: usize, flushed: bool) -> Outcome {
        if flushed {
            self.download_to(at, true)?;
        }
        let now = self.now;
        if let Some((node, wire)) = self.ends(at) {
            node.disconnect(wire.session, now);
        }
        if let Some(at) = at.checked_sub(self.connections.len()) {
            self.kafka_loses(at);
            return Ok(());
        }
        let Some(mut conn) = self.connections[at].take() else { return Ok(()) };
        for channel in &mut conn.channels {
            abandon(channel, &mut self.model);
        }
        self.model.connection_ended(conn.id, conn.owner);
        Ok(())
    }

    // --- faults ---

    fn fault(&mut self) -> Outcome {
        match self.rng.random_range(0..10) {
            0..=2 => self.crash(),
            3 => {
                self.trace.event(format_args!("the process is killed"));
                self.figures.kills += 1;
                self.disk.kill();
                self.die(false)
            }
            4 => {
                self.trace.event(format_args!("the next sync will fail"));
                self.disk.fail_next_sync();
                Ok(())
            }
            5..=6 => {
                let used: u64 = self.disk.files().iter().map(|(_, size)| size).sum();
                let room = self.rng.random_range(0..150_000);
                self.trace.event(format_args!("the disk has room for {room} more bytes"));
                self.figures.full_disks += 1;
                self.disk.set_capacity(used + room);
                self.full_for = self.rng.random_range(20..300);
                Ok(())
            }
            7 => {
                let lane = if self.rng.random_ratio(2, 3) { Lane::Journal } else { Lane::Background };
                self.trace.event(format_args!("the disk is slow: {lane:?}"));
                self.figures.slow_disks += 1;
                self.disk.set_slow(Some(lane));
                self.slow_for = self.rng.random_range(20..200);
                Ok(())
            }
            8 => self.stop(),
            _ => {
                let at = self.rng.random_range(0..self.seats());
                self.drop_connection(at)
            }
        }
    }

    /// The power fails.
    fn crash(&mut self) -> Outcome {
        self.trace.event(format_args!("the power fails"));
        self.figures.crashes += 1;
        self.die(true)
    }

    /// The node is gone without a word, and the disk forgets (`power`) or does not; the node begins again.
    fn die(&mut self, power: bool) -> Outcome {
        // What was sent may still arrive.
        for at in 0..self.seats() {
            let max = if self.rng.random_ratio(1, 2) { usize::MAX } else { 0 };
            self.emit(at, max);
            if self.rng.random_ratio(1, 2) {
                let all = self.rng.random_ratio(1, 2);
                self.download_to(at, all)?;
            }
        }
        self.node = None;
        for at in 0..self.seats() {
            self.hang_up(at, false)?;
        }
        if power {
            self.disk.crash();
        }
        self.model.restarted(false);
        self.start()?;
        if self.rng.random_ratio(1, 3) {
            self.audit()?;
            self.audit_kafka()?;
        }
        Ok(())
    }

    /// The node is stopped in good order and begins again.
    fn stop(&mut self) -> Outcome {
        self.trace.event(format_args!("the node is told to stop"));
        self.figures.stops += 1;
        if let Some(node) = &mut self.node {
            node.shutdown(self.now);
        }
        for conn in self.connections.iter_mut().flatten() {
            conn.closing = true;
            for channel in &mut conn.channels {
                channel.ending = true;
                self.model.doom(channel.id);
            }
        }
        self.kafka.iter_mut().filter_map(|client| client.conn.as_mut()).for_each(|conn| conn.closing = true);
        self.full_for = 0;
        self.disk.set_capacity(1 << 40);
        let mut patience = Patience::new(self.now.mono_ms);
        let lives = self.figures.failed_syncs;
        loop {
            self.round()?;
            if self.figures.failed_syncs != lives {
                // It failed while it stopped, and has begun again.
                return Ok(());
            }
            let idle = self.node.as_ref().is_some_and(Node::idle);
            if idle && (0..self.seats()).all(|at| self.wire(at).is_none()) {
                break;
            }
            if patience.ends(self.now.mono_ms) {
                self.describe();
                return Err(answers::late(&[format!(
                    "the node does not come to rest; connections left: {}",
                    (0..self.seats()).filter(|at| self.wire(*at).is_some()).count()
                )]));
            }
        }
        if let Some(Err(error)) = self.node.take().map(Node::close) {
            return Err(Violation::new("stop", format!("it came to rest, and says: {error}")));
        }
        // Files that were being prepared are left as they are.
        self.disk.kill();
        self.model.restarted(true);
        self.start()?;
        self.audit()?;
        self.audit_kafka()
    }

    // --- peace ---

    /// Everything that can go on goes on a little.
    pub fn round(&mut self) -> Outcome {
        self.now.mono_ms += 5;
        self.now.wall_ms += 5;
        self.tell_time();
        for at in 0..self.seats() {
            self.upload_to(at, true)?;
            self.emit(at, usize::MAX);
            self.download_to(at, true)?;
        }
        for _ in 0..8 {
            self.disk.step();
        }
        self.turn()?;
        for at in 0..self.seats() {
            self.offer(at);
            self.part(at)?;
        }
        Ok(())
    }

    /// What somebody waits for.
    fn unanswered(&self) -> Vec<String> {
        let mut all = Vec::new();
        for conn in self.connections.iter().flatten() {
            if !conn.opened {
                all.push(format!("connection {} opens", conn.id.0));
            }
            if conn.closing {
                all.push(format!("connection {} closes", conn.id.0));
            }
            for channel in &conn.channels {
                all.extend(channel.awaiting.iter().map(|(_, ask)| format!("channel {} asked {ask:?}", channel.id.0)));
                all.extend(channel.unconfirmed.iter().map(|(.., id)| format!("channel {} published {id}", channel.id.0)));
            }
        }
        for client in &self.kafka {
            let awaiting = client.conn.iter().flat_map(|conn| &conn.awaiting);
            all.extend(awaiting.map(|(.., ask)| format!("kafka client {} asked {ask:?}", client.asker.client)));
        }
        all
    }

    /// Go on until everything is answered.
    pub fn settle_down(&mut self) -> Outcome {
        let mut patience = Patience::new(self.now.mono_ms);
        loop {
            let left = self.unanswered();
            if left.is_empty() && self.node.as_ref().is_some_and(|node| !node.busy()) {
                return Ok(());
            }
            if patience.ends(self.now.mono_ms) {
                self.describe();
                return Err(answers::late(&left));
            }
            self.round()?;
        }
    }

    /// Go on until the disk has nothing to do.
    pub fn come_to_rest(&mut self) -> Outcome {
        let mut patience = Patience::new(self.now.mono_ms);
        while !self.node.as_ref().is_some_and(Node::idle) {
            if patience.ends(self.now.mono_ms) {
                self.describe();
                return Err(answers::late(&["the disk comes to rest".into()]));
            }
            self.round()?;
        }
        Ok(())
    }

    /// Note what may tell why nothing goes on.
    fn describe(&mut self) {
        let Some(node) = &self.node else { return };
        let (busy, idle, figures) = (node.busy(), node.idle(), node.statistics());
        self.trace.event(format_args!("busy {busy}, idle {idle}, {figures:?}"));
        self.trace.event(format_args!("{} jobs wait, files {:?}", self.disk.pending(), self.disk.files()));
        for at in 0..self.seats() {
            let Some(wire) = self.wire(at) else { continue };
            let (reads, needed) = (node.may_read(wire.session), node.input_needed(wire.session));
            let (up, held, down) = (wire.up.len(), wire.held.len(), wire.down.len());
            self.trace.event(format_args!("client {at}: may read {reads}, needs {needed}, up {up}, held {held}, down {down}"));
        }
    }

    fn check_disk(&mut self) -> Outcome {
        let mut findings = Vec::new();
        let mut disk = WatchedDisk::new(self.disk.clone(), self.watch.clone());
        self.node = None;
        match node::check(&mut disk, &mut |finding| findings.push(format!("{}: {}", finding.path, finding.what))) {
            Ok(_) if findings.is_empty() => Ok(()),
            Ok(_) => Err(Violation::new("disk", findings.join("; "))),
            Err(error) => Err(Violation::new("disk", error.to_string())),
        }
    }
}
