//! The methods of a channel, all but `basic.publish`.

use model::request::{Binding, DeclareExchange, DeclareQueue, Destination, Subscribe};
use model::{DeliveryTag, Outcome, Output, Request, Scope, Table};

use super::channel::Mode;
use super::errors::bad_table;
use super::reply::{Awaited, Kind};
use super::{AmqpSession, Asked, CHANNEL_CLOSE_OK, Code, Fault, Step, publish, unexpected};
use crate::codec::frame::{self, Frame, METHOD};
use crate::codec::method::MethodError;
use crate::codec::{Method, MethodArguments, RawTable, access, basic, channel, confirm, tx};
use crate::translate::REPLY_TO;

/// Class and method of `basic.ack`.
const ACK: (u16, u16) = (60, 80);

/// A request whose names are in the session, because they may be shortcuts or made up.
#[derive(Clone, Copy, Debug)]
pub(super) enum Named {
    DeclareExchange { passive: bool, durable: bool, auto_delete: bool, internal: bool },
    DeleteExchange { if_unused: bool },
    DeclareQueue { passive: bool, durable: bool, exclusive: bool, auto_delete: bool },
    DeleteQueue { if_unused: bool, if_empty: bool },
    PurgeQueue,
    Bind { to_queue: bool },
    Unbind { to_queue: bool },
    Subscribe { scope: Scope, auto_settle: bool, exclusive: bool },
    Get { scope: Scope, auto_settle: bool },
}

impl Named {
    pub(super) fn request(self, names: &[String; 3], arguments: Table) -> Request<'_> {
        let [name, second, routing_key] = names;
        let binding = |to_queue, arguments| Binding {
            source: second,
            destination: if to_queue { Destination::Queue(name) } else { Destination::Exchange(name) },
            routing_key,
            arguments,
        };
        match self {
            Named::DeclareExchange { passive, durable, auto_delete, internal } => {
                let kind = second;
                Request::DeclareExchange(DeclareExchange { name, kind, passive, durable, auto_delete, internal, arguments })
            }
            Named::DeleteExchange { if_unused } => Request::DeleteExchange { name, if_unused },
            Named::DeclareQueue { passive, durable, exclusive, auto_delete } => {
                Request::DeclareQueue(DeclareQueue { name, passive, durable, exclusive, auto_delete, arguments })
            }
            Named::DeleteQueue { if_unused, if_empty } => Request::DeleteQueue { name, if_unused, if_empty },
            Named::PurgeQueue => Request::PurgeQueue { name },
            Named::Bind { to_queue } => Request::Bind(binding(to_queue, arguments)),
            Named::Unbind { to_queue } => Request::Unbind(binding(to_queue, arguments)),
            Named::Subscribe { scope, auto_settle, exclusive } => {
                Request::Subscribe(Subscribe { scope, queue: name, tag: second, auto_settle, exclusive, arguments })
            }
            Named::Get { scope, auto_settle } => Request::Get { scope, queue: name, auto_settle },
        }
    }
}

