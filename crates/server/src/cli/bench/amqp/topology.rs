//! The queues and the exchange of a run.

use anyhow::{Context as _, Result};

use super::options::Options;
use super::wire::Connection;

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
        if !options.load.reuse {
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
