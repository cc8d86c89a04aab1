//! Who the client is: SASL PLAIN (KIP-43, KIP-152), or nobody in particular.
//!
//! A client that logs in says SaslHandshake, and then its tokens: bare ones behind their length after version 0, in
//! SaslAuthenticate after version 1. One that does not is the user guest, whom the broker lets in from this machine only.
//! It may log in again at any time, as the same user (KIP-368).

use model::{Request, limits};

use super::job::{Answer, Here};
use crate::codec::error_code::{SASL_AUTHENTICATION_FAILED, UNSUPPORTED_SASL_MECHANISM};
use crate::codec::{Message as _, sasl_authenticate, sasl_handshake};

const MECHANISM: &str = "PLAIN";
const GUEST: &str = "guest";
/// Topics and groups are those of this virtual host.
pub(super) const HOST: &str = "/";

/// What SASL expects next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sasl {
    /// A handshake, if anything.
    Nothing,
    /// The next frame is a token without a header.
    BareToken,
    Authenticate,
}

/// How the result is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// By what follows: the client has not asked for it.
    Tacitly,
    ByBareToken,
    /// By the response to SaslAuthenticate.
    ByResponse,
}

enum Step {
    Authenticate,
    OpenHost,
    Done,
    Failed,
}

/// A login under way.
pub(super) struct Login {
    pub user: String,
    password: Vec<u8>,
    pub told: Told,
    step: Step,
}

impl Login {
    pub fn guest() -> Login {
        Login { user: GUEST.into(), password: GUEST.into(), told: Told::Tacitly, step: Step::Authenticate }
    }

    /// A token of PLAIN: identity to act for, identity, password, with NUL between them (RFC 4616). `before`: who the
    /// connection belongs to already.
    pub fn plain(token: &[u8], told: Told, before: Option<&str>) -> Login {
        let mut login = Login { user: String::new(), password: Vec::new(), told, step: Step::Failed };
        let mut parts = token.splitn(3, |byte| *byte == 0);
        if let (Some(act_for), Some(user), Some(password)) = (parts.next(), parts.next(), parts.next())
            && (act_for.is_empty() || act_for == user)
            && user.len() <= limits::NAME_BYTES_MAX
            && let Ok(user) = std::str::from_utf8(user)
            && before.is_none_or(|before| before == user)
        {
            (login.user, login.password, login.step) = (user.into(), password.into(), Step::Authenticate);
        }
        login
    }

    pub fn ask(&self) -> Option<Request<'_>> {
        match self.step {
            Step::Authenticate => Some(Request::Authenticate { user: &self.user, password: &self.password }),
            Step::OpenHost => Some(Request::OpenHost { host: HOST }),
            Step::Done | Step::Failed => None,
        }
    }

    pub fn answered(&mut self, answer: &Answer) {
        self.step = match (answer, &self.step) {
            (Ok(_), Step::Authenticate) => Step::OpenHost,
            (Ok(_), _) => Step::Done,
            (Err(_), _) => Step::Failed,
        };
    }

    /// How it ended, if it has.
    pub fn result(&self) -> Option<bool> {
        match self.step {
            Step::Authenticate | Step::OpenHost => None,
            Step::Done => Some(true),
            Step::Failed => Some(false),
        }
    }
}

/// Key 17. Versions 0 and 1 differ in how the tokens follow. Returns what SASL expects next, if the mechanism is known.
pub(super) fn handshake(request: &sasl_handshake::Request<'_>, here: &Here<'_>, out: &mut Vec<u8>) -> Option<Sasl> {
    let known = request.mechanism == MECHANISM;
    let error_code = if known { 0 } else { UNSUPPORTED_SASL_MECHANISM };
    sasl_handshake::Response { error_code, mechanisms: vec![MECHANISM] }.encode(out, here.version);
    known.then_some(if here.version == 0 { Sasl::BareToken } else { Sasl::Authenticate })
}

/// Key 36. Sessions have no end of their own: nobody needs to log in again.
pub(super) fn authenticated(granted: bool, version: i16, out: &mut Vec<u8>) {
    let mut response = sasl_authenticate::Response::default();
    if !granted {
        response.error_code = SASL_AUTHENTICATION_FAILED;
        response.error_message = Some("Authentication failed: Invalid username or password");
    }
    response.encode(out, version);
}
