//! The queues and the exchange of a run, and the sockets it needs.

use anyhow::{Context as _, Result};

use super::options::Options;
use super::wire::Connection;

/// As many sockets as the system lets this process have; if that is too few, opening one says so.
pub fn allow_many_sockets() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Declares queues and exchange, empty unless they are to be reused.
pub fn declare(admin: &mut Connection, options: &Options) -> Result<()> {
    let durable = !options.transient;
    if options.fan_out > 0 {
        admin.declare_fanout(&options.exchange_name(), durable)?;
    }
    for index in 0..options.queue_count() {
        let name = options.queue_name(index);
        admin
            .declare_queue(&name, durable)
            .with_context(|| format!("declaring {name}: if it was left by a run with other options, use another --prefix"))?;
        if !options.reuse {
            admin.purge_queue(&name)?;
        }
        if options.fan_out > 0 {
            admin.bind_queue(&name, &options.exchange_name())?;
        }
    }
    Ok(())
}

/// Deletes what `declare` made.
pub fn remove(admin: &mut Connection, options: &Options) -> Result<()> {
    for index in 0..options.queue_count() {
        admin.delete_queue(&options.queue_name(index))?;
    }
    if options.fan_out > 0 {
        admin.delete_exchange(&options.exchange_name())?;
    }
    Ok(())
}

/// Messages in all queues.
pub fn count_held(admin: &mut Connection, options: &Options) -> Result<u64> {
    (0..options.queue_count()).map(|index| admin.count_messages(&options.queue_name(index))).sum()
}
