//! The machine: device, threads, seeds per step, and the stop flag.

pub mod memory;
mod signals;
pub mod threads;

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tch::{Cuda, Device, Kind};

use crate::error::{ConfigError, Error, Result, counted};
use crate::shim;
use crate::shim::vectors::Vectors;
pub use signals::{OnUsr1, StopFlag};

/// `[runtime]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuntimeConfig {
    /// `auto` (a GPU if there is one), `cpu`, `cuda`, or `cuda:N`.
    pub device: String,
    /// CPU threads; 0 for one per core. Results are bit-identical for any number.
    pub threads: usize,
    /// Precision of matrix products.
    pub precision: Precision,
    /// What SIGUSR1 does: save a checkpoint and stop, or only save.
    pub on_usr1: OnUsr1,
    /// Seconds that the ranks of a run wait for each other at the start.
    pub join_timeout: u64,
    /// Seconds that a rank waits for the others in an exchange.
    pub rank_timeout: u64,
}

/// Precision of matrix products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floating point.
    F32,
    /// bfloat16; weights, moments, norms and the loss stay f32.
    Bf16,
    /// bfloat16 if the device is fast at it, else f32.
    Auto,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        RuntimeConfig {
            device: "auto".into(),
            threads: 0,
            precision: Precision::F32,
            on_usr1: OnUsr1::default(),
            join_timeout: 25,
            rank_timeout: 600,
        }
    }
}

impl RuntimeConfig {
    /// The rules among these keys; [`Runtime::start`] checks whether the device exists.
    pub(crate) fn check(&self) -> std::result::Result<(), ConfigError> {
        let device = self.device.as_str();
        let numbered = device.strip_prefix("cuda:").is_some_and(|number| number.parse::<u16>().is_ok());
        if !numbered && !matches!(device, "auto" | "cpu" | "cuda") {
            let message = format!("`device` must be auto, cpu, cuda or cuda:N, but it is {device:?}");
            return Err(ConfigError::new("runtime", &["device"], message));
        }
        if self.threads > Self::MOST_THREADS {
            let (most, threads) = (Self::MOST_THREADS, self.threads);
            let message = format!("`threads` must be at most {most}, but it is {threads}");
            return Err(ConfigError::new("runtime", &["threads"], message));
        }
        for (name, seconds) in [("join_timeout", self.join_timeout), ("rank_timeout", self.rank_timeout)] {
            if !(1..=Self::LONGEST_TIMEOUT).contains(&seconds) {
                let most = Self::LONGEST_TIMEOUT;
                let message = format!("`{name}` must be from 1 to {most} seconds, but it is {seconds}");
                return Err(ConfigError::new("runtime", &[name], message));
            }
        }
        Ok(())
    }

    /// More than any machine has: a larger number is a typing error.
    const MOST_THREADS: usize = 4096;

    /// A week.
    const LONGEST_TIMEOUT: u64 = 604_800;
}

/// The processes that share this machine's cores and GPUs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neighbours {
    /// Those that may use the same cores, this one included.
    pub on_cores: usize,
    /// The number of this one on the machine, from 0.
    pub number: usize,
}

impl Neighbours {
    /// A process that has the machine for itself.
    const NONE: Neighbours = Neighbours { on_cores: 1, number: 0 };
}

/// The device and threads of the process.
#[derive(Clone, Copy, Debug)]
pub struct Runtime {
    /// The device of tensors.
    pub device: Device,
    /// CPU threads.
    pub threads: usize,
    /// Precision of matrix products.
    pub compute: Kind,
}

/// The environment variable by which an experiment tells its processes how many of them run at once.
pub(crate) const AT_ONCE: &str = "SEQLOOM_PROCESSES_AT_ONCE";

fn at_once() -> usize {
    let told = std::env::var(AT_ONCE).ok().and_then(|told| told.parse().ok());
    told.unwrap_or(1).max(1)
}

/// The most threads per core: more of them would only wake each other.
const MOST_FOR_A_CORE: usize = 4;

impl Runtime {
    /// Sets up the process: malloc, threads, device. Call it before the first backward pass: libtorch looks for CUDA
    /// only once.
    ///
    /// # Errors
    /// The named device does not exist; the machine lacks the instructions of `SEQLOOM_VECTORS`.
    pub fn start(config: &RuntimeConfig) -> Result<Runtime> {
        Runtime::start_beside(config, Neighbours::NONE)
    }

