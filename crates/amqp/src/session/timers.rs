//! Heartbeats and the patience with a peer that does not finish what it began.

use model::Now;

/// When the session wants to be woken, in [`Now::mono_ms`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Timers {
    /// The handshake, or the end of the connection, must be over by then.
    deadline: Option<u64>,
    /// 0: no heartbeats.
    interval_ms: u64,
    next_tick: u64,
    last_sent: u64,
    last_received: u64,
}

/// What the moment calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    SendHeartbeat,
    /// The peer has been silent for two intervals.
    PeerIsDead,
    DeadlinePassed,
}

impl Timers {
    pub(super) fn new(now: Now, deadline_ms: u64) -> Timers {
        Timers {
            deadline: Some(now.mono_ms + deadline_ms),
            interval_ms: 0,
            next_tick: 0,
            last_sent: now.mono_ms,
            last_received: now.mono_ms,
        }
    }

    pub(super) fn sent(&mut self, now: Now) {
        self.last_sent = now.mono_ms;
    }

    pub(super) fn received(&mut self, now: Now) {
        self.last_received = now.mono_ms;
    }

    pub(super) fn start_heartbeats(&mut self, interval_s: u16, now: Now) {
        self.interval_ms = u64::from(interval_s) * 1000;
        self.next_tick = now.mono_ms + self.interval_ms / 2;
    }

    pub(super) fn set_deadline(&mut self, now: Now, after_ms: u64) {
        self.deadline = Some(now.mono_ms + after_ms);
    }

    pub(super) fn clear_deadline(&mut self) {
        self.deadline = None;
    }

    pub(super) fn stop_heartbeats(&mut self) {
        self.interval_ms = 0;
    }

    pub(super) fn next(&self) -> Option<u64> {
        let tick = (self.interval_ms > 0).then_some(self.next_tick);
        match (self.deadline, tick) {
            (Some(deadline), Some(tick)) => Some(deadline.min(tick)),
            (deadline, tick) => deadline.or(tick),
        }
    }

    /// `deaf`: we have not been reading, so the peer's silence says nothing.
    pub(super) fn due(&mut self, now: Now, deaf: bool) -> Due {
        if self.deadline.is_some_and(|deadline| deadline <= now.mono_ms) {
            return Due::DeadlinePassed;
        }
        if self.interval_ms == 0 || now.mono_ms < self.next_tick {
            return Due::Nothing;
        }
        if deaf {
            self.last_received = now.mono_ms;
        }
        if now.mono_ms >= self.last_received + 2 * self.interval_ms {
            return Due::PeerIsDead;
        }
        let half = self.interval_ms / 2;
        if now.mono_ms >= self.last_sent + half {
            self.next_tick = now.mono_ms + half;
            return Due::SendHeartbeat;
        }
        self.next_tick = self.last_sent + half;
        Due::Nothing
    }
}
