//! Why a request failed. Each protocol maps these to its own codes and words in one file.

use std::fmt;

/// The kind of thing an error speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Queue,
    Exchange,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Subject::Queue => "queue",
            Subject::Exchange => "exchange",
        })
    }
}

/// Why a request failed. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("login refused for user '{user}'")]
    LoginRefused { user: String },
    #[error("vhost {host} not found")]
    NoSuchHost { host: String },
    #[error("no {subject} '{name}' in vhost '{host}'")]
    NotFound { subject: Subject, name: String, host: String },
    /// Somebody else's exclusive queue.
    #[error("cannot obtain exclusive access to locked queue '{name}' in vhost '{host}'")]
    Locked { name: String, host: String },
    /// An exclusive subscription stands in the way, or others stand in the way of one.
    #[error("queue '{name}' in vhost '{host}' in exclusive use")]
    ExclusiveUse { name: String, host: String },
    #[error("{subject} '{name}' in vhost '{host}' in use")]
    InUse { subject: Subject, name: String, host: String },
    #[error("queue '{name}' in vhost '{host}' not empty")]
    NotEmpty { name: String, host: String },
    /// `received` and `current` are worded for people: `'true'`, `the value '5' of type 'signedint'`, `none`.
    #[error(
        "inequivalent arg '{argument}' for {subject} '{name}' in vhost '{host}': received {received} but current is {current}"
    )]
    Inequivalent { subject: Subject, name: String, host: String, argument: Box<str>, received: Box<str>, current: Box<str> },
    #[error("invalid arg '{argument}' for {subject} '{name}' in vhost '{host}': {reason}")]
    InvalidArgument { subject: Subject, name: String, host: String, argument: String, reason: String },
    #[error("{subject} name '{name}' contains reserved prefix 'amq.*'")]
    ReservedName { subject: Subject, name: String },
    #[error("operation not permitted on the default exchange")]
    DefaultExchange,
    #[error("deletion of system exchange '{name}' in vhost '{host}' not allowed")]
    SystemExchange { name: String, host: String },
    #[error("cannot publish to internal exchange '{name}' in vhost '{host}'")]
    InternalExchange { name: String, host: String },
    #[error("unknown exchange type '{kind}'")]
    UnknownExchangeType { kind: String },
    #[error("{0}")]
    InvalidBinding(String),
    #[error("unknown delivery tag {0}")]
    UnknownDeliveryTag(u64),
    #[error("user_id property set to '{claimed}' but authenticated user was '{user}'")]
    UserMismatch { claimed: String, user: String },
    #[error("message size {size} is larger than configured max size {max}")]
    TooLarge { size: usize, max: usize },
    /// A bound of [`crate::limits`] is reached; the text says which.
    #[error("{0}")]
    LimitReached(String),
    /// The feature is known and not offered.
    #[error("{0}")]
    NotImplemented(String),
    /// The log is damaged or its file cannot be read; the text names it.
    #[error("{0}")]
    Damaged(String),
}
