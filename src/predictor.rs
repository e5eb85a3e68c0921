//! A trained model, as a library uses it: texts in, texts out.
//!
//! All of it in ten lines (`examples/decode.rs` is this as a program):
//!
//! ```no_run
//! use seqloom::Predictor;
//!
//! fn main() -> seqloom::error::Result<()> {
//!     let predictor = Predictor::open("runs/dates")?;
//!     let texts = ["March 5, 2024", "the 1st of May 1999"];
//!     for (text, output) in texts.iter().zip(predictor.decode(&texts)?) {
//!         println!("{text} -> {output}");
//!     }
//!     Ok(())
//! }
//! ```
//!
//! - [`Predictor::with_overrides`] takes what `--set` takes on the command line.
//! - [`Predictor::outputs`] adds to each output its score, whether it is finished, and how many symbols of its source
//!   are unknown.
//! - [`Predictor::n_best`] gives several outputs per text, [`Predictor::complete`] outputs with a forced prefix.
//! - [`Predictor::score`] gives the log-probability of given targets.
//! - [`Predictor::open_together`] opens an ensemble; [`Predictor::with_shortlist`] is faster with a large vocabulary.
//!
//! **Threads.** A `Predictor` may be moved to another thread, but not be shared between threads (it is [`Send`] and not
//! `Sync`, as libtorch's tensors are): open one for each thread, or lend it out under a `Mutex`. Each call runs on
//! `runtime.threads` threads, a setting of the whole process: the last `Predictor` opened sets it.
//!
//! **Errors.** Nothing here panics: if libtorch fails, for example because it is out of memory, that is an error too.

pub mod loaded_model;
pub mod request;
pub(crate) mod shortlist;
pub(crate) mod times;
mod unknown;
pub(crate) mod verify;

use std::path::{Path, PathBuf};

use crate::decoding::ensemble::{Ensemble, mean};
use crate::decoding::incremental_decoder::{DecodeRequest, Hypothesis, Shareable};
use crate::decoding::network_decoder::NetworkDecoder;
use crate::decoding::parallel::decode_on_all_cores;
use crate::decoding::teacher_forcing::{READ_AT_ONCE, batches, log_probabilities};
use crate::decoding::token_scores::{TokenScore, token_scores};
use crate::error::{Error, Result, caught};
use crate::runtime::threads;
use loaded_model::LoadedModel;
use request::{EncodedRequest, TooLong};

/// A trained model that decodes texts.
pub struct Predictor {
    model: LoadedModel,
}

/// The output for one source.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The output, as a text; with `decoding.replace_unknown` it has no `<unk>` in it.
    pub text: String,
    /// Its tokens, its score (the sum of their log-probabilities), and whether it is finished.
    pub hypothesis: Hypothesis,
    /// Number of symbols of its source that are not in the vocabulary; [`Predictor::unknown_symbols`] lists them.
    pub unknown: usize,
    /// When each token is spoken, in seconds: start and end; empty unless [`LoadedModel::add_times`] was called.
    pub times: Vec<[f64; 2]>,
    /// The log-probability of each token, EOS last; empty unless [`LoadedModel::add_token_scores`] was called.
    pub token_scores: Vec<f32>,
    /// The expected value of the metric by which it was chosen among candidates; `None` if the search chose it.
    pub expected: Option<f64>,
}

impl Output {
    /// The output of an empty source.
    fn silent() -> Output {
        Output::new(String::new(), Hypothesis { finished: true, ..Hypothesis::default() })
    }

    /// An output without details.
    pub(crate) fn new(text: String, hypothesis: Hypothesis) -> Output {
        let (times, token_scores) = (Vec::new(), Vec::new());
        Output { text, hypothesis, unknown: 0, times, token_scores, expected: None }
    }
}

