//! Shared by the benchmarks of training: times updates of an experiment, without a run.

use std::time::Duration;

use seqloom::config::Experiment;
use seqloom::data::dataset::TokenizerSource;
use seqloom::data::splits::{AudioOptions, DataSplits, LoadOptions};
use seqloom::distributed::Group;
use seqloom::error::Result;
use seqloom::model::network::Network;
use seqloom::model::params::Params;
use seqloom::runtime::{Runtime, memory};
use seqloom::training::clock::{Since, matrix_peak};
use seqloom::training::context::{InjectedFaults, TrainContext};
use seqloom::training::metrics::RunningStats;
use seqloom::training::trainer::Trainer;
use serde_json::{Value, json};

/// Speeds over the timed updates of all ranks, if a launcher has started several,, which follow those for warming up, peak memory, and the share of the matrix peak.
pub fn measure(
    experiment: &Experiment,
    audio: Option<AudioOptions>,
    [warmup, updates]: [u64; 2],
) -> Result<Value> {
    let limit = Duration::from_secs(600);
    let group = Group::from_environment(limit, limit)?;
    let runtime = Runtime::start(&experiment.runtime)?;
    let options = LoadOptions { audio, ..LoadOptions::default() };
    let data = DataSplits::load(&experiment.data, options, TokenizerSource::Learned)?;
    let mut params = Params::new(runtime.device, experiment.seed).with_compute_kind(runtime.compute);
    let network = experiment.model.network();
    let sizes = (data.tokenizers.source.shape(), data.tokenizers.target.vocabulary_size());
    let model = Network::new(&network, sizes.0, sizes.1, &mut params);
    let context = TrainContext {
        config: &experiment.training,
        decoding: &experiment.decoding,
        seed: experiment.seed,
        model: &model,
        params: &params,
        width: network.width(),
        group: &group,
        train: &data.train,
        valid: &data.valid,
        target: &data.tokenizers.target,
        machine: runtime.machine(),
        faults: InjectedFaults::default(),
    };
    let tokens: usize = data.train.corpus.lengths().iter().map(|(_, target)| *target as usize).sum();
    let tokens_per_pair = tokens as f64 / data.train.corpus.len() as f64;
    let mut trainer = Trainer::new(context, None)?;
    for _ in 0..warmup {
        trainer.update()?;
    }
    let peak = group.ranks() as f64 * matrix_peak(runtime.device, runtime.compute, runtime.threads, &[]);
    timed(&mut trainer, updates, (runtime, peak), &model, tokens_per_pair)
}

fn timed(
    trainer: &mut Trainer,
    updates: u64,
    (runtime, matrix_peak): (Runtime, f64),
    model: &Network,
    tokens_per_pair: f64,
) -> Result<Value> {
    let (started, waited, mut window) = (Since::now(), trainer.waited(), RunningStats::default());
    for _ in 0..updates {
        window.add(&trainer.update()?.window);
    }
    let seconds = started.seconds();
    let operations = 6.0 * model.multiplications(window.source_tokens, window.tokens);
    let peak_memory = memory::peak(runtime.device);
    Ok(json!({
        "pairs_per_s": window.tokens as f64 / seconds / tokens_per_pair,
        "target_tokens_per_s": window.tokens as f64 / seconds,
        "source_positions_per_s": window.source_tokens as f64 / seconds,
        "matmul_gflops": operations / seconds / 1e9,
        "peak_gib": peak_memory as f64 / (1u64 << 30) as f64,
        "matrix_peak_share": operations / seconds / matrix_peak,
        "waiting_share": (trainer.waited() - waited) / seconds,
        "padding": window.padding(),
        "loss": window.loss_per_token(),
    }))
}