impl AmqpSession {
    /// A frame on a channel that nobody has opened.
    pub(super) fn unopened_channel_frame<'i>(&mut self, frame: Frame<'i>) -> Result<Step<'i>, Fault> {
        let id = publish::method_id(frame.payload);
        if frame.kind == METHOD && id == CHANNEL_CLOSE_OK {
            // It answers a close that crossed the client's own.
            return Ok(Step::Again);
        }
        // As in RabbitMQ they are counted: clients number them as they like.
        if self.channels.len() >= usize::from(self.channel_max) {
            let (open, max) = (self.channels.len(), self.channel_max);
            let text = format!("number of channels opened ({open}) has reached the negotiated channel_max ({max})");
            return Err(Fault::new(Code::NotAllowed, text));
        }
        if frame.kind != METHOD {
            return Err(Fault::new(Code::UnexpectedFrame, "expected method frame, got non method frame instead"));
        }
        match Method::decode(frame.payload)? {
            Method::ChannelOpen(_) => {
                self.awaited = Awaited::new(Kind::OpenScope, frame.channel, id);
                Ok(Step::Ask(Asked::Ready(Request::OpenScope { scope: Scope(frame.channel) })))
            }
            _ => Err(Fault::new(Code::ChannelError, "expected 'channel.open'")),
        }
    }

    /// A method on an open channel.
    pub(super) fn channel_method<'i>(&mut self, index: usize, frame: Frame<'i>, out: &mut Output) -> Result<Step<'i>, Fault> {
        let id = publish::method_id(frame.payload);
        if id == ACK
            && let Some(&[_, _, _, _, t0, t1, t2, t3, t4, t5, t6, t7, bits]) = frame.payload.as_array::<13>()
        {
            // The same as below, for the one method that comes as often as messages do.
            let tag = u64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
            return Ok(self.settle(Scope(frame.channel), id, tag, bits & 1 != 0, Outcome::Accepted));
        }
        let method = match Method::decode(frame.payload) {
            Err(MethodError::Empty) => return Err(unexpected(frame)),
            decoded => decoded?,
        };
        let channel = &mut self.channels[index];
        let scope = channel.scope();
        let number = channel.number;
        match method {
            Method::BasicAck(ack) => Ok(self.settle(scope, id, ack.delivery_tag, ack.multiple, Outcome::Accepted)),
            Method::BasicNack(nack) => {
                let outcome = if nack.requeue { Outcome::Requeued } else { Outcome::Rejected };
                Ok(self.settle(scope, id, nack.delivery_tag, nack.multiple, outcome))
            }
            Method::BasicReject(reject) => {
                let outcome = if reject.requeue { Outcome::Requeued } else { Outcome::Rejected };
                Ok(self.settle(scope, id, reject.delivery_tag, false, outcome))
            }
            Method::BasicGet(get) => {
                self.name_queue(index, get.queue)?;
                self.awaited = Awaited::new(Kind::Get, number, id);
                Ok(named(Named::Get { scope, auto_settle: get.no_ack }))
            }
            Method::BasicConsume(consume) => self.consume(index, id, &consume),
            Method::BasicCancel(cancel) => self.cancel(index, id, cancel, out),
            Method::BasicCancelOk(_) => Ok(Step::Again),
            Method::BasicQos(qos) => {
                if qos.prefetch_size != 0 {
                    let text = format!("prefetch_size!=0 ({})", qos.prefetch_size);
                    return Err(Fault::new(Code::NotImplemented, text));
                }
                self.ask(number, id, false, Request::Prefetch { scope, count: qos.prefetch_count, each: !qos.global })
            }
            Method::BasicRecover(basic::Recover { requeue }) | Method::BasicRecoverAsync(basic::RecoverAsync { requeue }) => {
                if !requeue {
                    return Err(Fault::new(Code::NotImplemented, "requeue=false"));
                }
                let silent = matches!(method, Method::BasicRecoverAsync(_));
                self.ask(number, id, silent, Request::Recover { scope })
            }
            Method::ConfirmSelect(select) => {
                if channel.mode == Mode::Transaction {
                    return Err(Fault::new(Code::PreconditionFailed, "cannot switch from tx to confirm mode"));
                }
                channel.mode = Mode::Confirm;
                if !select.no_wait {
                    put(out, number, &confirm::SelectOk {});
                }
                Ok(Step::Again)
            }
            Method::TxSelect(_) => match channel.mode {
                Mode::Confirm => Err(Fault::new(Code::PreconditionFailed, "cannot switch from confirm to tx mode")),
                Mode::Transaction => {
                    put(out, number, &tx::SelectOk {});
                    Ok(Step::Again)
                }
                Mode::Plain => {
                    channel.mode = Mode::Transaction;
                    self.ask(number, id, false, Request::Begin { scope })
                }
            },
            Method::TxCommit(_) | Method::TxRollback(_) if channel.mode != Mode::Transaction => {
                Err(Fault::new(Code::PreconditionFailed, "channel is not transactional"))
            }
            Method::TxCommit(_) => self.ask(number, id, false, Request::Commit { scope }),
            Method::TxRollback(_) => self.ask(number, id, false, Request::Rollback { scope }),
            Method::ChannelFlow(flow) => {
                if !flow.active {
                    return Err(Fault::new(Code::NotImplemented, "active=false"));
                }
                put(out, number, &channel::FlowOk { active: true });
                Ok(Step::Again)
            }
            Method::ChannelClose(_) => {
                self.awaited = Awaited::new(Kind::CloseScope, number, id);
                Ok(Step::Ask(Asked::Ready(Request::CloseScope { scope })))
            }
            // The answer to a close of ours that the client's own close had crossed.
            Method::ChannelCloseOk(_) => Ok(Step::Again),
            Method::ChannelOpen(_) => Err(Fault::new(Code::ChannelError, "second 'channel.open' seen")),
            Method::AccessRequest(_) => {
                put(out, number, &access::RequestOk { ticket: 1 });
                Ok(Step::Again)
            }
            method => self.topology_method(index, id, method, out),
        }
    }

    fn topology_method<'i>(
        &mut self,
        index: usize,
        id: (u16, u16),
        method: Method<'i>,
        out: &mut Output,
    ) -> Result<Step<'i>, Fault> {
        let number = self.channels[index].number;
        let (named, no_wait, arguments) = match method {
            Method::QueueDeclare(declare) if declare.queue.starts_with(REPLY_TO) => {
                return Ok(self.look_for_replies(number, id, declare.queue, declare.no_wait, out));
            }
            Method::QueueDeclare(declare) => {
                self.name(0, declare.queue);
                let table = declare.arguments.decode().map_err(bad_table)?;
                self.awaited = Awaited { no_wait: declare.no_wait, ..Awaited::new(Kind::DeclareQueue, number, id) };
                let what = Named::DeclareQueue {
                    passive: declare.passive,
                    durable: declare.durable,
                    exclusive: declare.exclusive,
                    auto_delete: declare.auto_delete,
                };
                return Ok(Step::Ask(Asked::Named { what, arguments: table }));
            }
            Method::QueueDelete(delete) => {
                self.name_queue(index, delete.queue)?;
                let what = Named::DeleteQueue { if_unused: delete.if_unused, if_empty: delete.if_empty };
                self.awaited = Awaited { no_wait: delete.no_wait, ..Awaited::new(Kind::Removed, number, id) };
                return Ok(named(what));
            }
            Method::QueuePurge(purge) => {
                self.name_queue(index, purge.queue)?;
                self.awaited = Awaited { no_wait: purge.no_wait, ..Awaited::new(Kind::Removed, number, id) };
                return Ok(named(Named::PurgeQueue));
            }
            Method::QueueBind(bind) => {
                self.name_binding(index, bind.queue, bind.exchange, bind.routing_key)?;
                (Named::Bind { to_queue: true }, bind.no_wait, bind.arguments)
            }
            Method::QueueUnbind(unbind) => {
                self.name_binding(index, unbind.queue, unbind.exchange, unbind.routing_key)?;
                (Named::Unbind { to_queue: true }, false, unbind.arguments)
            }
            Method::ExchangeDeclare(declare) => {
                self.name(0, declare.exchange);
                self.name(1, declare.kind);
                let what = Named::DeclareExchange {
                    passive: declare.passive,
                    durable: declare.durable,
                    auto_delete: declare.auto_delete,
                    internal: declare.internal,
                };
                (what, declare.no_wait, declare.arguments)
            }
            Method::ExchangeDelete(delete) => {
                self.name(0, delete.exchange);
                (Named::DeleteExchange { if_unused: delete.if_unused }, delete.no_wait, RawTable::default())
            }
            Method::ExchangeBind(bind) => {
                self.name(0, bind.destination);
                self.name(1, bind.source);
                self.set_name(2, bind.routing_key);
                (Named::Bind { to_queue: false }, bind.no_wait, bind.arguments)
            }
            Method::ExchangeUnbind(unbind) => {
                self.name(0, unbind.destination);
                self.name(1, unbind.source);
                self.set_name(2, unbind.routing_key);
                (Named::Unbind { to_queue: false }, unbind.no_wait, unbind.arguments)
            }
            _ => return Err(Fault::new(Code::CommandInvalid, "unimplemented method")),
        };
        let arguments = arguments.decode().map_err(bad_table)?;
        self.awaited = Awaited { no_wait, ..Awaited::new(Kind::Simple, number, id) };
        Ok(Step::Ask(Asked::Named { what: named, arguments }))
    }

    fn settle<'i>(&mut self, scope: Scope, id: (u16, u16), tag: u64, multiple: bool, outcome: Outcome) -> Step<'i> {
        self.awaited = Awaited { no_wait: true, ..Awaited::new(Kind::Simple, scope.0, id) };
        Step::Ask(Asked::Ready(Request::Settle { scope, tag: DeliveryTag(tag), multiple, outcome }))
    }

    /// A request whose answer is the plain `-ok` of its method.
    fn ask<'i>(&mut self, number: u16, id: (u16, u16), no_wait: bool, request: Request<'i>) -> Result<Step<'i>, Fault> {
        self.awaited = Awaited { no_wait, ..Awaited::new(Kind::Simple, number, id) };
        Ok(Step::Ask(Asked::Ready(request)))
    }

    pub(super) fn set_name(&mut self, at: usize, name: &str) {
        self.names[at].clear();
        self.names[at].push_str(name);
    }

    /// Names lose their line ends, as in RabbitMQ.
    pub(super) fn name(&mut self, at: usize, name: &str) {
        self.names[at].clear();
        self.names[at].extend(name.split(['\r', '\n']));
    }

    /// An empty queue name means the queue that was declared last, and so does one of nothing but line
    /// ends. True where it was that.
    pub(super) fn name_queue(&mut self, index: usize, queue: &str) -> Result<bool, Fault> {
        self.name(0, queue);
        let shortcut = self.names[0].is_empty();
        if shortcut {
            let last = &self.channels[index].last_queue;
            if last.is_empty() {
                return Err(Fault::new(Code::NotFound, "no previously declared queue"));
            }
            self.names[0].push_str(last);
        }
        Ok(shortcut)
    }

    /// Without queue and key, the last queue's name is the key too.
    fn name_binding(&mut self, index: usize, queue: &str, exchange: &str, routing_key: &str) -> Result<(), Fault> {
        let shortcut = self.name_queue(index, queue)?;
        self.name(1, exchange);
        if shortcut && routing_key.is_empty() {
            let [name, _, key] = &mut self.names;
            key.clone_from(name);
        } else {
            self.set_name(2, routing_key);
        }
        Ok(())
    }
}

pub(super) fn named<'i>(what: Named) -> Step<'i> {
    Step::Ask(Asked::Named { what, arguments: Table::default() })
}

pub(super) fn put<'m, M: MethodArguments<'m>>(out: &mut Output, channel: u16, method: &M) {
    out.write(|out| frame::put_method(out, channel, method));
}