impl Predictor {
    /// Opens a run directory (its best checkpoint), a checkpoint folder or a model.safetensors.
    ///
    /// # Errors
    /// Nothing of that kind is there, or the file is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Predictor> {
        Predictor::with_overrides(path, &[] as &[&str])
    }

    /// The same with other settings than in training: `decoding.beam=5`, `runtime.threads=1`.
    ///
    /// # Errors
    /// Those of [`Predictor::open`]; an unknown key, or one that is fixed by training.
    pub fn with_overrides<S: AsRef<str>>(path: impl AsRef<Path>, overrides: &[S]) -> Result<Predictor> {
        let overrides: Vec<String> = overrides.iter().map(|text| text.as_ref().to_owned()).collect();
        caught(|| Ok(Predictor { model: LoadedModel::open(path.as_ref(), &overrides)? }))
    }

    /// Opens an ensemble. The settings are those of the first model; `decoding.ensemble` sets how the models are
    /// combined.
    ///
    /// # Errors
    /// There is no model; those of [`Predictor::with_overrides`]; models with different target vocabularies.
    pub fn open_together<P: AsRef<Path>, S: AsRef<str>>(paths: &[P], overrides: &[S]) -> Result<Predictor> {
        let paths: Vec<PathBuf> = paths.iter().map(|path| path.as_ref().to_owned()).collect();
        let overrides: Vec<String> = overrides.iter().map(|text| text.as_ref().to_owned()).collect();
        let (first, others) =
            paths.split_first().ok_or_else(|| Error::input("there must be a model to open"))?;
        caught(|| Ok(Predictor { model: LoadedModel::open_together(first, others, &overrides)? }))
    }

    /// The same, with outputs restricted to the tokens that a file of `seqloom shortlist` allows for their sources.
    ///
    /// # Errors
    /// The file cannot be read, or was made for other vocabularies.
    pub fn with_shortlist(mut self, path: impl AsRef<Path>) -> Result<Predictor> {
        self.model.use_shortlist(path.as_ref())?;
        Ok(self)
    }

    /// The output of each text, in the order of the texts. An empty text has an empty output, unless the model was
    /// trained on such (`data.empty`).
    ///
    /// # Errors
    /// A text has more tokens than `data.source.max_length`; decoding fails.
    pub fn decode<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<String>> {
        Ok(self.outputs(texts)?.into_iter().map(|output| output.text).collect())
    }

    /// The same, with the details of each output.
    ///
    /// # Errors
    /// Those of [`Predictor::decode`].
    pub fn outputs<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<Output>> {
        Ok(self.n_best(texts)?.into_iter().map(best).collect())
    }

    /// The best outputs of each text, the best first: at most `decoding.n_best`, and at least one.
    ///
    /// # Errors
    /// Those of [`Predictor::decode`].
    pub fn n_best<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<Vec<Output>>> {
        let requests: Vec<(&str, &str)> = texts.iter().map(|text| (text.as_ref(), "")).collect();
        self.complete(&requests)
    }

    /// The best outputs of each (text, prefix), with this prefix forced. An empty text that is not decoded has an empty
    /// output even so.
    ///
    /// # Errors
    /// Those of [`Predictor::decode`]; a prefix that the target's vocabulary cannot spell, or that is longer than an
    /// output may be.
    pub fn complete<S: AsRef<str>, P: AsRef<str>>(&self, requests: &[(S, P)]) -> Result<Vec<Vec<Output>>> {
        caught(|| {
            let sources = requests.iter().map(|(text, _)| Ok(text.as_ref().into())).collect();
            let encoded = self.model.encode_sources(sources, TOO_LONG);
            let encoded = (0..).zip(requests).zip(encoded).map(|((n, (_, prefix)), request)| {
                let request = request.and_then(|request| self.model.with_prefix(request, prefix.as_ref()));
                request.map_err(|error| error.at(format!("text {n}")))
            });
            let requests = encoded.collect::<Result<Vec<_>>>()?;
            self.model.decode_n_best(&requests.iter().collect::<Vec<_>>())
        })
    }

    /// The log-probability of each pair's target, including EOS, given its source.
    ///
    /// # Errors
    /// A side has more tokens than its `max_length`, or a target has no source; scoring fails.
    pub fn score<S: AsRef<str>, T: AsRef<str>>(&self, pairs: &[(S, T)]) -> Result<Vec<f64>> {
        let sources = pairs.iter().map(|(source, _)| Ok(source.as_ref().into())).collect();
        let requests = self.model.encode_sources(sources, TOO_LONG);
        let encoded = (0..).zip(pairs).zip(requests).map(|((n, (_, target)), request)| {
            let at = |error: Error| error.at(format!("pair {n}"));
            let request = request.map_err(at)?.decode;
            let target = self.model.tokenizers.target.encode(target.as_ref());
            self.model.check_target(&request.source, &target).map_err(at)?;
            Ok((request, target))
        });
        let encoded = encoded.collect::<Result<Vec<_>>>()?;
        let pairs: Vec<Pair> = encoded.iter().map(|(request, target)| (request, target.as_slice())).collect();
        let scores = caught(|| self.model.score(&pairs))?;
        Ok(scores
            .iter()
            .map(|tokens| tokens.iter().copied().map(f64::from).fold(0.0, |a, b| a + b))
            .collect())
    }

    /// The symbols of a source that are not in the vocabulary, each time they occur: words if the source is tokenized
    /// into words, else characters. The model reads the same token for all of them, so outputs are unreliable there.
    pub fn unknown_symbols(&self, text: &str) -> Vec<String> {
        self.model.tokenizers.source.tokenizer().map_or(Vec::new(), |source| source.unknown_symbols(text))
    }

    /// The model itself, with its tokenizers and settings.
    pub fn model(&self) -> &LoadedModel {
        &self.model
    }
}

