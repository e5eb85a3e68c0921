//! From files to batches: pairs are read, tokenized, sampled and padded.
//!
//! This folder creates CPU tensors and depends on no model. A source is tokens or frames of a recording
//! ([`source::SourceItem`]), so a batch has a [`batch::SourceBatch`], which only the encoder's front reads.

mod config;

pub use config::*;

pub mod audio;
pub mod batch;
pub mod batch_sampler;
pub(crate) mod contents;
pub(crate) mod corpus;
pub mod dataset;
pub(crate) mod held_out;
pub(crate) mod learning;
pub(crate) mod left_behind;
pub mod left_out;
pub(crate) mod lexicon;
pub mod loader;
pub(crate) mod partial_file;
pub(crate) mod passes;
pub(crate) mod prepare;
pub(crate) mod prepared;
pub(crate) mod problems;
pub mod readers;
pub(crate) mod selection;
pub(crate) mod shard;
pub mod source;
pub mod source_processor;
pub mod splits;
pub(crate) mod survey;
pub(crate) mod text_form;
pub(crate) mod token_store;
pub mod tokenizer;
pub mod vocabulary;

/// Hears of a long step: what is done, how many rows of it, and of how many, if that is known.
pub type Progress<'a> = &'a dyn Fn(&str, usize, Option<usize>);
