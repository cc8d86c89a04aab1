//! The broker's answers, and what the session tells the client then.

use model::{Failure, Lsn, Now, Output, Reply, SubscriptionId};

use super::channel::{Channel, Content, Mode, ReplyTo, Subscription};
use super::{AmqpSession, Code, Fault, KEPT_CONTENTS_MAX};
use crate::codec::frame::{self, METHOD};
use crate::codec::{basic, channel, queue};
use crate::translate::reply_name;

const TX_COMMIT: (u16, u16) = (90, 20);
const TX_ROLLBACK: (u16, u16) = (90, 30);

/// What the broker was asked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Nothing,
    Login,
    Host,
    OpenScope,
    /// The client closed the channel.
    CloseScope,
    /// We closed it; nobody waits for the answer.
    ScopeGone,
    /// The answer is an `-ok` without arguments, or none.
    Simple,
    DeclareQueue,
    /// The queue behind a direct reply-to consumer; the consumer comes next.
    DeclareReplyQueue,
    /// Whether somebody waits behind the name of a reply queue.
    LookForReplies,
    /// Purge and delete.
    Removed,
    Publish,
    Consume,
    Cancel,
    Get,
}

/// The request that the broker has yet to answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Awaited {
    pub(super) kind: Kind,
    pub(super) channel: u16,
    pub(super) method: (u16, u16),
    /// The client wants no answer.
    pub(super) no_wait: bool,
    pub(super) mandatory: bool,
    /// The publish lies in its channel.
    pub(super) assembled: bool,
    pub(super) subscription: SubscriptionId,
}

impl Awaited {
    pub(super) fn new(kind: Kind, channel: u16, method: (u16, u16)) -> Awaited {
        Awaited { kind, channel, method, ..Awaited::default() }
    }
}

impl AmqpSession {
    pub(super) fn answered(&mut self, reply: Reply, now: Now, out: &mut Output) {
        if reply == Reply::Pending {
            return;
        }
        let awaited = std::mem::take(&mut self.awaited);
        let number = awaited.channel;
        if matches!(awaited.method, TX_COMMIT | TX_ROLLBACK) {
            self.transaction_ended(number, awaited.method == TX_COMMIT, out);
        }
        match awaited.kind {
            Kind::Publish => self.publish_answered(awaited, &reply, out),
            Kind::Simple if reply == Reply::Refused => {
                let fault = Fault::new(Code::PreconditionFailed, "partial tx completion").of(awaited.method);
                self.fail(number, fault, now, out);
            }
            Kind::Simple => {
                let durable_at = match reply {
                    Reply::DurableAt(lsn) => Some(lsn),
                    Reply::Published { durable_at, .. } | Reply::Removed { durable_at, .. } => durable_at,
                    _ => None,
                };
                if !awaited.no_wait {
                    let (class, method) = ok_of(awaited.method);
                    self.answer(durable_at, out, |out| put_bare(out, number, class, method));
                }
            }
            Kind::DeclareQueue => self.queue_declared(awaited, reply, out),
            Kind::DeclareReplyQueue => {
                let Reply::QueueDeclared { name, .. } = reply else { return };
                let tag = self.names[1].clone();
                self.names[0].clone_from(&name);
                if let Some(channel) = self.open_channel(number) {
                    channel.reply_to = Some(Box::new(ReplyTo { name: reply_name(&name), tag }));
                    self.asks_next = Some(awaited);
                }
            }
            Kind::LookForReplies => self.somebody_waits(awaited, out),
            Kind::Removed => {
                let Reply::Removed { messages, durable_at } = reply else { return };
                if !awaited.no_wait {
                    let message_count = u32::try_from(messages).unwrap_or(u32::MAX);
                    self.answer(durable_at, out, |out| {
                        if awaited.method == (50, 40) {
                            frame::put_method(out, number, &queue::DeleteOk { message_count });
                        } else {
                            frame::put_method(out, number, &queue::PurgeOk { message_count });
                        }
                    });
                }
            }
            Kind::Consume => self.subscribed(awaited, &reply, out),
            Kind::Cancel => {
                if let Some(channel) = self.open_channel(number) {
                    channel.remove_subscription(awaited.subscription);
                }
                if !awaited.no_wait {
                    let consumer_tag = &self.names[1];
                    out.write(|out| frame::put_method(out, number, &basic::CancelOk { consumer_tag }));
                }
            }
            Kind::Login => self.login_accepted(out),
            Kind::Host => {
                self.host_opened(out);
                self.timers.received(now);
            }
            Kind::OpenScope => {
                if let Err(at) = self.find(number) {
                    self.channels.insert(at, Channel::new(number));
                }
                out.write(|out| frame::put_method(out, number, &channel::OpenOk::default()));
            }
            Kind::CloseScope => self.channel_closed(number, out),
            Kind::Nothing | Kind::ScopeGone | Kind::Get => {}
        }
    }

    fn publish_answered(&mut self, awaited: Awaited, reply: &Reply, out: &mut Output) {
        let (durable_at, routed) = match *reply {
            Reply::Published { durable_at, routed } => (durable_at, routed),
            _ => (None, true),
        };
        let Ok(index) = self.find(awaited.channel) else { return };
        if awaited.mandatory && !routed {
            let Channel { mode, content, returns, .. } = &mut self.channels[index];
            if let Some(content) = if awaited.assembled { &*content } else { &self.kept } {
                let write =
                    |out: &mut Vec<u8>| put_return(out, awaited.channel, self.frame_max, content, self.envelope.properties());
                if *mode == Mode::Transaction { write(returns) } else { out.write(write) }
            }
        }
        let few_channels = self.channels.len() <= KEPT_CONTENTS_MAX;
        let channel = &mut self.channels[index];
        if awaited.assembled {
            match &mut channel.content {
                Some(content) if few_channels => content.clear(),
                content => *content = None,
            }
        }
        if channel.mode == Mode::Confirm && *reply == Reply::Refused {
            channel.confirms.refuse();
            self.acks_due = true;
        } else if channel.mode == Mode::Confirm {
            channel.confirms.publish(durable_at);
            self.acks_due = true;
        }
    }

