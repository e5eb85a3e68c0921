//! How much memory the process has taken at most, and how much there is.

use tch::Device;

use crate::shim;

/// Bytes that the process has taken at most so far: on a GPU what libtorch has reserved there, else the resident set.
/// 0 where the system does not say.
pub fn peak(device: Device) -> u64 {
    match device {
        Device::Cuda(number) => shim::gpu_memory(number).map_or(0, |memory| memory.peak),
        _ => kibibytes("/proc/self/status", "VmHWM:").unwrap_or(0),
    }
}

/// What was taken only to try something counts no more. On a GPU alone: elsewhere the system keeps the books.
pub fn forget(device: Device) {
    if let Device::Cuda(number) = device {
        shim::forget_gpu_memory(number);
    }
}

/// Bytes that nobody uses. Nothing where the system does not say.
pub fn free(device: Device) -> Option<u64> {
    match device {
        Device::Cuda(number) => shim::gpu_memory(number).map(|memory| memory.free),
        _ => {
            let machine = kibibytes("/proc/meminfo", "MemAvailable:")?;
            Some(left_to_the_container().map_or(machine, |left| left.min(machine)))
        }
    }
}

/// What a container may still take, where there is such a limit.
fn left_to_the_container() -> Option<u64> {
    let number = |name: &str| -> Option<u64> {
        std::fs::read_to_string(format!("/sys/fs/cgroup/memory.{name}")).ok()?.trim().parse().ok()
    };
    Some(number("max")?.saturating_sub(number("current")?))
}

/// A line such as `VmHWM:   123 kB`, in bytes.
fn kibibytes(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}
