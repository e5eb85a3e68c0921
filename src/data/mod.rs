//! From files to batches: pairs are read, tokenized, sampled and padded.
//!
//! This folder creates CPU tensors and depends on no model. A source is tokens today and may be audio frames later, so
//! a batch has a [`batch::SourceBatch`], which only the encoder's front reads.

mod config;

pub use config::{
    BpeConfig, BytesConfig, CharactersConfig, DataConfig, Empty, Files, GraphemesConfig, Normalize, PairFile,
    PretrainedConfig, SideConfig, TableFile, TooLong, UnigramConfig, Whitespace, WordsConfig,
};

pub mod audio;
pub mod batch;
pub mod batch_sampler;
pub(crate) mod corpus;
pub mod dataset;
pub(crate) mod lexicon;
pub mod loader;
pub mod readers;
pub(crate) mod shard;
pub mod source;
pub mod source_processor;
pub mod splits;
pub(crate) mod text_form;
pub mod tokenizer;
pub mod vocabulary;
