//! `yam version`

pub fn run() -> anyhow::Result<()> {
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    let allocator = if cfg!(feature = "mimalloc") { "mimalloc" } else { "system" };
    let planted = if cfg!(feature = "planted") { ", bugs to plant" } else { "" };
    let (version, os, machine) = (env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH);
    super::print(format!("yam {version} ({build} build, {os} {machine}, {allocator} allocator{planted})\n").as_bytes())
}
