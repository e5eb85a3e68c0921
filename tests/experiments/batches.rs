//! Outputs do not depend on the batch, in any experiment of configs/: with its own network, tokenizers and sizes, but at
//! most two layers in a stack, random weights, and made-up pairs.

use std::collections::BTreeSet;
use std::sync::Arc;

use seqloom::config::Experiment;
use seqloom::data::audio::processor::AudioProcessor;
use seqloom::data::dataset::Tokenizers;
use seqloom::data::readers::{Pair, Place};
use seqloom::data::source::{Frames, SourceItem};
use seqloom::data::source_processor::SourceProcessor;
use seqloom::data::tokenizer::Tokenizer;
use seqloom::decoding::incremental_decoder::IncrementalDecoder;
use seqloom::decoding::incremental_decoder::{DecodeRequest, Hypothesis};
use seqloom::decoding::network_decoder::NetworkDecoder;
use seqloom::decoding::options::SearchOptions;
use seqloom::decoding::parallel::decode_n_best;
use seqloom::decoding::parallel::decode_on_all_cores;
use seqloom::decoding::{DecodingConfig, Method, SamplingConfig};
use seqloom::model::Weights;
use seqloom::model::network::Network;
use seqloom::model::params::Params;
use seqloom::predictor::loaded_model::build;
use tch::Device;

use super::configs;
use crate::support::run::words;

/// Rows of one to three words.
const ROWS: usize = 70;

fn pairs() -> Vec<Pair> {
    let words = words(ROWS + 3);
    let text = |n: usize, shift: usize| words[n..n + 1 + (n + shift) % 3].join(" ");
    let place = |n: usize| Place { file: Arc::from(std::path::Path::new("made up")), line: n as u64 };
    (0..ROWS)
        .map(|n| Pair { source: text(n, 0), target: text(n, 2), place: place(n), ..Pair::default() })
        .collect()
}

/// The tokenizers of the pairs, and the sources; recordings are 9 to 60 made-up frames.
fn tokenized(experiment: &Experiment) -> (Tokenizers, Vec<SourceItem>) {
    let (pairs, data) = (pairs(), &experiment.data);
    let Some(audio) = &data.source.audio else {
        let tokenizers = Tokenizers::train(data, &pairs.iter().collect::<Vec<_>>()).unwrap();
        let source = tokenizers.source.tokenizer().unwrap();
        let sources = pairs.iter().map(|pair| source.encode(&pair.source).into()).collect();
        return (tokenizers, sources);
    };
    let processor = AudioProcessor::new(audio, 16_000).unwrap();
    let bins = processor.bins();
    let frames = |row: usize| {
        let numbers = (0..(9 + row * 7 % 52) * bins).map(|n| ((n * 37 + row * 101) as f32 * 0.61).sin());
        SourceItem::Frames(Frames::new(numbers.collect(), bins))
    };
    let target = Tokenizer::train(&data.target, pairs.iter().map(|pair| pair.target.as_str())).unwrap();
    let source = SourceProcessor::Audio(Box::new(processor));
    (Tokenizers { source, target }, (0..ROWS).map(frames).collect())
}

/// The experiment with at most two layers in each stack: a third does what the second does.
fn shallow(mut experiment: Experiment) -> Experiment {
    let shorten = |layers: [&mut usize; 2]| layers.into_iter().for_each(|layers| *layers = (*layers).min(2));
    let model = &mut experiment.model;
    model.transformer.iter_mut().for_each(|it| shorten([&mut it.encoder_layers, &mut it.decoder_layers]));
    model.recurrent.iter_mut().for_each(|it| shorten([&mut it.encoder_layers, &mut it.decoder_layers]));
    experiment
}

/// The experiment's network, with weights that are larger than its initial ones, so that tokens are not all about
/// as likely, and the sources as it reads them.
fn model(experiment: &Experiment) -> (Network, Vec<SourceItem>) {
    let (tokenizers, sources) = tokenized(experiment);
    let mut params = Params::new(Device::Cpu, experiment.seed);
    let network = build(experiment, &tokenizers, &mut params);
    tch::no_grad(|| params.iter().for_each(|param| drop(param.tensor.shallow_clone().g_mul_scalar_(2.0))));
    (network, sources)
}

/// Greedy search, a beam, and samples, of a few tokens; all else as in the config.
fn searches(experiment: &Experiment) -> [DecodingConfig; 3] {
    let own = &experiment.decoding;
    let greedy =
        DecodingConfig { beam: 1, max_length_factor: Some(0.1), max_length_offset: Some(6), ..own.clone() };
    let beam = DecodingConfig { beam: 4, n_best: 2, ..greedy.clone() };
    let by_decoder = DecodingConfig { method: Method::Attention, ..greedy.clone() };
    let sampling = DecodingConfig { sampling: Some(SamplingConfig::default()), ..by_decoder };
    [greedy, beam, sampling]
}

fn check(name: &str, decoder: &NetworkDecoder, sources: &[SourceItem], config: &DecodingConfig) {
    let decode = |order: &[usize], batch_size: usize, on_all_cores: bool| -> Vec<Vec<Hypothesis>> {
        let rules = SearchOptions { batch_size, ..SearchOptions::new(config, Vec::new).unwrap() };
        let requests: Vec<DecodeRequest> =
            order.iter().map(|&row| rules.request(sources[row].clone(), decoder.max_length())).collect();
        let requests: Vec<&DecodeRequest> = requests.iter().collect();
        let found = match on_all_cores {
            true => decode_on_all_cores(decoder, &requests, &rules),
            false => decode_n_best(decoder, &requests, &rules),
        };
        let mut all = vec![Vec::new(); sources.len()];
        order.iter().zip(found.unwrap()).for_each(|(&row, list)| all[row] = list);
        all
    };
    let forwards: Vec<usize> = (0..sources.len()).collect();
    let shuffled: Vec<usize> = forwards.iter().map(|row| row * 37 % sources.len()).collect();
    let alone = decode(&forwards, 1, false);
    assert!(
        alone.iter().any(|list| list[0].tokens != alone[0][0].tokens),
        "{name}: all outputs are the same"
    );
    for (order, batch_size) in [(&forwards, 2), (&shuffled, 7), (&forwards, 64)] {
        assert!(decode(order, batch_size, false) == alone, "{name}, batches of {batch_size}: {config:?}");
    }
    assert!(decode(&shuffled, 64, true) == alone, "{name}, on all cores: {config:?}");
}

/// Texts and scores are bit-identical: in f32 for every search, and with lower-precision weights for one search each.
/// Experiments that differ in nothing that counts here are tried once.
#[test]
fn outputs_do_not_depend_on_the_batch_in_any_experiment() {
    let mut tried = BTreeSet::new();
    for path in configs() {
        let experiment = shallow(Experiment::load(&path, &[]).unwrap());
        let data = &experiment.data;
        let tokens = (&data.source, &data.target, data.shared_vocabulary);
        let settings = (&experiment.model, tokens, &experiment.decoding, experiment.seed);
        if !tried.insert(format!("{settings:?}")) {
            continue;
        }
        let (network, sources) = model(&experiment);
        let [greedy, beam, sampling] = searches(&experiment);
        let all = [
            (Weights::F32, vec![&greedy, &beam, &sampling]),
            (Weights::Bf16, vec![&greedy]),
            (Weights::Int8, vec![&beam]),
        ];
        for (weights, searches) in all {
            let decoder = NetworkDecoder::new(&network, weights);
            for config in searches {
                check(&format!("{} {weights:?}", experiment.name), &decoder, &sources, config);
            }
        }
    }
}
