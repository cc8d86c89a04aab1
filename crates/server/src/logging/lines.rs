//! Lines on their way to standard error: a buffer that has its bound, and a thread that writes.
//!
//! Lines that find no room are dropped, and so are those whose write fails. How many is said as soon as a write works again.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use super::limit::Limit;
use super::text;

/// What waits to be written, in bytes; once more as much may be on its way.
const WAITING_BYTES_MAX: usize = 1024 * 1024;
/// Pause before a write is tried again on a descriptor that does not wait.
const RETRY: Duration = Duration::from_millis(20);
/// How often what was left out is looked at, while there is something.
const TICK: Duration = Duration::from_secs(1);
/// The target of lines about the log itself: they are not limited.
pub const ABOUT: &str = "yam::log";

/// The near end. Cheap to clone.
#[derive(Clone)]
pub struct Lines {
    shared: Arc<Shared>,
    json: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    /// Lines that nobody will see, since the last line about them.
    dropped: u64,
    /// The thread holds lines that are not written yet.
    writing: bool,
    /// Lines were left out by the limit, and somebody must say so in time.
    ticks: bool,
}

impl Lines {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(out: impl Write + Send + 'static, json: bool, limit: Arc<Limit>) -> io::Result<Lines> {
        let lines = Lines { shared: Arc::default(), json };
        let shared = Arc::clone(&lines.shared);
        std::thread::Builder::new().name("log".into()).spawn(move || shared.write_for_ever(out, &limit))?;
        Ok(lines)
    }

    fn push(&self, line: &[u8], bytes_max: usize) {
        let mut state = self.shared.lock();
        if state.waiting.len() + line.len() > bytes_max {
            state.dropped += 1;
            return;
        }
        state.waiting.extend_from_slice(line);
        drop(state);
        self.shared.changed.notify_all();
    }

    /// A line that finds room even if others did not.
    pub fn push_last(&self, line: &[u8]) {
        self.push(line, 2 * WAITING_BYTES_MAX);
    }

    /// Something was left out: look again and again until it was said.
    pub fn tick(&self) {
        self.shared.lock().ticks = true;
        self.shared.changed.notify_all();
    }

    /// Wait until everything is written, or for so long.
    pub fn flush(&self, patience: Duration) {
        let busy = |state: &mut State| state.writing || !state.waiting.is_empty();
        drop(self.shared.changed.wait_timeout_while(self.shared.lock(), patience, busy));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_for_ever(&self, mut out: impl Write, limit: &Limit) {
        loop {
            let lines = self.next();
            let lost = if lines.is_empty() { 0 } else { write(&mut out, &lines) };
            let mut state = self.lock();
            state.writing = false;
            state.dropped += lost;
            let dropped = if lost == 0 && !lines.is_empty() { std::mem::take(&mut state.dropped) } else { 0 };
            drop(state);
            if dropped > 0 {
                tracing::error!(target: ABOUT, lines = dropped, "lines of this log were dropped: its reader was gone or too slow");
            }
            self.lock().ticks = false;
            let more = limit.report(false);
            self.lock().ticks |= more;
            self.changed.notify_all();
        }
    }

    /// The lines to write next; none where it is time to look at what was left out.
    fn next(&self) -> Vec<u8> {
        let mut state = self.lock();
        while state.waiting.is_empty() {
            if state.ticks {
                let (guard, waited) = self.changed.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner);
                state = guard;
                if waited.timed_out() {
                    break;
                }
            } else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        state.writing = !state.waiting.is_empty();
        std::mem::take(&mut state.waiting)
    }
}

/// Write all of it. Returns how many lines were not written.
fn write(out: &mut impl Write, mut lines: &[u8]) -> u64 {
    while !lines.is_empty() {
        match out.write(lines) {
            Ok(count @ 1..) => lines = lines.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            #[expect(clippy::disallowed_methods, reason = "this thread has nothing else to do")]
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(RETRY),
            Ok(_) | Err(_) => return lines.iter().filter(|byte| **byte == b'\n').count() as u64,
        }
    }
    0
}

/// One line being written.
pub struct Line<'a> {
    lines: &'a Lines,
    bytes_max: usize,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { lines: self, bytes_max: WAITING_BYTES_MAX }
    }

    fn make_writer_for(&'a self, line: &tracing::Metadata<'_>) -> Line<'a> {
        let bytes_max = if line.target() == ABOUT { 2 * WAITING_BYTES_MAX } else { WAITING_BYTES_MAX };
        Line { lines: self, bytes_max }
    }
}

impl Write for Line<'_> {
    /// Called once, with the whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lines.json {
            self.lines.push(text::json(line).as_bytes(), self.bytes_max);
        } else {
            self.lines.push(line, self.bytes_max);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A pipe whose reader can go and come back, or stand still.
    struct Pipe {
        /// Each write waits for its word.
        words: mpsc::Receiver<io::Result<()>>,
        written: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.words.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))??;
            let _ = self.written.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn started() -> (Lines, mpsc::Sender<io::Result<()>>, mpsc::Receiver<Vec<u8>>) {
        let (word, words) = mpsc::channel();
        let (written, seen) = mpsc::channel();
        (Lines::start(Pipe { words, written }, false, Arc::new(Limit::start())).unwrap(), word, seen)
    }

    fn dropped(lines: &Lines) -> u64 {
        lines.shared.lock().dropped
    }

    /// A reader that stood still made the core wait for it.
    #[test]
    fn nobody_waits_for_a_reader_that_stands_still_and_what_finds_no_room_is_counted() {
        let (lines, word, seen) = started();
        let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
        for _ in 0..10 * WAITING_BYTES_MAX / line.len() {
            lines.make_writer().write_all(&line).unwrap();
        }
        let kept = {
            let state = lines.shared.lock();
            assert!(state.waiting.len() <= WAITING_BYTES_MAX);
            10 * WAITING_BYTES_MAX / line.len() - usize::try_from(state.dropped).unwrap()
        };
        assert!(dropped(&lines) > 0);
        // It reads on: what was kept comes, and nothing twice.
        let mut came = 0;
        while came < kept * line.len() {
            word.send(Ok(())).unwrap();
            came += seen.recv().unwrap().len();
        }
        assert_eq!(came, kept * line.len());
    }

    /// The line after the reader had gone ended the process.
    #[test]
    fn what_fails_to_be_written_is_counted_and_the_next_line_is_tried_again() {
        let (lines, word, seen) = started();
        lines.make_writer().write_all(b"one\ntwo\n").unwrap();
        word.send(Err(io::ErrorKind::BrokenPipe.into())).unwrap();
        lines.flush(Duration::from_secs(60));
        assert_eq!(dropped(&lines), 2);
        lines.make_writer().write_all(b"three\n").unwrap();
        word.send(Ok(())).unwrap();
        assert_eq!(seen.recv().unwrap(), b"three\n");
        lines.flush(Duration::from_secs(60));
        assert_eq!(dropped(&lines), 0, "it was said");
    }
}
