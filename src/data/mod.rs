//! From files to batches: pairs are read, tokenized, sampled and padded.
//!
//! This folder makes CPU tensors and knows no model. A side of the data is tokens today and may be frames of audio later,
//! so a batch hands the model a [`batch::SourceBatch`], and only the encoder's front looks inside.

mod config;

pub use config::{
    BpeConfig, CharactersConfig, DataConfig, Empty, Files, Normalize, PairFile, SideConfig, TooLong,
    Whitespace, WordsConfig,
};

pub mod batch;
pub mod batch_sampler;
pub mod corpus;
pub mod dataset;
pub mod lexicon;
pub mod loader;
pub mod readers;
pub mod shard;
pub mod source;
pub mod splits;
pub mod text_form;
pub mod tokenizer;
pub mod vocabulary;
