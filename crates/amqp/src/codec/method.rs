//! Any method, by its class and method number.

use super::wire::{MethodArguments, Reader, WireError};
use super::{access, basic, channel, confirm, connection, exchange, frame, queue, tx};

/// Why a method frame could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MethodError {
    #[error("unknown method {class}.{method}")]
    Unknown { class: u16, method: u16 },
    /// The frame is too short to hold the two numbers.
    #[error("method frame without a method")]
    Empty,
    #[error("cannot decode method {class}.{method}: {cause}")]
    Arguments { class: u16, method: u16, cause: WireError },
}

macro_rules! any_method {
    ($($variant:ident($kind:ty)),* $(,)?) => {
        /// A method with its arguments, borrowed from the frame.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum Method<'a> {
            $($variant($kind),)*
        }

        impl<'a> Method<'a> {
            /// Read the payload of a method frame.
            ///
            /// # Errors
            /// [`MethodError`] where it is no method of this protocol or its arguments are malformed.
            pub fn decode(payload: &'a [u8]) -> Result<Method<'a>, MethodError> {
                let mut reader = Reader::new(payload);
                let (Ok(class), Ok(method)) = (reader.u16(), reader.u16()) else {
                    return Err(MethodError::Empty);
                };
                let decoded = match (class, method) {
                    $((<$kind as MethodArguments>::CLASS, <$kind as MethodArguments>::METHOD) =>
                        <$kind as MethodArguments>::decode(&mut reader).map(Method::$variant),)*
                    _ => return Err(MethodError::Unknown { class, method }),
                };
                match decoded {
                    Ok(decoded) if reader.is_empty() => Ok(decoded),
                    Ok(_) => Err(MethodError::Arguments { class, method, cause: WireError::Trailing }),
                    Err(cause) => Err(MethodError::Arguments { class, method, cause }),
                }
            }

            /// Append the method as a frame.
            pub fn put(&self, out: &mut Vec<u8>, channel: u16) {
                match self {
                    $(Method::$variant(arguments) => frame::put_method(out, channel, arguments),)*
                }
            }

            /// Its class and method numbers.
            #[must_use]
            pub fn id(&self) -> (u16, u16) {
                match self {
                    $(Method::$variant(_) => (<$kind as MethodArguments>::CLASS, <$kind as MethodArguments>::METHOD),)*
                }
            }

            /// The name that belongs to these numbers.
            #[must_use]
            pub fn name_of(id: (u16, u16)) -> Option<&'static str> {
                $(
                    if id == (<$kind as MethodArguments>::CLASS, <$kind as MethodArguments>::METHOD) {
                        return Some(<$kind as MethodArguments>::NAME);
                    }
                )*
                None
            }

            /// Its name as the specification writes it: `queue.declare-ok`.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $(Method::$variant(_) => <$kind as MethodArguments>::NAME,)*
                }
            }
        }
    };
}

any_method! {
    ConnectionStart(connection::Start<'a>),
    ConnectionStartOk(connection::StartOk<'a>),
    ConnectionSecure(connection::Secure<'a>),
    ConnectionSecureOk(connection::SecureOk<'a>),
    ConnectionTune(connection::Tune),
    ConnectionTuneOk(connection::TuneOk),
    ConnectionOpen(connection::Open<'a>),
    ConnectionOpenOk(connection::OpenOk<'a>),
    ConnectionClose(connection::Close<'a>),
    ConnectionCloseOk(connection::CloseOk),
    ConnectionBlocked(connection::Blocked<'a>),
    ConnectionUnblocked(connection::Unblocked),
    ConnectionUpdateSecret(connection::UpdateSecret<'a>),
    ConnectionUpdateSecretOk(connection::UpdateSecretOk),
    ChannelOpen(channel::Open<'a>),
    ChannelOpenOk(channel::OpenOk<'a>),
    ChannelFlow(channel::Flow),
    ChannelFlowOk(channel::FlowOk),
    ChannelClose(channel::Close<'a>),
    ChannelCloseOk(channel::CloseOk),
    AccessRequest(access::Request<'a>),
    AccessRequestOk(access::RequestOk),
    ExchangeDeclare(exchange::Declare<'a>),
    ExchangeDeclareOk(exchange::DeclareOk),
    ExchangeDelete(exchange::Delete<'a>),
    ExchangeDeleteOk(exchange::DeleteOk),
    ExchangeBind(exchange::Bind<'a>),
    ExchangeBindOk(exchange::BindOk),
    ExchangeUnbind(exchange::Unbind<'a>),
    ExchangeUnbindOk(exchange::UnbindOk),
    QueueDeclare(queue::Declare<'a>),
    QueueDeclareOk(queue::DeclareOk<'a>),
    QueueBind(queue::Bind<'a>),
    QueueBindOk(queue::BindOk),
    QueuePurge(queue::Purge<'a>),
    QueuePurgeOk(queue::PurgeOk),
    QueueDelete(queue::Delete<'a>),
    QueueDeleteOk(queue::DeleteOk),
    QueueUnbind(queue::Unbind<'a>),
    QueueUnbindOk(queue::UnbindOk),
    BasicQos(basic::Qos),
    BasicQosOk(basic::QosOk),
    BasicConsume(basic::Consume<'a>),
    BasicConsumeOk(basic::ConsumeOk<'a>),
    BasicCancel(basic::Cancel<'a>),
    BasicCancelOk(basic::CancelOk<'a>),
    BasicPublish(basic::Publish<'a>),
    BasicReturn(basic::Return<'a>),
    BasicDeliver(basic::Deliver<'a>),
    BasicGet(basic::Get<'a>),
    BasicGetOk(basic::GetOk<'a>),
    BasicGetEmpty(basic::GetEmpty<'a>),
    BasicAck(basic::Ack),
    BasicReject(basic::Reject),
    BasicRecoverAsync(basic::RecoverAsync),
    BasicRecover(basic::Recover),
    BasicRecoverOk(basic::RecoverOk),
    BasicNack(basic::Nack),
    TxSelect(tx::Select),
    TxSelectOk(tx::SelectOk),
    TxCommit(tx::Commit),
    TxCommitOk(tx::CommitOk),
    TxRollback(tx::Rollback),
    TxRollbackOk(tx::RollbackOk),
    ConfirmSelect(confirm::Select),
    ConfirmSelectOk(confirm::SelectOk),
}