/// The first of a list.
fn best(list: Vec<Output>) -> Output {
    list.into_iter().next().unwrap_or_else(Output::silent)
}

impl LoadedModel {
    /// The best outputs of each request, the best first, up to `n_best` of the options. An empty source is not decoded
    /// and has an empty output.
    ///
    /// # Errors
    /// The model fails.
    pub fn decode_n_best(&self, requests: &[&EncodedRequest]) -> Result<Vec<Vec<Output>>> {
        let rows: Vec<usize> =
            (0..requests.len()).filter(|&row| self.is_requested(&requests[row].decode.source)).collect();
        let wanted: Vec<&DecodeRequest> = rows.iter().map(|&row| &requests[row].decode).collect();
        let found = decode_on_all_cores(self.decoder(), &wanted, &self.options)?;
        let mut outputs = vec![vec![Output::silent()]; requests.len()];
        for (row, list) in rows.into_iter().zip(found) {
            let output = |hypothesis: Hypothesis| {
                let text = self.tokenizers.target.decode(&hypothesis.tokens);
                Output { unknown: requests[row].unknown, ..Output::new(text, hypothesis) }
            };
            outputs[row] = list.into_iter().map(output).collect();
        }
        if self.experiment.decoding.replace_unknown {
            self.replace_unknown(requests, &mut outputs)?;
        }
        Ok(outputs)
    }

    /// The log-probability of each token of each target, EOS last. On the CPU they are bit-identical to those of a
    /// search for the same tokens. An ensemble combines them as `decoding.ensemble` sets. As in decoding, an empty
    /// source is not scored, unless the model was trained on such: with an empty target it has no tokens.
    ///
    /// # Errors
    /// The model fails.
    pub fn score(&self, pairs: &[Pair]) -> Result<Vec<Vec<f32>>> {
        let log_p = |tokens: Vec<TokenScore>| tokens.iter().map(|token| token.log_probability).collect();
        Ok(self.score_tokens(pairs)?.into_iter().map(log_p).collect())
    }