    /// What no queue took comes back with the commit, before its answer, and not at all after a rollback.
    fn transaction_ended(&mut self, number: u16, committed: bool, out: &mut Output) {
        let Some(channel) = self.open_channel(number) else { return };
        let returns = std::mem::take(&mut channel.returns);
        if committed {
            out.put(&returns);
        }
    }

    fn queue_declared(&mut self, awaited: Awaited, reply: Reply, out: &mut Output) {
        let Reply::QueueDeclared { name, messages, subscriptions, durable_at } = reply else { return };
        if !awaited.no_wait {
            let ok = queue::DeclareOk {
                queue: &name,
                message_count: u32::try_from(messages).unwrap_or(u32::MAX),
                consumer_count: u32::try_from(subscriptions).unwrap_or(u32::MAX),
            };
            self.answer(durable_at, out, |out| frame::put_method(out, awaited.channel, &ok));
        }
        if let Some(channel) = self.open_channel(awaited.channel) {
            channel.last_queue = name;
        }
    }

    fn somebody_waits(&mut self, awaited: Awaited, out: &mut Output) {
        if !awaited.no_wait {
            let name = reply_name(&self.names[0]);
            let ok = queue::DeclareOk { queue: &name, message_count: 0, consumer_count: 1 };
            out.write(|out| frame::put_method(out, awaited.channel, &ok));
        }
    }

    fn subscribed(&mut self, awaited: Awaited, reply: &Reply, out: &mut Output) {
        let Reply::Subscribed { subscription } = *reply else { return };
        let tag = std::mem::take(&mut self.names[1]);
        if let Some(channel) = self.open_channel(awaited.channel) {
            channel.add_subscription(Subscription::new(awaited.channel, subscription, &tag));
            if !awaited.no_wait {
                out.write(|out| frame::put_method(out, awaited.channel, &basic::ConsumeOk { consumer_tag: &tag }));
            }
        }
    }

    fn channel_closed(&mut self, number: u16, out: &mut Output) {
        self.send_acks(out);
        if let Ok(index) = self.find(number) {
            self.channels.remove(index);
            if self.channels.is_empty() {
                self.channels = Vec::new();
            }
        }
        out.write(|out| frame::put_method(out, number, &channel::CloseOk {}));
    }

    /// The broker said no.
    pub(super) fn refused(&mut self, failure: Failure, now: Now, out: &mut Output) {
        let awaited = std::mem::take(&mut self.awaited);
        match awaited.kind {
            Kind::Login => self.login_refused(now, out),
            // The queue is another connection's: that is where replies belong.
            Kind::LookForReplies if matches!(failure, Failure::Locked { .. }) => self.somebody_waits(awaited, out),
            // A scope that is not there is as good as closed.
            Kind::ScopeGone => {}
            Kind::CloseScope => self.channel_closed(awaited.channel, out),
            Kind::Host => {
                let mut fault = Fault::from(failure).of(awaited.method);
                if !fault.is_hard() {
                    fault.code = Code::NotAllowed;
                }
                self.fail(0, fault, now, out);
            }
            // There is no channel yet that a soft error could close.
            Kind::OpenScope => self.fail(0, Fault::from(failure).of(awaited.method), now, out),
            _ => self.fail(awaited.channel, Fault::from(failure).of(awaited.method), now, out),
        }
    }

    /// Send an answer, or keep it until what it speaks of is durable.
    fn answer(&mut self, durable_at: Option<Lsn>, out: &mut Output, write: impl FnOnce(&mut Vec<u8>)) {
        match durable_at {
            None => out.write(write),
            Some(lsn) => {
                write(&mut self.held_answer);
                self.held_until = Some(lsn);
            }
        }
    }

    /// The journal has reached `lsn`.
    pub(super) fn durable(&mut self, lsn: Lsn, out: &mut Output) {
        for channel in &mut self.channels {
            if channel.confirms.waits_for().is_some_and(|waits| waits <= lsn) {
                channel.confirms.durable(lsn);
                self.acks_due = true;
            }
        }
        if self.acks_due {
            self.send_acks(out);
        }
        if self.held_until.is_some_and(|held| held <= lsn) {
            self.held_until = None;
            out.put(&self.held_answer);
            self.held_answer = Vec::new();
        }
    }
}

/// `basic.return`, and the message with it, as it would have been delivered.
fn put_return(out: &mut Vec<u8>, number: u16, frame_max: usize, content: &Content, properties: &[u8]) {
    let back = basic::Return {
        reply_code: Code::NoRoute as u16,
        reply_text: "NO_ROUTE",
        exchange: &content.exchange,
        routing_key: &content.routing_key,
    };
    frame::put_method(out, number, &back);
    frame::put_content_header(out, number, content.body.len(), properties);
    frame::put_body(out, number, frame_max, &content.body);
}

/// A method without arguments.
fn put_bare(out: &mut Vec<u8>, number: u16, class: u16, method: u16) {
    frame::put(out, METHOD, number, |out| {
        out.extend_from_slice(&class.to_be_bytes());
        out.extend_from_slice(&method.to_be_bytes());
    });
}

/// The number of a method's `-ok`: the next one, but for `exchange.unbind`.
fn ok_of((class, method): (u16, u16)) -> (u16, u16) {
    match (class, method) {
        (40, 40) => (40, 51),
        _ => (class, method + 1),
    }
}
