//! One client's connection: a real AMQP client, what it has asked, and the bytes on their way.

use std::collections::VecDeque;

use amqp::client::{Client, ClientEvent, ConnectOptions};
use amqp::codec::{Method, MethodArguments};
use model::SessionId;

use crate::checker::model::Delivery;
use crate::checker::topology::{Change, Pending};
use crate::checker::{ChanId, ConnId, Model, Violation, answers};
use crate::message::MsgId;
use crate::plan::{ExchangeIx, QueueIx};
use crate::trace::Trace;
use crate::wire::Wire;

#[cfg(test)]
mod tests;

/// What a channel was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Plain,
    Confirm,
    Transaction,
}

/// What was asked and not answered.
#[derive(Clone, Debug)]
pub enum Ask {
    Open,
    Select,
    Qos,
    Change(Change, Pending),
    /// The counts of a queue; whether it must be there is the asker's business.
    Passive(QueueIx),
    PassiveExchange(ExchangeIx),
    Consume(String),
    Cancel(String),
    Get {
        queue: QueueIx,
        no_ack: bool,
    },
    Purge(QueueIx),
    Commit,
    Rollback,
    Recover,
    Close,
    /// It must be refused with this code.
    Refused(u16),
}

#[derive(Clone, Debug)]
pub struct Consumer {
    pub tag: String,
    pub queue: QueueIx,
    pub no_ack: bool,
    pub cancelling: bool,
    /// How often the queue had been deleted when it began.
    pub deletes: u32,
}

pub struct Channel {
    pub id: ChanId,
    pub number: u16,
    pub mode: Mode,
    pub open: bool,
    /// Close was sent, or something that must be refused.
    pub ending: bool,
    /// Requests sent so far.
    pub ops: u32,
    pub awaiting: VecDeque<(u32, Ask)>,
    /// Publishes since `confirm.select`.
    pub published: u64,
    pub unconfirmed: VecDeque<(u64, u32, MsgId)>,
    pub consumers: Vec<Consumer>,
    /// Mandatory messages that came back, and were not confirmed yet.
    pub returned: Vec<MsgId>,
}

/// What the audits want to know: answers to passive declarations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Queue(QueueIx, Option<u64>),
    Exchange(ExchangeIx, bool),
    Empty(QueueIx),
    Delivered(QueueIx, ChanId, u64),
}

pub struct Connection {
    pub id: ConnId,
    /// Number of the client whose connection it is.
    pub owner: usize,
    pub amqp: Client,
    pub wire: Wire,
    pub opened: bool,
    pub closing: bool,
    pub blocked: bool,
    /// The broker closed it, or agreed to: code.
    pub closed: Option<u16>,
    pub channels: Vec<Channel>,
    pub next_number: u16,
    pub heard: Vec<Heard>,
    /// Keep what was heard.
    pub audits: bool,
}

impl Connection {
    pub fn new(id: ConnId, session: SessionId, owner: usize, frame_max: u32) -> Connection {
        let mut up = Vec::new();
        let options = ConnectOptions { frame_max, ..ConnectOptions::default() };
        let amqp = Client::connect(&options, &mut up);
        Connection {
            id,
            owner,
            amqp,
            wire: Wire::new(session, up),
            opened: false,
            closing: false,
            blocked: false,
            closed: None,
            channels: Vec::new(),
            next_number: 0,
            heard: Vec::new(),
            audits: false,
        }
    }

    /// Send a method on a channel; `ask`: what is to be answered. Returns its number on the channel.
    pub fn ask<'m, M: MethodArguments<'m>>(&mut self, at: usize, method: &M, ask: Option<Ask>) -> u32 {
        let channel = &mut self.channels[at];
        channel.ops += 1;
        self.amqp.send(&mut self.wire.up, channel.number, method);
        if let Some(ask) = ask {
            channel.awaiting.push_back((channel.ops, ask));
        }
        channel.ops
    }

