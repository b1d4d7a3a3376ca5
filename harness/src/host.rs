//! The machine that a run runs on, and who runs it.

use record::Host;
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

/// Asks the operating system; what it does not tell stays empty.
pub fn host() -> Host {
    let what = RefreshKind::nothing()
        .with_cpu(CpuRefreshKind::nothing())
        .with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(what).ok();
    let cpus = system.as_ref().map(System::cpus).unwrap_or_default();
    Host {
        os: System::long_os_version().unwrap_or_default(),
        kernel: System::kernel_version().unwrap_or_default(),
        cpu: cpus.first().map(|cpu| cpu.brand().trim().to_owned()).unwrap_or_default(),
        cores: cpus.len() as u32,
        memory_bytes: system.as_ref().map(System::total_memory).unwrap_or_default(),
    }
}

/// Bytes of memory that programs can still have; no limit where the system does not tell.
pub(crate) fn free_memory() -> u64 {
    let what = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    System::new_with_specifics(what).map_or(u64::MAX, |system| system.available_memory())
}

/// Whether this process may do anything, which browsers do not start as with their sandboxes on.
#[cfg(unix)]
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Windows has no such user: browsers start with their sandboxes on as administrator as well.
#[cfg(not(unix))]
pub(crate) fn is_root() -> bool {
    false
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_host_has_cores_and_memory() {
        let host = super::host();
        assert!(host.cores >= 1 && host.memory_bytes > 1 << 20, "{host:?}");
        assert!(!host.os.is_empty() && !host.kernel.is_empty(), "{host:?}");
    }
}
