//! RabbitMQ as Debian has it, without plug-ins, and otherwise as it comes.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};

use super::remember;

/// The server.
pub fn command(script: &Path, folder: &Path, ports: [u16; 3]) -> Result<Command> {
    let configuration = folder.join("rabbitmq.conf");
    // The default watches for 50 MB too, but of the folder's whole disk; said here so that a full disk shows as such.
    std::fs::write(&configuration, format!("listeners.tcp.default = 127.0.0.1:{}\ndisk_free_limit.absolute = 50MB\n", ports[0]))?;
    std::fs::write(folder.join("env.conf"), "")?;
    let mut command = Command::new(script);
    command
        .env("HOME", folder)
        .env("RABBITMQ_NODENAME", format!("bench{}@localhost", ports[0]))
        .env("RABBITMQ_MNESIA_BASE", folder.join("mnesia"))
        .env("RABBITMQ_LOG_BASE", folder.join("log"))
        .env("RABBITMQ_CONFIG_FILE", &configuration)
        .env("RABBITMQ_CONF_ENV_FILE", folder.join("env.conf"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("enabled_plugins"))
        .env("RABBITMQ_DIST_PORT", ports[1].to_string())
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}")
        .env("ERL_EPMD_PORT", ports[2].to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1");
    Ok(command)
}

/// Erlang's port mapper.
pub fn start_mapper(port: u16, folder: &Path) -> Result<Child> {
    let out = File::create(folder.join("epmd.log"))?;
    let child = Command::new("epmd")
        .args(["-address", "127.0.0.1", "-port", &port.to_string()])
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .spawn()
        .context("cannot start epmd, which comes with Erlang")?;
    remember(child.id(), folder);
    Ok(child)
}