    /// Open one more channel. Returns its place.
    pub fn open_channel(&mut self, id: ChanId, mode: Mode, model: &mut Model) -> usize {
        self.next_number += 1;
        let number = self.next_number;
        self.channels.push(Channel {
            id,
            number,
            mode,
            open: false,
            ending: false,
            ops: 0,
            awaiting: VecDeque::new(),
            published: 0,
            unconfirmed: VecDeque::new(),
            consumers: Vec::new(),
            returned: Vec::new(),
        });
        let at = self.channels.len() - 1;
        model.open_channel(self.id, id);
        self.ask(at, &amqp::codec::channel::Open::default(), Some(Ask::Open));
        match mode {
            Mode::Plain => {}
            Mode::Confirm => {
                self.ask(at, &amqp::codec::confirm::Select::default(), Some(Ask::Select));
            }
            Mode::Transaction => {
                self.ask(at, &amqp::codec::tx::Select {}, Some(Ask::Select));
                model.begin(id);
            }
        }
        at
    }

    /// Take in what has arrived.
    ///
    /// # Errors
    /// The broker broke a promise.
    pub fn hear(&mut self, model: &mut Model, trace: &mut Trace) -> Result<(), Violation> {
        let input = std::mem::take(&mut self.wire.input);
        let mut rest = &input[..];
        loop {
            let event = match self.amqp.receive(&mut rest, &mut self.wire.up) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(error) => return Err(answers::unexpected(format!("the broker cannot be understood: {error}"))),
            };
            match event {
                ClientEvent::Opened => self.opened = true,
                ClientEvent::Closed { code, text } => {
                    trace.event(format_args!("connection {} closed by the broker: {code} {text}", self.id.0));
                    self.closed = Some(code);
                }
                ClientEvent::CloseOk => self.closed = Some(200),
                ClientEvent::Blocked { .. } => self.blocked = true,
                ClientEvent::Unblocked => self.blocked = false,
                ClientEvent::Delivered { channel, .. }
                | ClientEvent::Got { channel, .. }
                | ClientEvent::Empty { channel }
                | ClientEvent::Returned { channel, .. }
                | ClientEvent::Acked { channel, .. }
                | ClientEvent::Nacked { channel, .. }
                | ClientEvent::Cancelled { channel, .. }
                | ClientEvent::ChannelClosed { channel, .. }
                | ClientEvent::Method { channel, .. } => {
                    let Some(at) = self.channels.iter().position(|other| other.number == channel) else {
                        return Err(answers::unexpected(format!("something came on channel {channel}, which is not open")));
                    };
                    let heard = self.audits.then_some(&mut self.heard);
                    let mut ears = Ears { model, trace, heard };
                    if ears.channel_event(&mut self.channels[at], event)? {
                        self.channels.remove(at);
                    }
                }
            }
        }
        self.wire.input = rest.to_vec();
        Ok(())
    }
}

/// Everything that hears.
struct Ears<'a> {
    model: &'a mut Model,
    trace: &'a mut Trace,
    heard: Option<&'a mut Vec<Heard>>,
}

fn wrong(channel: &Channel, event: &ClientEvent<'_>) -> Violation {
    let asked = channel.awaiting.front().map(|(_, ask)| ask);
    let mut said = format!("{event:?}");
    said.truncate(300);
    answers::unexpected(format!("channel {} asked {asked:?} and was told {said}", channel.id.0))
}

