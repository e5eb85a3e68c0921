//! `seqloom doctor`: shows what seqloom runs on, and what is missing to use a GPU.

use std::fmt::Write as _;
use std::path::Path;

use clap::Args;
use tch::{Device, Kind};

use super::print;
use crate::error::{Result, counted};
use crate::runtime::{Runtime, RuntimeConfig, gpus, load_cuda};
use crate::shim::vectors::Vectors;
use crate::shim::{has_fast_bf16, libtorch_version};
use crate::training::clock::matrix_peak;

/// Arguments of `seqloom doctor`.
#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// Measure how fast this machine multiplies matrices; `train --verbose` reports its speed as a share of this peak
    #[arg(long)]
    bench: bool,
}

/// Prints to standard output.
pub(crate) fn run(args: &DoctorArgs) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let gpus = gpus();
    let lines = [
        ("seqloom", env!("CARGO_PKG_VERSION").to_owned()),
        ("libtorch", libtorch_version()),
        ("loaded from", loaded_from("libtorch_cpu").unwrap_or_else(|| "unknown".to_owned())),
        ("built against", env!("SEQLOOM_LIBTORCH").to_owned()),
        ("CPU", format!("{}: one thread for each, unless `runtime.threads` is set", counted(cores, "core"))),
        ("vectors", vectors()?),
        ("GPUs", gpus.to_string()),
    ];
    let mut text = String::new();
    for (what, value) in &lines {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{what:<14} {value}");
    }
    if gpus == 0 {
        let _ = writeln!(text, "\n{}", why_no_gpu());
    }
    if args.bench {
        text.push_str(&bench()?);
    }
    print(&text)
}

/// The matrix peak of every device and precision, measured as at the start of training.
fn bench() -> Result<String> {
    let cpu = Runtime::start(&RuntimeConfig { device: "cpu".into(), ..RuntimeConfig::default() })?;
    let mut devices = vec![(Device::Cpu, format!("CPU, {}", counted(cpu.threads, "thread")))];
    devices.extend((0..gpus()).map(|number| (Device::Cuda(number), format!("GPU {number}"))));
    let mut text = String::from("\nMatrix products, billions of operations per second:\n");
    for (device, name) in devices {
        for (kind, precision) in [(Kind::Float, "f32"), (Kind::BFloat16, "bf16")] {
            if kind == Kind::BFloat16 && device == Device::Cpu && !has_fast_bf16() {
                let _ = writeln!(
                    text,
                    "{name:<16} {precision:<5} not measured: this CPU has no fast instructions for it"
                );
                continue;
            }
            let peak = matrix_peak(device, kind, cpu.threads, &[]) / 1e9;
            let _ = writeln!(text, "{name:<16} {precision:<5} {peak:.0}");
        }
    }
    Ok(text)
}

/// The vector instructions of seqloom's kernels; libtorch chooses its own.
fn vectors() -> Result<String> {
    let (used, best) = (Vectors::in_use()?, Vectors::of_machine());
    let beside = format!("{}: set by SEQLOOM_VECTORS, this machine has {}", used.name(), best.name());
    Ok(if used == best { used.name().to_owned() } else { beside })
}

/// The file from which a library was loaded, according to the kernel.
fn loaded_from(library: &str) -> Option<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.contains(library))?;
    line.find('/').map(|start| line[start..].to_owned())
}

/// Why no GPU is used, and what to do.
fn why_no_gpu() -> String {
    if !Path::new("/proc/driver/nvidia/version").exists() {
        return "No NVIDIA driver is loaded on this machine, so training and decoding run on the CPU.\n\
                If there is a GPU: install its driver; `nvidia-smi` then lists the GPU."
            .to_owned();
    }
    match load_cuda() {
        Err(reason) => format!(
            "There is an NVIDIA driver, but libtorch's CUDA libraries cannot be loaded: {reason}\n\
             Get them with `python3 scripts/get_libtorch.py --cuda`, or set LD_LIBRARY_PATH to the lib folder of a\n\
             PyTorch 2.11 that has them. No new build of seqloom is needed."
        ),
        Ok(()) => "There is an NVIDIA driver and libtorch's CUDA libraries, but libtorch finds no GPU.\n\
                   Check CUDA_VISIBLE_DEVICES, and whether `nvidia-smi` shows a driver for CUDA 13 or newer."
            .to_owned(),
    }
}
