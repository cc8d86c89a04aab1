//! The real binary, started, killed and started again.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use model::planted::Bug;

/// Where it listens.
#[derive(Clone, Copy, Debug)]
pub struct Listeners {
    pub amqp: SocketAddr,
    pub kafka: SocketAddr,
}

pub struct Broker {
    child: Child,
    log: PathBuf,
}

impl Broker {
    /// Start it on a port of its own choice, with this much of the journal in memory. Its log is appended to `log`.
    /// `planted`: a bug that it shall have, for a binary that can have one.
    pub fn start(binary: &Path, planted: Option<Bug>, data: &Path, log: &Path, cache: &str) -> anyhow::Result<Broker> {
        let log_file = File::options().create(true).append(true).open(log)?;
        let child = Command::new(binary)
            .args(["serve", "--amqp-listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0", "--cache-size", cache])
            .args(["--group-initial-rebalance-delay-ms", "0", "--data-dir"])
            .arg(data)
            .env_remove("YAM_CONFIG")
            .envs(planted.map(|bug| ("YAM_PLANTED", bug.name())))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log_file)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        Ok(Broker { child, log: log.to_owned() })
    }

    /// Wait until it listens.
    pub fn ready(&mut self) -> anyhow::Result<Listeners> {
        let Some(out) = self.child.stdout.take() else { bail!("waited for the broker twice") };
        let mut amqp = None;
        for line in BufReader::new(out).lines() {
            let line = line?;
            if let Some(address) = line.strip_prefix("amqp listening on ") {
                amqp = Some(address.trim().parse()?);
            } else if let (Some(amqp), Some(address)) = (amqp, line.strip_prefix("kafka listening on ")) {
                return Ok(Listeners { amqp, kafka: address.trim().parse()? });
            }
        }
        let status = self.child.wait()?;
        bail!("the broker did not start ({status}); see {}", self.log.display())
    }

    /// It must not end by itself.
    pub fn assert_running(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the broker ended by itself ({status}); see {}", self.log.display()),
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM; it must end in order, and soon.
    pub fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        let pid = self.child.id().to_string();
        crate::processes::run(Command::new("kill").args(["-TERM", &pid]))?;
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if begin.elapsed() > Duration::from_secs(20) {
                self.kill()?;
                bail!("the broker did not stop within 20 s of SIGTERM; see {}", self.log.display());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
