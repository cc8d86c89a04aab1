//! One broker process in a directory of its own.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Once};
use std::time::Duration;

use amqp::client::ClientEvent;
use amqp::codec::{Method, Properties, basic, queue};
use model::Table;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT};

use crate::cli::link::Link;
use crate::cli::url::Url;

/// Long enough for the slowest machine; nothing waits this long unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// `yam` with these arguments, not yet started, free of the caller's own settings. Kafka is spoken only where an argument
/// says so: its usual port may be taken.
pub fn command(arguments: &[&str]) -> Command {
    give_children_the_usual_signals();
    let mut command = Command::new(env!("CARGO_BIN_EXE_yam"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("YAM_") {
            command.env_remove(name);
        }
    }
    command.env("YAM_KAFKA_LISTEN", "none").args(arguments).stdin(Stdio::null());
    command
}

/// A test run in the background of a script, or under nohup, ignores SIGINT or SIGHUP, and what is started by it would too.
/// What has a handler here has the default in a child.
fn give_children_the_usual_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for signal in [SIGINT, SIGHUP, SIGQUIT] {
            signal_hook::flag::register_conditional_default(signal, Arc::new(AtomicBool::new(true))).unwrap();
        }
    });
}

/// Run it to its end.
pub fn output(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// What it said on standard error, and that it failed.
pub fn refused(output: &Output) -> String {
    let words = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(!output.status.success(), "it did not fail: {words}");
    words.trim_end().to_owned()
}

/// A running broker. Killed when dropped.
pub struct Yam {
    child: Child,
    _out: BufReader<ChildStdout>,
    pub addresses: Vec<SocketAddr>,
}

impl Yam {
    /// Start it over `data` and wait until it listens.
    pub fn start(data: &Path) -> Yam {
        Yam::start_with(data, &["--amqp-listen", "127.0.0.1:0"])
    }

    pub fn start_with(data: &Path, arguments: &[&str]) -> Yam {
        Yam::start_logging(data, arguments, "error", Stdio::inherit())
    }

    pub fn start_logging(data: &Path, arguments: &[&str], level: &str, log: impl Into<Stdio>) -> Yam {
        let mut command = command(&["serve", "--log-level", level, "--data-dir"]);
        command.arg(data).args(arguments).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap();
        let listeners = arguments.iter().filter(|argument| argument.ends_with("-listen")).count();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut addresses = Vec::new();
        while addresses.len() < listeners {
            let mut line = String::new();
            assert_ne!(out.read_line(&mut line).unwrap(), 0, "the broker did not start");
            let (protocol, address) = line.trim_end().split_once(" listening on ").expect("a line per listener and nothing else");
            assert!(matches!(protocol, "amqp" | "kafka"), "{line}");
            addresses.push(address.parse().unwrap());
        }
        Yam { child, _out: out, addresses }
    }

    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub fn url(&self) -> String {
        format!("amqp://guest:guest@{}/%2f", self.address())
    }

    /// A connection with channel 1 open.
    pub fn connect(&self) -> Link {
        Link::open(&self.url().parse::<Url>().unwrap()).unwrap()
    }

    /// A connection that has said nothing yet.
    pub fn raw(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// SIGTERM, and how it ended.
    pub fn terminate(mut self) -> ExitStatus {
        self.signal("-TERM");
        self.child.wait().unwrap()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Resident memory, in bytes.
    pub fn memory(&self) -> u64 {
        let path = format!("/proc/{}/statm", self.child.id());
        let text = std::fs::read_to_string(path).unwrap();
        text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    }

    /// That somebody else is served as if nothing had happened.
    pub fn assert_serves(&self) {
        let mut link = self.connect();
        declare(&mut link, "bystander", false);
        publish_confirmed(&mut link, "bystander", &[b"still here"], false);
        assert_eq!(drain(&mut link, "bystander"), [(b"still here".to_vec(), false)]);
        link.close().unwrap();
    }
}

impl Drop for Yam {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn declare(link: &mut Link, name: &str, durable: bool) {
    link.client.declare_queue(&mut link.out, 1, queue::Declare { queue: name, durable, ..Default::default() }, &Table::default());
    link.answer().unwrap();
}

/// Publish to a queue, and return when all is confirmed.
pub fn publish_confirmed(link: &mut Link, name: &str, bodies: &[&[u8]], persistent: bool) {
    link.client.confirm_select(&mut link.out, 1);
    link.answer().unwrap();
    let properties = if persistent { Properties::persistent() } else { Properties::default() };
    for body in bodies {
        link.client.publish(&mut link.out, 1, "", name, &properties, body);
    }
    let mut confirmed = 0;
    while confirmed < bodies.len() as u64 {
        let (tag, multiple) = link
            .next(Some(PATIENCE), &mut |event| match event {
                ClientEvent::Acked { tag, multiple, .. } => Ok(Some((tag, multiple))),
                _ => Ok(None),
            })
            .unwrap()
            .expect("no confirm");
        confirmed = if multiple { tag } else { confirmed + 1 };
    }
}

/// Take everything out of a queue with basic.get: bodies and redelivered flags.
pub fn drain(link: &mut Link, name: &str) -> Vec<(Vec<u8>, bool)> {
    let mut all = Vec::new();
    loop {
        link.client.get(&mut link.out, 1, name, true);
        let got = link
            .next(Some(PATIENCE), &mut |event| match event {
                ClientEvent::Got { message, redelivered, .. } => Ok(Some(Some((message.body.to_vec(), redelivered)))),
                ClientEvent::Empty { .. } => Ok(Some(None)),
                _ => Ok(None),
            })
            .unwrap()
            .expect("no answer to get");
        match got {
            Some(message) => all.push(message),
            None => return all,
        }
    }
}

/// Ready messages of a queue; the error's words where it is not there.
pub fn count(link: &mut Link, name: &str) -> Result<u32, String> {
    let declare = queue::Declare { queue: name, passive: true, ..Default::default() };
    link.client.send(&mut link.out, 1, &declare);
    let answer = link.next(Some(PATIENCE), &mut |event| match event {
        ClientEvent::Method { method: Method::QueueDeclareOk(ok), .. } => Ok(Some(ok.message_count)),
        _ => Ok(None),
    });
    answer.map(|count| count.expect("no answer")).map_err(|error| error.to_string())
}

pub fn consume(link: &mut Link, name: &str, no_ack: bool) {
    link.client.send(&mut link.out, 1, &basic::Consume { queue: name, no_ack, ..Default::default() });
    link.answer().unwrap();
}

/// What the broker says at last: everything until it closes the connection.
pub fn until_closed(link: &mut Link) -> String {
    match link.next::<()>(Some(PATIENCE), &mut |_| Ok(None)) {
        Ok(_) => panic!("the connection was not closed"),
        Err(error) => format!("{error:#}"),
    }
}

/// Everything a raw connection still receives, until it is closed.
pub fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Ok(_) => all,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => all,
        Err(error) => panic!("the connection was not closed: {error}"),
    }
}

/// Every file below a directory with its bytes, to see that nothing was touched.
pub fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let mut bytes = Vec::new();
                std::fs::File::options().read(true).open(&path).unwrap().read_to_end(&mut bytes).unwrap();
                all.push((path, bytes));
            }
        }
    }
    all.sort();
    all
}