impl Ears<'_> {
    fn note(&mut self, heard: Heard) {
        if let Some(all) = &mut self.heard {
            all.push(heard);
        }
    }

    /// True: the channel is over.
    fn channel_event(&mut self, channel: &mut Channel, event: ClientEvent<'_>) -> Result<bool, Violation> {
        let chan = channel.id;
        match event {
            ClientEvent::Delivered { consumer_tag, tag, redelivered, message, .. } => {
                let Some(consumer) = channel.consumers.iter().find(|consumer| consumer.tag == consumer_tag) else {
                    return Err(answers::unexpected(format!("channel {} got a delivery for consumer {consumer_tag:?}", chan.0)));
                };
                self.delivered(chan, consumer.queue, consumer.no_ack, tag, redelivered, &message)?;
            }
            ClientEvent::Got { tag, redelivered, message, .. } => {
                let Some((op, Ask::Get { queue, no_ack })) = channel.awaiting.front().cloned() else {
                    return Err(wrong(channel, &event));
                };
                channel.awaiting.pop_front();
                self.model.processed(chan, op);
                self.delivered(chan, queue, no_ack, tag, redelivered, &message)?;
            }
            ClientEvent::Empty { .. } => {
                let Some((op, Ask::Get { queue, .. })) = channel.awaiting.front().cloned() else {
                    return Err(wrong(channel, &event));
                };
                channel.awaiting.pop_front();
                self.model.processed(chan, op);
                self.note(Heard::Empty(queue));
            }
            ClientEvent::Returned { message, code, .. } => {
                let id = crate::message::id_of(message.raw_properties);
                let Some(id) = id.filter(|id| code == 312 && self.model.may_be_returned(*id)) else {
                    return Err(answers::unexpected(format!("message {id:?} was returned on channel {} with {code}", chan.0)));
                };
                channel.returned.push(id);
            }
            ClientEvent::Acked { tag, multiple, .. } => self.acked(channel, tag, multiple)?,
            ClientEvent::Nacked { tag, .. } => {
                return Err(answers::unexpected(format!("publish {tag} was refused")));
            }
            ClientEvent::Cancelled { consumer_tag, .. } => {
                let Some(consumer) = channel.consumers.iter().find(|consumer| consumer.tag == consumer_tag) else {
                    return Err(answers::unexpected(format!("consumer {consumer_tag:?} was cancelled, and does not exist")));
                };
                let queue = &self.model.topology.queues[consumer.queue];
                if queue.certain() && queue.deletes() == consumer.deletes {
                    let name = self.model.queue_name(consumer.queue);
                    return Err(answers::unexpected(format!("a consumer of {name} was cancelled although the queue exists")));
                }
                channel.consumers.retain(|consumer| consumer.tag != consumer_tag);
            }
            ClientEvent::ChannelClosed { code, text, .. } => {
                self.trace.event(format_args!("channel {} closed by the broker: {code} {text}", chan.0));
                return self.closed(channel, code, text);
            }
            ClientEvent::Method { method, .. } => return self.answered(channel, &method, &event),
            _ => {}
        }
        Ok(false)
    }

    fn delivered(
        &mut self,
        chan: ChanId,
        queue: QueueIx,
        no_ack: bool,
        tag: u64,
        redelivered: bool,
        message: &amqp::client::Message<'_>,
    ) -> Result<(), Violation> {
        let delivery = Delivery {
            chan,
            queue,
            tag,
            redelivered,
            no_ack,
            exchange: message.exchange,
            routing_key: message.routing_key,
            raw_properties: message.raw_properties,
            body: message.body,
        };
        let id = self.model.delivered(&delivery);
        let again = if redelivered { " again" } else { "" };
        let name = self.model.queue_name(queue);
        match &id {
            Ok(id) => self.trace.event(format_args!("channel {} gets {id} from {name}{again}, tag {tag}", chan.0)),
            Err(_) => self.trace.event(format_args!("channel {} gets something from {name}{again}, tag {tag}", chan.0)),
        }
        id?;
        self.note(Heard::Delivered(queue, chan, tag));
        Ok(())
    }

    fn acked(&mut self, channel: &mut Channel, tag: u64, multiple: bool) -> Result<(), Violation> {
        let mut count = 0;
        while let Some((_, op, id)) = channel.unconfirmed.pop_front_if(|(number, ..)| *number <= tag) {
            count += 1;
            let back = channel.returned.contains(&id);
            channel.returned.retain(|other| *other != id);
            if let Some(text) = self.model.wrongly_returned(id, back) {
                return Err(answers::unexpected(text));
            }
            self.model.confirmed(channel.id, op, id);
        }
        self.trace.event(format_args!("channel {} hears that {count} publishes up to {tag} are safe", channel.id.0));
        if count == 0 || (count > 1 && !multiple) {
            return Err(answers::unexpected(format!("an ack of publish {tag}, multiple {multiple}, speaks of {count}")));
        }
        Ok(())
    }

    /// The broker closed the channel.
    fn closed(&mut self, channel: &mut Channel, code: u16, text: &str) -> Result<bool, Violation> {
        let refused = channel
            .awaiting
            .iter()
            .position(|(_, ask)| matches!(ask, Ask::Refused(_) | Ask::Passive(_) | Ask::PassiveExchange(_)));
        let Some((op, ask)) = refused.and_then(|at| channel.awaiting.get(at)).cloned() else {
            return Err(answers::unexpected(format!("channel {} was closed for no reason: {code} {text}", channel.id.0)));
        };
        match ask {
            Ask::Refused(expected) if expected == code => {}
            Ask::Passive(queue) if code == 404 => self.note(Heard::Queue(queue, None)),
            Ask::PassiveExchange(exchange) if code == 404 => self.note(Heard::Exchange(exchange, false)),
            _ => return Err(answers::unexpected(format!("channel {} was closed with {code} {text} over {ask:?}", channel.id.0))),
        }
        // It was dealt with in order: what came before was done.
        self.model.processed(channel.id, op - 1);
        self.abandon(channel);
        self.model.channel_ended(channel.id);
        Ok(true)
    }

    fn abandon(&mut self, channel: &mut Channel) {
        abandon(channel, self.model);
    }

    fn answered(&mut self, channel: &mut Channel, method: &Method<'_>, event: &ClientEvent<'_>) -> Result<bool, Violation> {
        let Some((op, ask)) = channel.awaiting.front().cloned() else { return Err(wrong(channel, event)) };
        let chan = channel.id;
        match (&ask, method) {
            (Ask::Open, Method::ChannelOpenOk(_)) => channel.open = true,
            (Ask::Select, Method::ConfirmSelectOk(_) | Method::TxSelectOk(_)) | (Ask::Qos, Method::BasicQosOk(_)) => {}
            (Ask::Change(change, pending), _) => {
                let fits = match (change, method) {
                    (Change::DeclareQueue(queue), Method::QueueDeclareOk(ok)) => ok.queue == self.model.queue_name(*queue),
                    (Change::DeleteQueue(_), Method::QueueDeleteOk(_))
                    | (Change::DeclareExchange(_), Method::ExchangeDeclareOk(_))
                    | (Change::DeleteExchange(_), Method::ExchangeDeleteOk(_))
                    | (Change::Bind(_), Method::QueueBindOk(_) | Method::ExchangeBindOk(_))
                    | (Change::Unbind(_), Method::QueueUnbindOk(_) | Method::ExchangeUnbindOk(_)) => true,
                    _ => false,
                };
                if !fits {
                    return Err(wrong(channel, event));
                }
                self.model.topology.done(pending);
                if let Change::DeleteQueue(queue) = change {
                    self.model.cleared(*queue);
                    self.model.deleted(*queue);
                }
                self.model.topology_changed();
            }
            (Ask::Passive(queue), Method::QueueDeclareOk(ok)) => {
                self.note(Heard::Queue(*queue, Some(ok.message_count.into())));
            }
            (Ask::PassiveExchange(exchange), Method::ExchangeDeclareOk(_)) => self.note(Heard::Exchange(*exchange, true)),
            (Ask::Consume(tag), Method::BasicConsumeOk(ok)) if ok.consumer_tag == tag => {}
            (Ask::Cancel(tag), Method::BasicCancelOk(ok)) if ok.consumer_tag == tag => {
                channel.consumers.retain(|consumer| consumer.tag != *tag);
            }
            (Ask::Purge(queue), Method::QueuePurgeOk(_)) => {
                self.model.purged(*queue);
            }
            (Ask::Commit, Method::TxCommitOk(_)) => self.model.committed(chan, op),
            (Ask::Rollback, Method::TxRollbackOk(_)) => self.model.rolled_back(chan, op),
            (Ask::Recover, Method::BasicRecoverOk(_)) => self.model.recovered(chan, op),
            (Ask::Close, Method::ChannelCloseOk(_)) => {
                self.model.processed(chan, op);
                self.abandon(channel);
                self.model.channel_ended(chan);
                self.trace.event(format_args!("channel {} is closed", chan.0));
                return Ok(true);
            }
            _ => return Err(wrong(channel, event)),
        }
        channel.awaiting.pop_front();
        self.model.processed(chan, op);
        self.trace.event(format_args!("channel {} is answered {}", chan.0, method.name()));
        Ok(false)
    }
}

/// Nobody will answer what the channel has asked.
pub fn abandon(channel: &mut Channel, model: &mut Model) {
    for (_, ask) in channel.awaiting.drain(..) {
        match ask {
            Ask::Change(change, pending) => {
                model.topology.abandoned(&pending);
                if let Change::DeleteQueue(queue) = change {
                    model.cleared(queue);
                }
            }
            Ask::Purge(queue) => model.cleared(queue),
            _ => {}
        }
    }
    model.topology_changed();
}
