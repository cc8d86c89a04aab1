//! What goes wrong, in RabbitMQ's codes and words.
//!
//! A soft error closes the channel, a hard one the connection; a soft error on channel 0 is hard.
//! `reply-text` is `NAME - explanation`, cut at 255 bytes.

use model::{Complaint, Failure, limits};

use crate::codec::method::MethodError;
use crate::codec::wire::WireError;
use crate::codec::{FrameError, Method};
use crate::translate::PublishError;

/// A reply code of AMQP 0-9-1, section 1.2 of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Code {
    NoRoute = 312,
    ConnectionForced = 320,
    AccessRefused = 403,
    NotFound = 404,
    ResourceLocked = 405,
    PreconditionFailed = 406,
    FrameError = 501,
    SyntaxError = 502,
    CommandInvalid = 503,
    ChannelError = 504,
    UnexpectedFrame = 505,
    ResourceError = 506,
    NotAllowed = 530,
    NotImplemented = 540,
    InternalError = 541,
}

impl Code {
    fn name(self) -> &'static str {
        match self {
            Code::NoRoute => "NO_ROUTE",
            Code::ConnectionForced => "CONNECTION_FORCED",
            Code::AccessRefused => "ACCESS_REFUSED",
            Code::NotFound => "NOT_FOUND",
            Code::ResourceLocked => "RESOURCE_LOCKED",
            Code::PreconditionFailed => "PRECONDITION_FAILED",
            Code::FrameError => "FRAME_ERROR",
            Code::SyntaxError => "SYNTAX_ERROR",
            Code::CommandInvalid => "COMMAND_INVALID",
            Code::ChannelError => "CHANNEL_ERROR",
            Code::UnexpectedFrame => "UNEXPECTED_FRAME",
            Code::ResourceError => "RESOURCE_ERROR",
            Code::NotAllowed => "NOT_ALLOWED",
            Code::NotImplemented => "NOT_IMPLEMENTED",
            Code::InternalError => "INTERNAL_ERROR",
        }
    }

    /// Whether the whole connection must end.
    fn is_hard(self) -> bool {
        !matches!(self, Code::NoRoute | Code::AccessRefused | Code::NotFound | Code::ResourceLocked | Code::PreconditionFailed)
    }
}

/// A fault of the peer, or a request that the broker refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: Code,
    text: String,
    /// The method at fault; 0.0 where there is none.
    pub(super) class: u16,
    pub(super) method: u16,
    /// The stream cannot be followed any more: read nothing that comes after.
    pub(super) out_of_step: bool,
}

impl Fault {
    pub(super) fn new(code: Code, text: impl Into<String>) -> Fault {
        Fault { code, text: text.into(), class: 0, method: 0, out_of_step: false }
    }

    /// Name the method at fault, unless one is named.
    pub(super) fn of(mut self, (class, method): (u16, u16)) -> Fault {
        if (self.class, self.method) == (0, 0) {
            (self.class, self.method) = (class, method);
        }
        self
    }

    pub(super) fn is_hard(&self) -> bool {
        self.code.is_hard()
    }

    pub(super) fn reply_code(&self) -> u16 {
        self.code as u16
    }

    /// As the log has it.
    pub(super) fn complaint(&self) -> Complaint {
        let operation = Method::name_of((self.class, self.method)).unwrap_or_default();
        Complaint { text: self.reply_text(), code: self.reply_code(), operation, ends_connection: true }
    }

    pub(super) fn reply_text(&self) -> String {
        let mut text = format!("{} - {}", self.code.name(), self.text);
        let mut len = text.len().min(limits::NAME_BYTES_MAX);
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        text.truncate(len);
        text
    }
}

impl From<FrameError> for Fault {
    fn from(error: FrameError) -> Fault {
        Fault { out_of_step: true, ..Fault::new(Code::FrameError, error.to_string()) }
    }
}

impl From<MethodError> for Fault {
    fn from(error: MethodError) -> Fault {
        let text = error.to_string();
        match error {
            MethodError::Empty => Fault::new(Code::FrameError, text),
            MethodError::Unknown { class, method } => Fault::new(Code::CommandInvalid, text).of((class, method)),
            MethodError::Arguments { class, method, .. } => Fault::new(Code::FrameError, text).of((class, method)),
        }
    }
}

impl From<PublishError> for Fault {
    fn from(error: PublishError) -> Fault {
        let code = match error {
            PublishError::Malformed(_) => Code::FrameError,
            PublishError::Expiration { .. } | PublishError::NoReplyConsumer | PublishError::KeysHeader { .. } => {
                Code::PreconditionFailed
            }
        };
        Fault::new(code, error.to_string())
    }
}

/// A table among a method's arguments cannot be read.
pub(super) fn bad_table(error: WireError) -> Fault {
    Fault::new(Code::SyntaxError, format!("malformed table: {error}"))
}

/// The broker's refusals.
impl From<Failure> for Fault {
    fn from(failure: Failure) -> Fault {
        let mut text = failure.to_string();
        if let Failure::NotForStreams { what, .. } = &failure {
            let method = match *what {
                "get" => "basic.get",
                "purge" => "queue.purge",
                "reject" => "basic.nack and basic.reject",
                "recover" => "basic.recover",
                other => other,
            };
            text = text.replacen(what, method, 1);
        }
        let code = match failure {
            Failure::LoginRefused { .. }
            | Failure::ExclusiveUse { .. }
            | Failure::ReservedName { .. }
            | Failure::DefaultExchange
            | Failure::SystemExchange { .. }
            | Failure::InternalExchange { .. } => Code::AccessRefused,
            // RabbitMQ's code for a queue that is declared and not to be had.
            Failure::NotFound { .. } | Failure::Damaged(_) => Code::NotFound,
            Failure::Locked { .. } => {
                text.push_str(
                    ". It could be originally declared on another connection or the exclusive property value does not \
                     match that of the original declaration.",
                );
                Code::ResourceLocked
            }
            Failure::InUse { .. }
            | Failure::NotEmpty { .. }
            | Failure::Inequivalent { .. }
            | Failure::InvalidArgument { .. }
            | Failure::InvalidProperty { .. }
            | Failure::UnsupportedArgument { .. }
            | Failure::NoPrefetch { .. }
            | Failure::UnknownExchangeType { .. }
            | Failure::InvalidBinding(_)
            | Failure::UnknownDeliveryTag(_)
            | Failure::UserMismatch { .. }
            | Failure::Log(_)
            | Failure::LogBecause { .. }
            | Failure::BadRecords { .. }
            | Failure::MemberIdRequired { .. }
            | Failure::LimitReached(_) => Code::PreconditionFailed,
            Failure::NoSuchHost { .. } => Code::NotAllowed,
            Failure::NotImplemented(_) | Failure::NotForStreams { .. } => Code::NotImplemented,
        };
        Fault::new(code, text)
    }
}
