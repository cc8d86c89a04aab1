//! Apache Kafka from its jars: broker and controller in one process (KRaft), one node, heap and collector as its own start
//! script has them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::Programs;

/// What kafka-server-start gives the JVM: KAFKA_HEAP_OPTS and KAFKA_JVM_PERFORMANCE_OPTS.
const JVM: [&str; 9] = [
    "-Xmx1G",
    "-Xms1G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-XX:MaxInlineLevel=15",
    "-Djava.awt.headless=true",
];

const CLUSTER_ID: &str = "4L6g3nShT-eMCtK--X86sw";

/// Writes its configuration and formats its storage. What is not said here has the value of config/server.properties as
/// it comes, or its default.
pub fn prepare(programs: &Programs, folder: &Path, ports: [u16; 3], synced: bool) -> Result<()> {
    let [_, clients, controller] = ports;
    let mut properties = format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{clients},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{clients},CONTROLLER://127.0.0.1:{controller}\n\
         inter.broker.listener.name=PLAINTEXT\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
         num.network.threads=3\n\
         num.io.threads=8\n\
         socket.send.buffer.bytes=102400\n\
         socket.receive.buffer.bytes=102400\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         log.dirs={}\n",
        folder.join("data").display()
    );
    // Not of what is measured: the data of a load that is over gives its space back at once, and a group starts at once.
    properties.push_str("log.segment.delete.delay.ms=1000\ngroup.initial.rebalance.delay.ms=0\n");
    if synced {
        properties.push_str("log.flush.interval.messages=1\n");
    }
    std::fs::write(folder.join("server.properties"), properties)?;
    let output = java(programs)
        .args(["kafka.tools.StorageTool", "format", "--standalone", "-t", CLUSTER_ID, "-c"])
        .arg(folder.join("server.properties"))
        .output()
        .context("cannot start java")?;
    if !output.status.success() {
        bail!("Kafka cannot format its storage: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// The server.
pub fn command(programs: &Programs, folder: &Path) -> Command {
    let mut command = Command::new("java");
    command.args(JVM).arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=info").arg("-cp").arg(programs.kafka_jars.join("*"));
    command.arg("kafka.Kafka").arg(folder.join("server.properties"));
    command
}

/// One of Kafka's own tools, with the heap that its scripts give them.
pub fn java(programs: &Programs) -> Command {
    let mut command = Command::new("java");
    command.args(["-Xmx512M", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"]).arg(programs.kafka_jars.join("*"));
    command
}
