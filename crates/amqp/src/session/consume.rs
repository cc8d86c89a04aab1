//! Consumers: `basic.consume`, `basic.cancel`, and the ones that wait for direct replies.

use model::{Output, Request, Scope, Table, limits};

use super::channel::Channel;
use super::errors::{Code, Fault, bad_table};
use super::method::{Named, named, put};
use super::reply::{Awaited, Kind};
use super::{AmqpSession, Asked, Step};
use crate::codec::{basic, queue};
use crate::translate::{self, REPLY_TO};

impl AmqpSession {
    pub(super) fn consume<'i>(&mut self, index: usize, id: (u16, u16), consume: &basic::Consume<'_>) -> Result<Step<'i>, Fault> {
        let channel = &self.channels[index];
        let (number, scope) = (channel.number, channel.scope());
        if channel.subscriptions.len() >= limits::SUBSCRIPTIONS_PER_SCOPE_MAX {
            let text = format!("reached maximum ({}) of consumers per channel", limits::SUBSCRIPTIONS_PER_SCOPE_MAX);
            return Err(Fault::new(Code::NotAllowed, text));
        }
        if channel.subscription_by_tag(consume.consumer_tag.as_bytes()).is_some() {
            let text = format!("attempt to reuse consumer tag '{}'", consume.consumer_tag);
            return Err(Fault::new(Code::NotAllowed, text));
        }
        let arguments = consume.arguments.decode().map_err(bad_table)?;
        let direct = consume.queue == REPLY_TO;
        if direct {
            let text = match (&channel.reply_to, consume.no_ack) {
                (_, false) => "reply consumer cannot acknowledge",
                (Some(_), true) => "reply consumer already set",
                (None, true) => "",
            };
            if !text.is_empty() {
                return Err(Fault::new(Code::PreconditionFailed, text));
            }
        }
        self.name_queue(index, consume.queue)?;
        if consume.consumer_tag.is_empty() {
            self.names[1] = self.random.name("amq.ctag-");
        } else {
            self.set_name(1, consume.consumer_tag);
        }
        if direct {
            // A queue of this connection's own comes first; the answer asks for the consumer.
            self.names[0].clear();
            self.awaited = Awaited { no_wait: consume.no_wait, ..Awaited::new(Kind::DeclareReplyQueue, number, id) };
            let what = Named::DeclareQueue { passive: false, durable: false, exclusive: true, auto_delete: true };
            return Ok(Step::Ask(Asked::Named { what, arguments: Table::default() }));
        }
        self.awaited = Awaited { no_wait: consume.no_wait, ..Awaited::new(Kind::Consume, number, id) };
        let what = Named::Subscribe { scope, auto_settle: consume.no_ack, exclusive: consume.exclusive };
        Ok(Step::Ask(Asked::Named { what, arguments }))
    }

    /// A responder declares the name it is to answer to, which only tells it whether somebody waits.
    pub(super) fn look_for_replies<'i>(
        &mut self,
        number: u16,
        id: (u16, u16),
        name: &str,
        no_wait: bool,
        out: &mut Output,
    ) -> Step<'i> {
        self.set_name(0, translate::route_of("", name));
        if name == REPLY_TO {
            if !no_wait {
                put(out, number, &queue::DeclareOk { queue: name, message_count: 0, consumer_count: 1 });
            }
            return Step::Again;
        }
        self.awaited = Awaited { no_wait, ..Awaited::new(Kind::LookForReplies, number, id) };
        named(Named::DeclareQueue { passive: true, durable: false, exclusive: false, auto_delete: false })
    }

    /// The queue of a direct reply-to consumer is there: the consumer itself is next.
    pub(super) fn consume_replies<'i>(&mut self, declared: Awaited) -> Asked<'i> {
        self.awaited = Awaited { kind: Kind::Consume, ..declared };
        let what = Named::Subscribe { scope: Scope(declared.channel), auto_settle: true, exclusive: false };
        Asked::Named { what, arguments: Table::default() }
    }

    pub(super) fn cancel<'i>(
        &mut self,
        index: usize,
        id: (u16, u16),
        cancel: basic::Cancel<'_>,
        out: &mut Output,
    ) -> Result<Step<'i>, Fault> {
        let channel: &Channel = &self.channels[index];
        let (number, scope) = (channel.number, channel.scope());
        let Some(subscription) = channel.subscription_by_tag(cancel.consumer_tag.as_bytes()) else {
            // It may have ended a moment ago without the client's doing.
            if !cancel.no_wait {
                put(out, number, &basic::CancelOk { consumer_tag: cancel.consumer_tag });
            }
            return Ok(Step::Again);
        };
        let id_of_subscription = subscription.id;
        self.set_name(1, cancel.consumer_tag);
        self.awaited =
            Awaited { no_wait: cancel.no_wait, subscription: id_of_subscription, ..Awaited::new(Kind::Cancel, number, id) };
        Ok(Step::Ask(Asked::Ready(Request::Unsubscribe { scope, subscription: id_of_subscription })))
    }
}