    /// The same, and whether each token is the most likely one.
    ///
    /// # Errors
    /// The model fails.
    pub(crate) fn score_tokens(&self, pairs: &[Pair]) -> Result<Vec<Vec<TokenScore>>> {
        let combination = self.experiment.decoding.ensemble;
        self.in_batches(pairs, |batches| {
            let decoder = self.decoder();
            let batches = batches.into_iter().map(|batch| (decoder.clone(), batch)).collect::<Vec<_>>();
            let score = |(decoder, pairs): (Ensemble<NetworkDecoder>, Vec<Pair>)| {
                token_scores(decoder.members(), combination, &pairs)
            };
            match decoder.on_cpu() {
                true => threads::each(batches, score),
                false => batches.into_iter().map(score).collect(),
            }
        })
    }

    /// Log-probabilities by the networks as in training: whole targets without a cache, other kernels, and a softmax over
    /// all tokens.
    ///
    /// # Errors
    /// The model fails.
    pub(crate) fn score_uncached(&self, pairs: &[Pair]) -> Result<Vec<Vec<f32>>> {
        let combination = self.experiment.decoding.ensemble;
        let score = |(n, member): (usize, &LoadedModel), pairs: &[Pair]| {
            let ids = pairs.iter().map(|(request, target)| (request.source_of(n), *target));
            log_probabilities(&member.model, member.runtime.device, &ids.collect::<Vec<_>>())
        };
        let of_batch = |pairs: Vec<Pair>| -> Result<Vec<Vec<f32>>> {
            let members = (0..).zip(self.members()).map(|one| score(one, &pairs));
            let mut members = members.collect::<Result<Vec<_>>>()?;
            let of_row = |row: usize| {
                mean(members.iter_mut().map(|found| std::mem::take(&mut found[row])), combination)
            };
            Ok((0..pairs.len()).map(of_row).collect())
        };
        self.in_batches(pairs, |batches| batches.into_iter().map(of_batch).collect())
    }

    /// Scores in batches of similar length; `score` returns what it finds for each pair of each batch. A pair whose source
    /// is not decoded has nothing.
    fn in_batches<'p, T: Clone>(
        &self,
        pairs: &[Pair<'p>],
        score: impl FnOnce(Vec<Vec<Pair<'p>>>) -> Vec<Result<Vec<Vec<T>>>>,
    ) -> Result<Vec<Vec<T>>> {
        let wanted: Vec<usize> =
            (0..pairs.len()).filter(|&row| self.is_requested(&pairs[row].0.source)).collect();
        let length = |&row: &usize| (pairs[row].0.source.positions() as u32, pairs[row].1.len() as u32 + 1);
        let lengths: Vec<_> = wanted.iter().map(length).collect();
        let batches = batches(&lengths, READ_AT_ONCE).into_iter();
        let batches: Vec<Vec<usize>> =
            batches.map(|rows| rows.into_iter().map(|row| wanted[row]).collect()).collect();
        let of_batch = |rows: &Vec<usize>| rows.iter().map(|&row| pairs[row]).collect();
        let mut found = vec![Vec::new(); pairs.len()];
        for (rows, of_batch) in batches.iter().zip(score(batches.iter().map(of_batch).collect())) {
            for (&row, of_row) in rows.iter().zip(of_batch?) {
                found[row] = of_row;
            }
        }
        Ok(found)
    }
}

/// A request, and a target as token ids.
type Pair<'p> = (&'p DecodeRequest, &'p [i64]);

/// The hint for a source that is too long, for callers of the library.
const TOO_LONG: TooLong = TooLong::Refuse("allow more with the override `data.source.max_length=N`");

#[cfg(test)]
mod tests {
    use super::Predictor;

    /// The promise of the documentation about threads.
    #[test]
    fn a_decoder_may_move_to_another_thread() {
        fn goes<T: Send>() {}
        goes::<Predictor>();
    }
}
