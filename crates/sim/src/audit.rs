//! Looking at everything from outside, with nobody else there: after a restart, and at the end.
//!
//! # Layout
//! - this file: queues and exchanges
//! - [`kafka`]: topics and groups

use amqp::codec::{basic, exchange, queue};

use crate::checker::{ChanId, Violation, answers, kept, restart};
use crate::connection::{Ask, Consumer, Heard, Mode};
use crate::plan::QueueIx;
use crate::world::{Outcome, World};

mod kafka;

/// Rounds in which an audit must be over.
const ROUNDS_MAX: u32 = 5_000;
/// Rounds without a delivery after which no more are expected.
const QUIET_ROUNDS: u32 = 500;

impl World {
    fn auditor(&self) -> usize {
        self.connections.len() - 1
    }

    fn open_auditor(&mut self) -> Outcome {
        let at = self.auditor();
        self.connect(at);
        if let Some(conn) = &mut self.connections[at] {
            conn.audits = true;
        }
        self.settle_down()
    }

    /// Ask for everything by name; the answers must be as they were confirmed.
    pub fn audit(&mut self) -> Outcome {
        self.trace.event(format_args!("an audit begins"));
        self.open_auditor()?;
        for queue in 0..self.plan.queues.len() {
            let plan = self.plan.clone();
            let name = &plan.queues[queue].name;
            let existence = self.model.topology.queues[queue].clone();
            let declare = queue::Declare { queue: name, passive: true, ..queue::Declare::default() };
            let Some(Heard::Queue(_, count)) = self.ask_auditor(&declare, Ask::Passive(queue))? else {
                return Err(answers::unexpected("a passive declaration was not answered".into()));
            };
            let certain = existence.certain() && !plan.queues[queue].auto_delete;
            restart::exists("queue", name, certain, existence.possible(), count.is_some())?;
            match count {
                Some(count) => restart::count(&self.model, queue, count)?,
                None => self.model.queue_is_absent(queue),
            }
        }
        for exchange in 0..self.plan.exchanges.len() {
            let plan = self.plan.clone();
            let name = &plan.exchanges[exchange].name;
            if name.is_empty() {
                continue;
            }
            let existence = self.model.topology.exchanges[exchange].clone();
            let declare = exchange::Declare { exchange: name, passive: true, ..exchange::Declare::default() };
            let Some(Heard::Exchange(_, found)) = self.ask_auditor(&declare, Ask::PassiveExchange(exchange))? else {
                return Err(answers::unexpected("a passive declaration was not answered".into()));
            };
            restart::exists("exchange", name, existence.certain(), existence.possible(), found)?;
        }
        self.close_auditor()
    }

    fn close_auditor(&mut self) -> Outcome {
        let at = self.auditor();
        self.close_connection(at);
        for _ in 0..ROUNDS_MAX {
            if self.connections[at].is_none() {
                return Ok(());
            }
            self.round()?;
        }
        Err(answers::late(&["the auditor closes its connection".into()]))
    }

    /// Ask one thing on a fresh channel and wait for the answer.
    fn ask_auditor<'m, M: amqp::codec::MethodArguments<'m>>(&mut self, method: &M, ask: Ask) -> Result<Option<Heard>, Violation> {
        let at = self.auditor();
        let chan = self.fresh_chan();
        if let Some(conn) = &mut self.connections[at] {
            conn.heard.clear();
            if conn.channels.is_empty() {
                conn.open_channel(chan, Mode::Plain, &mut self.model);
            }
            conn.ask(0, method, Some(ask));
        }
        self.settle_down()?;
        Ok(self.connections[at].as_mut().and_then(|conn| conn.heard.pop()))
    }

    /// Empty every queue, and see that nothing is missing.
    pub fn drain(&mut self) -> Outcome {
        self.trace.event(format_args!("everything is drained"));
        for at in 0..self.plan.clients {
            self.close_connection(at);
        }
        self.settle_down()?;
        self.audit()?;
        self.open_auditor()?;
        for queue in 0..self.plan.queues.len() {
            let existence = &self.model.topology.queues[queue];
            if existence.certain() && !self.plan.queues[queue].auto_delete {
                self.empty(queue)?;
            }
        }
        self.close_auditor()
    }

    fn empty(&mut self, queue: QueueIx) -> Outcome {
        let plan = self.plan.clone();
        let name = &plan.queues[queue].name;
        let at = self.auditor();
        let declare = queue::Declare { queue: name, passive: true, ..queue::Declare::default() };
        let Some(Heard::Queue(_, Some(count))) = self.ask_auditor(&declare, Ask::Passive(queue))? else {
            return Err(answers::unexpected(format!("queue {name} is not there when it is to be drained")));
        };
        let deletes = self.model.topology.queues[queue].deletes();
        let tag = format!("drain-{name}");
        if let Some(conn) = &mut self.connections[at] {
            let chan = conn.channels[0].id;
            conn.heard.clear();
            conn.channels[0].consumers.push(Consumer { tag: tag.clone(), queue, no_ack: false, cancelling: false, deletes });
            self.model.takes(chan, queue, false);
            let consume = basic::Consume { queue: name, consumer_tag: &tag, ..basic::Consume::default() };
            conn.ask(0, &consume, Some(Ask::Consume(tag.clone())));
        }
        let delivered = |world: &World| {
            let heard = world.connections[at].iter().flat_map(|conn| &conn.heard);
            heard.filter(|heard| matches!(heard, Heard::Delivered(..))).count() as u64
        };
        let (mut seen, mut quiet) = (0, 0);
        while delivered(self) < count {
            quiet = if delivered(self) > seen { 0 } else { quiet + 1 };
            seen = delivered(self);
            if quiet > QUIET_ROUNDS {
                // Some may have expired since they were counted.
                if self.plan.expiring_odds > 0 {
                    break;
                }
                return Err(answers::late(&[format!("{seen} of the {count} messages of queue {name}")]));
            }
            self.round()?;
        }
        let Some(conn) = &mut self.connections[at] else { return Ok(()) };
        let chan = conn.channels[0].id;
        let tags = self.model.unsettled(chan);
        if let Some(last) = tags.last() {
            let op = conn.ask(0, &basic::Ack { delivery_tag: *last, multiple: true }, None);
            self.model.settle(chan, op, &tags, crate::checker::model::Outcome::Settled);
        }
        conn.ask(0, &basic::Cancel { consumer_tag: &tag, no_wait: false }, Some(Ask::Cancel(tag.clone())));
        self.settle_down()?;
        let get = basic::Get { ticket: 0, queue: name, no_ack: false };
        match self.ask_auditor(&get, Ask::Get { queue, no_ack: false })? {
            Some(Heard::Empty(_)) => {}
            other => return Err(answers::unexpected(format!("queue {name} should be empty, but: {other:?}"))),
        }
        kept::emptied(&self.model, queue)
    }

    fn fresh_chan(&mut self) -> ChanId {
        self.next_chan += 1;
        ChanId(self.next_chan)
    }
}
