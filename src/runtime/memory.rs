//! The peak memory of the process, and the memory of the machine.

use tch::Device;

use crate::shim;

/// Peak bytes of the process: on a GPU the memory that libtorch has reserved, else the resident set. 0 if the system
/// does not report it.
pub fn peak(device: Device) -> u64 {
    match device {
        Device::Cuda(number) => shim::gpu_memory(number).map_or(0, |memory| memory.peak),
        _ => kibibytes("/proc/self/status", "VmHWM:").unwrap_or(0),
    }
}

/// Resets the peak after a trial. On a GPU only: elsewhere the system counts.
pub(crate) fn forget(device: Device) {
    if let Device::Cuda(number) = device {
        shim::forget_gpu_memory(number);
    }
}

/// Free bytes; `None` if the system does not report them.
pub(crate) fn free(device: Device) -> Option<u64> {
    match device {
        Device::Cuda(number) => shim::gpu_memory(number).map(|memory| memory.free),
        _ => {
            let machine = kibibytes("/proc/meminfo", "MemAvailable:")?;
            Some(left_to_the_container().map_or(machine, |left| left.min(machine)))
        }
    }
}

/// Total bytes, including swap space; `None` if the system does not report them.
pub(crate) fn total(device: Device) -> Option<u64> {
    if let Device::Cuda(number) = device {
        return shim::gpu_memory(number).map(|memory| memory.free.saturating_add(memory.peak));
    }
    let machine = kibibytes("/proc/meminfo", "MemTotal:")?;
    let swap = kibibytes("/proc/meminfo", "SwapTotal:").unwrap_or(0);
    let container = cgroup("max").unwrap_or(u64::MAX);
    Some(machine.min(container).saturating_add(swap))
}

/// The memory left to the container, if it has a limit.
fn left_to_the_container() -> Option<u64> {
    Some(cgroup("max")?.saturating_sub(cgroup("current")?))
}

fn cgroup(name: &str) -> Option<u64> {
    std::fs::read_to_string(format!("/sys/fs/cgroup/memory.{name}")).ok()?.trim().parse().ok()
}

/// A line such as `VmHWM:   123 kB`, in bytes.
fn kibibytes(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}