    /// The same for one of several processes, which share cores and GPUs unless the config names some.
    ///
    /// # Errors
    /// As those of [`Runtime::start`].
    pub(crate) fn start_beside(config: &RuntimeConfig, neighbours: Neighbours) -> Result<Runtime> {
        Vectors::in_use()?;
        shim::keep_pages();
        // The cores that the process may use, by its CPU set and its container's quota.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = match config.threads {
            0 => (cores / neighbours.on_cores / at_once()).max(1),
            threads => threads.min(MOST_FOR_A_CORE * cores),
        };
        threads::set(threads)?;
        let device = choose_device(&config.device, neighbours.number)?;
        if device != Device::Cpu {
            shim::prefer_flash_attention();
        }
        let bf16 = match config.precision {
            Precision::F32 => false,
            Precision::Bf16 => true,
            Precision::Auto => device != Device::Cpu || shim::has_fast_bf16(),
        };
        Ok(Runtime { device, threads, compute: if bf16 { Kind::BFloat16 } else { Kind::Float } })
    }

    /// The device, for display.
    pub(crate) fn place(&self) -> String {
        match self.device {
            Device::Cpu => format!("the CPU ({})", counted(self.threads, "thread")),
            other => format!("{other:?}"),
        }
    }

    /// The device and precision.
    pub fn machine(&self) -> String {
        format!("{}, {}", self.place(), self.precision())
    }

    /// The type of the device and the precision: runs with the same identity are bit-identical.
    pub(crate) fn identity(&self) -> String {
        let device = match self.device {
            Device::Cpu => cpu_model().map_or("the CPU".to_owned(), |model| format!("the CPU ({model})")),
            other => format!("{other:?}"),
        };
        format!("{device}, {}", self.precision())
    }

    /// Whether the CPU has no fast instructions for the precision.
    pub(crate) fn computes_slowly(&self) -> bool {
        self.device == Device::Cpu && self.compute == Kind::BFloat16 && !shim::has_fast_bf16()
    }

    /// The precision of matrix products, as in a config.
    pub(crate) fn precision(&self) -> &'static str {
        if self.compute == Kind::BFloat16 { "bf16" } else { "f32" }
    }
}

/// The name of the CPU, if the system reports it.
fn cpu_model() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Loads libtorch's CUDA half if it is installed.
///
/// The binary links only the CPU half, so that one binary serves both kinds of machine.
///
/// # Errors
/// The loader's message, mostly a missing file or a missing dependency.
pub(crate) fn load_cuda() -> std::result::Result<(), String> {
    shim::load_library(Path::new("libtorch_cuda.so"))
}

/// Number of GPUs that libtorch finds; 0 without its CUDA half.
pub fn gpus() -> usize {
    if load_cuda().is_ok() && Cuda::is_available() { Cuda::device_count().max(0) as usize } else { 0 }
}

/// The device of a name; of several GPUs the one that is this process's by its number.
fn choose_device(name: &str, number: usize) -> Result<Device> {
    let own = |gpus: usize| number % gpus.max(1);
    let index = match name {
        "cpu" => return Ok(Device::Cpu),
        "auto" => {
            let gpus = gpus();
            return Ok(if gpus > 0 { Device::Cuda(own(gpus)) } else { Device::Cpu });
        }
        "cuda" => Some(own(gpus())),
        _ => name.strip_prefix("cuda:").and_then(|number| number.parse::<usize>().ok()),
    };
    let index = index.ok_or_else(|| {
        Error::input(format!("`runtime.device` must be auto, cpu, cuda or cuda:N, but it is `{name}`"))
    })?;
    let seen = gpus();
    if index < seen {
        return Ok(Device::Cuda(index));
    }
    let message = format!("`runtime.device` is `{name}`, but libtorch finds {}", counted(seen, "GPU"));
    Err(Error::input(message)
        .hint("run `seqloom doctor` to see what is missing, or use `--set runtime.device=cpu`"))
}

/// The seed for one purpose at one step: the first 64 bits of a SHA-256 over (run seed, step, purpose).
///
/// So all random numbers of a run follow from its seed, and no generator state is saved.
pub(crate) fn seed_for(run_seed: u64, step: u64, purpose: &str) -> u64 {
    let mut hash = Sha256::new();
    hash.update(run_seed.to_le_bytes());
    hash.update(step.to_le_bytes());
    hash.update(purpose.as_bytes());
    let digest = hash.finalize();
    u64::from_le_bytes(digest[..8].try_into().expect("eight bytes are eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_differ_by_run_step_and_purpose() {
        let seeds = [seed_for(1, 1, "a"), seed_for(2, 1, "a"), seed_for(1, 2, "a"), seed_for(1, 1, "b")];
        for (n, seed) in seeds.iter().enumerate() {
            assert!(!seeds[..n].contains(seed));
        }
        assert_eq!(seed_for(1, 1, "a"), seeds[0]);
    }

    #[test]
    fn an_invalid_device_is_refused() {
        let error = choose_device("gpu", 0).unwrap_err();
        assert!(error.message().contains("auto, cpu, cuda or cuda:N"), "{error}");
    }
}
