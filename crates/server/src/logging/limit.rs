//! How often one address may cause a line, so that nobody can fill the log, or hide in it what others did.
//!
//! Each kind of line has an account per address: a burst, and after it a line a second. What is left out is counted, and
//! said in a line of its own. Lines that name no peer have one account for each kind.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::lines::{ABOUT, Lines};

/// Lines of one kind at once ...
const BURST: u64 = 100;
/// ... and one more each so many milliseconds.
const PACE_MS: u64 = 1_000;
/// What was left out is said at the latest after so many milliseconds.
const SUMMARY_MS: u64 = 5_000;
/// Accounts kept; addresses beyond that share theirs.
const ACCOUNTS_MAX: usize = 4_096;
/// Who has no account of its own.
const OTHERS: &str = "many others";
/// Most bytes of a message that a summary repeats.
const LIKE_BYTES_MAX: usize = 120;

/// All accounts.
pub struct Limit {
    start: Instant,
    accounts: Mutex<Accounts>,
}

#[derive(Default)]
struct Accounts {
    all: HashMap<(String, Identifier), Account>,
    /// Accounts that nobody uses any more were looked for last.
    swept_ms: u64,
}

struct Account {
    /// When the lines that were written are paid for.
    paid_at_ms: u64,
    left_out: u64,
    /// When the first of them was.
    since_ms: u64,
    like: String,
    level: Level,
}

/// What is said of lines that were left out.
#[derive(Debug, PartialEq, Eq)]
struct Summary {
    peer: String,
    lines: u64,
    like: String,
    level: Level,
}

impl Accounts {
    /// Whether this line is written.
    fn admit(&mut self, peer: String, event: &Event<'_>, now_ms: u64) -> bool {
        let kind = event.metadata().callsite();
        let mut key = (peer, kind.clone());
        if self.all.len() >= ACCOUNTS_MAX && !self.all.contains_key(&key) {
            self.sweep(now_ms);
            if self.all.len() >= ACCOUNTS_MAX {
                key = (OTHERS.to_owned(), kind);
            }
        }
        let account = self.all.entry(key).or_insert_with(|| Account {
            paid_at_ms: 0,
            left_out: 0,
            since_ms: 0,
            like: String::new(),
            level: *event.metadata().level(),
        });
        if account.spend(now_ms) {
            return true;
        }
        if account.left_out == 0 {
            account.since_ms = now_ms;
            account.like = message(event);
        }
        account.left_out += 1;
        false
    }

    /// Forget accounts that are as good as new.
    fn sweep(&mut self, now_ms: u64) {
        if now_ms >= self.swept_ms + PACE_MS {
            self.swept_ms = now_ms;
            self.all.retain(|_, account| account.left_out > 0 || account.paid_at_ms > now_ms);
        }
    }

    /// What is to be said now, and whether something is to be said later.
    fn due(&mut self, now_ms: u64, all: bool) -> (Vec<Summary>, bool) {
        let (mut due, mut more) = (Vec::new(), false);
        for ((peer, _), account) in &mut self.all {
            if account.left_out == 0 {
                continue;
            }
            if !all && now_ms < account.since_ms + SUMMARY_MS {
                more = true;
                continue;
            }
            let lines = std::mem::take(&mut account.left_out);
            due.push(Summary { peer: peer.clone(), lines, like: std::mem::take(&mut account.like), level: account.level });
        }
        (due, more)
    }
}

impl Account {
    fn spend(&mut self, now_ms: u64) -> bool {
        let paid_at = self.paid_at_ms.max(now_ms) + PACE_MS;
        if paid_at - now_ms > BURST * PACE_MS {
            return false;
        }
        self.paid_at_ms = paid_at;
        true
    }
}

impl Limit {
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the roof reads the clock")]
    pub fn start() -> Limit {
        Limit { start: Instant::now(), accounts: Mutex::default() }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Say what was left out for long enough, or all of it. True: there is more to say later.
    pub fn report(&self, all: bool) -> bool {
        let (due, more) = self.accounts().due(self.now_ms(), all);
        for Summary { peer, lines, like, level } in due {
            // Visible wherever the lines would have been.
            if level <= Level::WARN {
                tracing::warn!(target: ABOUT, peer, lines, like, "lines were left out: too many of the kind");
            } else {
                tracing::info!(target: ABOUT, peer, lines, like, "lines were left out: too many of the kind");
            }
        }
        more
    }
}

/// Where lines stop that are too many.
pub struct Gate {
    limit: Arc<Limit>,
    lines: Lines,
}

impl Gate {
    #[must_use]
    pub fn new(limit: Arc<Limit>, lines: Lines) -> Gate {
        Gate { limit, lines }
    }
}

impl<S: Subscriber> Layer<S> for Gate {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        if event.metadata().target() == ABOUT {
            return true;
        }
        let mut peer = Text { name: "peer", text: String::new() };
        event.record(&mut peer);
        let admitted = self.limit.accounts().admit(network(&peer.text), event, self.limit.now_ms());
        if !admitted {
            self.lines.tick();
        }
        admitted
    }
}

/// An address without its port. Of IPv6 everybody has a whole network.
fn network(peer: &str) -> String {
    let host = peer.rsplit_once(':').map_or(peer, |(host, _)| host);
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match host.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V6(ip)) if !ip.is_loopback() => {
            let [a, b, c, d, ..] = ip.segments();
            format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        Ok(ip) => ip.to_string(),
        Err(_) => host.to_owned(),
    }
}

fn message(event: &Event<'_>) -> String {
    let mut message = Text { name: "message", text: String::new() };
    event.record(&mut message);
    message.text.truncate(message.text.floor_char_boundary(LIKE_BYTES_MAX));
    message.text
}

/// Takes down one field.
struct Text {
    name: &'static str,
    text: String,
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == self.name {
            value.clone_into(&mut self.text);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == self.name {
            let _ = write!(self.text, "{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account { paid_at_ms: 0, left_out: 0, since_ms: 0, like: String::new(), level: Level::INFO }
    }

    #[test]
    fn a_burst_is_written_and_then_a_line_a_second() {
        let mut account = account();
        assert_eq!((0..1_000).filter(|_| account.spend(5_000)).count(), 100);
        assert_eq!((5_000..15_000).filter(|now| account.spend(*now)).count(), 9);
        assert_eq!((0..1_000).filter(|_| account.spend(200_000)).count(), 100);
    }

    #[test]
    fn an_address_has_one_account_whatever_its_port() {
        assert_eq!(network("127.0.0.1:4711"), "127.0.0.1");
        assert_eq!(network("[::1]:4711"), "::1");
        assert_eq!(network("[::ffff:10.0.0.1]:4711"), "10.0.0.1");
        assert_eq!(network("[2001:db8:1:2:3:4:5:6]:4711"), "2001:db8:1:2::/64");
        assert_eq!(network(""), "");
    }
}
