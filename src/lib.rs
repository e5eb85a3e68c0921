//! seqloom trains encoder-decoder models on paired sequences and decodes with them, on libtorch.
//!
//! This page is a guided tour: what happens to a pair, module by module. The command `seqloom` is a thin layer over
//! this library ([`cli`]). To decode from Rust with a trained model, [`Predictor`] is all you need; `docs/library.md`
//! describes the set-up of your crate. The feature `cli`, on by default, adds the command line and mimalloc; libraries
//! turn it off.
//!
//! # Training
//!
//! 1. [`config`] reads the config, adds `--set` and every default, and checks the rules. Each module owns its own
//!    table: [`data::DataConfig`], [`model::ModelConfig`], [`training::TrainingConfig`], [`decoding::DecodingConfig`],
//!    [`runtime::RuntimeConfig`].
//! 2. [`data::readers`] reads the files. A [`data::readers::Pair`] is two texts and their place.
//! 3. [`data::tokenizer`] cuts each side into characters, words, pieces or bytes, and [`data::vocabulary`] gives
//!    each piece its id. Both are built from the training pairs alone. [`data::dataset`] holds the result,
//!    [`data::splits`] both sets.
//! 4. [`data::batch_sampler`] decides which rows form a batch, as a function of (seed, epoch). [`data::batch`] pads
//!    them. The source ends in EOS. The target is there twice: BOS and the tokens as input, the tokens and EOS as
//!    labels.
//! 5. [`model::network`] reads the source batch ([`encode`]) and runs over the whole target at once ([`decode`]):
//!    teacher forcing, under a causal mask. Its weights are named tensors in [`model::params`].
//! 6. [`training::loss`] compares with the labels, libtorch runs backward, and [`training::optimizer`] updates the
//!    weights with the learning rate of [`training::schedule`].
//! 7. [`training::trainer`] is the loop around it. At intervals it validates ([`training::validation`]), writes metrics
//!    ([`training::recorders`]), draws them ([`training::recorders::curves`]) and saves a checkpoint.
//!
//! # The checkpoint
//!
//! [`checkpoint::model_file`] writes one file with the weights, the config and both tokenizers. Decoding needs
//! nothing else. [`checkpoint::run`] manages the run directory, in which a checkpoint is complete or absent.
//!
//! # Decoding
//!
//! 1. [`data::readers::RowReader`] reads the rows, and the checkpoint's own tokenizer cuts them.
//! 2. The encoder reads a batch once. [`start`] makes a state from its output, and [`step`] takes one token of each row
//!    and that state, and returns scores and the next state.
//! 3. [`decoding::continuous_batching`] is the loop of every search. It starts each source with BOS, steps all rows,
//!    and admits new sources as others leave. [`decoding::search::hypotheses`] keeps the [`decoding::search::beam`]s of
//!    one source, which decide the next tokens, and when a hypothesis has ended, at EOS or at its limit. Both see the
//!    model only through [`decoding::incremental_decoder::IncrementalDecoder`].
//! 4. The target's tokenizer joins the tokens to a text. If there are references, [`metrics::edit`] counts the errors.
//!
//! [`predictor`] is all of this behind two calls. For a given target, [`decoding::teacher_forcing`] computes its
//! log-probability.
//!
//! [`runtime`] sets up the machine and derives every seed, [`error`] is the form of all that can go wrong, and [`shim`]
//! wraps the few C++ functions that tch lacks. [`svg`] is what all pictures share.
//!
//! # All steps in one example
//!
//! One pair, memorised: the reading of a word goes in, and the decoder outputs 機, 器, 學, 習, EOS.
//!
//! ```
//! use seqloom::data::SideConfig;
//! use seqloom::data::batch::Batch;
//! use seqloom::data::source::SourceItem;
//! use seqloom::data::tokenizer::Tokenizer;
//! use seqloom::decoding::DecodingConfig;
//! use seqloom::decoding::network_decoder::NetworkDecoder;
//! use seqloom::decoding::parallel::decode;
//! use seqloom::model::{TransformerConfig, Weights};
//! use seqloom::model::network::Network;
//! use seqloom::model::params::Params;
//! use seqloom::runtime::{Runtime, RuntimeConfig};
//! use seqloom::training::TrainingConfig;
//! use seqloom::training::loss::cross_entropy;
//! use seqloom::training::optimizer::Optimizer;
//!
//! # fn main() -> seqloom::error::Result<()> {
//! let config = RuntimeConfig { device: "cpu".into(), threads: 1, ..RuntimeConfig::default() };
//! let device = Runtime::start(&config)?.device;
//!
//! // From text to ids. The default tokenizer is characters.
//! let source = Tokenizer::train(&SideConfig::default(), ["jīqì xuéxí"].into_iter())?;
//! let target = Tokenizer::train(&SideConfig::default(), ["機器學習"].into_iter())?;
//! let read = SourceItem::from(source.encode("jīqì xuéxí"));
//! let batch = Batch::new(&[read], &[&target.encode("機器學習")]);
//!
//! // A small network over named weights. The seed decides all of them.
//! let small = TransformerConfig { width: 32, encoder_layers: 1, decoder_layers: 1, ..TransformerConfig::default() };
//! let mut params = Params::new(device, 1);
//! let model = Network::new(&small.into(), source.vocabulary_size(), target.vocabulary_size(), &mut params);
//!
//! // Teacher forcing: the decoder sees the correct tokens so far, and predicts the next one at every position.
//! let mut optimizer = Optimizer::new(&TrainingConfig::default(), &params)?;
//! for _ in 0..40 {
//!     params.clear_gradients();
//!     let encoded = model.encode(&batch.source, None);
//!     let predictions = model.decode(&batch.target_in, &encoded, None).at(&batch.label_positions); // (N)
//!     cross_entropy(&predictions, &batch.labels, 0.0).total.backward();
//!     optimizer.step(&params, 3e-3)?;
//! }
//!
//! // Decoding: the decoder sees only its own tokens.
//! let decoder = NetworkDecoder::new(&model, Weights::F32);
//! let sources = [source.encode("jīqì xuéxí")];
//! let config = DecodingConfig { max_length: Some(10), ..DecodingConfig::default() };
//! let found = decode(&decoder, &[sources[0].as_slice()], &config)?;
//! assert_eq!(target.decode(&found[0].tokens), "機器學習");
//! assert!(found[0].finished); // EOS came before the limit of 10 tokens
//! # Ok(())
//! # }
//! ```
//!
//! Read these first: [`data::batch`], [`model::transformer`], [`training::trainer`], [`decoding::search::beam`],
//! [`checkpoint::run`].
//!
//! [`encode`]: model::network::Network::encode
//! [`decode`]: model::network::Network::decode
//! [`start`]: model::inference::Inference::start
//! [`step`]: model::inference::Inference::step

#![warn(unreachable_pub)]
// The command line uses parts of the library that another crate cannot reach.
#![cfg_attr(not(feature = "cli"), allow(dead_code))]

pub mod checkpoint;
#[cfg(feature = "cli")]
pub mod cli;
pub mod config;
pub(crate) mod console;
pub mod data;
pub mod decoding;
pub mod distributed;
pub mod error;
pub mod experiment;
#[doc(hidden)]
pub mod fuzzing;
pub mod metrics;
pub mod model;
pub mod predictor;
pub mod runtime;
pub mod shim;
pub(crate) mod svg;
pub mod training;

pub use predictor::{Output, Predictor};
