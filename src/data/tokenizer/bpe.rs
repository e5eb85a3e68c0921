//! Byte-pair encoding (Sennrich et al. 2016) on characters, trained and applied by crate `tokenizers`.
//!
//! It knows words alone; `pieces.rs` makes them of texts. Only the crate's model is used, not its pipeline, which finds
//! special tokens in any text that spells them.

use std::collections::HashSet;

use serde_json::Value;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::utils::parallelism::set_parallelism;
use tokenizers::{Model as _, Trainer};

use super::bytes;
use super::lesson::Lesson;
use super::scheme::Each;
use crate::data::vocabulary::{SPECIALS, UNK, Vocabulary, is_special};
use crate::error::{Error, Result};

/// A pair that occurs once gets no token.
const MINIMUM_PAIR_COUNT: u64 = 2;

/// A trained byte-pair encoding.
#[derive(Clone, Debug)]
pub(super) struct Bpe {
    vocabulary: Vocabulary,
    merges: Vec<(String, String)>,
    model: BPE,
}

impl Bpe {
    /// Learns merges until the vocabulary has the size of the lesson, or no pair occurs twice.
    ///
    /// # Errors
    /// The crate fails.
    pub(super) fn learn(lesson: &Lesson) -> Result<Bpe> {
        let reserved = bytes::reserved(lesson.has_bytes);
        // There are no more merges than characters, and the trainer allocates memory for as many as requested.
        let characters: usize = lesson.words.iter().map(|word| word.len()).sum();
        let most = reserved + lesson.alphabet.len() + characters;
        // Without special tokens: the trainer would give the id of `<eos>` to a merge that spells it.
        let mut trainer = BpeTrainer::builder()
            .vocab_size(lesson.size.min(most) - reserved)
            .min_frequency(MINIMUM_PAIR_COUNT)
            .show_progress(false)
            .build();
        // One thread is as fast as two here, and `runtime.threads` stays the limit.
        set_parallelism(false);
        let mut model = BPE::default();
        let whole = |word: &str| Ok(vec![word.to_owned()]);
        let trained = trainer.feed(lesson.words.iter(), whole).and_then(|()| trainer.train(&mut model));
        trained.map_err(|error| Error::failure(format!("BPE training: {error}")))?;
        let (vocabulary, merges) = take_over(&model, lesson.has_bytes)?;
        Bpe::new(vocabulary, merges).map_err(Error::failure)
    }

    /// The encoding with this vocabulary and merges.
    ///
    /// # Errors
    /// A merge has a token that is not in the vocabulary, or a token is neither a byte, a character nor the result of a merge.
    pub(super) fn new(
        vocabulary: Vocabulary,
        merges: Vec<(String, String)>,
    ) -> std::result::Result<Bpe, String> {
        let made: HashSet<String> = merges.iter().map(|(left, right)| format!("{left}{right}")).collect();
        let parts = merges.iter().flat_map(|(left, right)| [left, right]);
        if let Some(token) = parts.chain(&made).find(|token| vocabulary.id(token).is_none()) {
            let must = "a merge and its two parts must be tokens of the vocabulary";
            return Err(format!("{must}, but one has {token:?}"));
        }
        let reserved = bytes::reserved(bytes::check(&vocabulary).is_ok());
        let of_text = vocabulary.tokens().iter().skip(reserved);
        let mut of_none = of_text.filter(|token| token.chars().count() != 1 && !made.contains(*token));
        if let Some(token) = of_none.next() {
            let must = "each of its tokens must be a character or the result of a merge";
            return Err(format!("{must}, but one is {token:?}"));
        }
        if let Some(byte) =
            vocabulary.tokens()[SPECIALS.len()..reserved].iter().find(|byte| made.contains(*byte))
        {
            return Err(format!("a merge must not spell a byte, but one makes {byte:?}"));
        }
        let ids = vocabulary.tokens().iter().cloned().zip(0..);
        let model = BPE::builder()
            .vocab_and_merges(ids.collect::<tokenizers::models::bpe::Vocab>(), merges.clone())
            .unk_token(SPECIALS[UNK as usize].to_string())
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Bpe { vocabulary, merges, model })
    }

    /// Tokens and ids.
    pub(super) fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The pairs of tokens to merge, in the order of application.
    pub(super) fn merges(&self) -> &[(String, String)] {
        &self.merges
    }

    /// The same as texts: `["a b", …]`.
    pub(super) fn merges_as_texts(&self) -> Value {
        self.merges.iter().map(|(left, right)| format!("{left} {right}")).collect()
    }

    /// Cuts a word.
    pub(super) fn cut(&self, word: &str, each: Each) {
        // The model fails only without `<unk>`, which every vocabulary has.
        for token in self.model.tokenize(word).unwrap_or_default() {
            each(i64::from(token.id), word.get(token.offsets.0..token.offsets.1).unwrap_or_default());
        }
    }

    /// The same with more characters, which are never merged.
    ///
    /// # Errors
    /// A character exists already, or is none.
    pub(super) fn extended(&self, symbols: &[String]) -> Result<Bpe> {
        let tokens = self.vocabulary.tokens().iter().chain(symbols).cloned().collect();
        Bpe::new(Vocabulary::from_tokens(tokens)?, self.merges.clone()).map_err(Error::failure)
    }
}

/// Vocabulary and merges of a trained model: first the alphabet in the order of code points, then the result of each
/// merge. A merge that spells a special token or a byte is excluded, with all that depend on it.
fn take_over(model: &BPE, has_bytes: bool) -> Result<(Vocabulary, Vec<(String, String)>)> {
    let mut learned: Vec<(String, u32)> = model.get_vocab().into_iter().collect();
    learned.sort_unstable_by_key(|(_, id)| *id);
    let mut tokens = bytes::reserved_tokens(has_bytes);
    let reserved = tokens.len();
    tokens.extend(learned.into_iter().map(|(token, _)| token).filter(|token| token.chars().count() == 1));
    let mut known: HashSet<String> = tokens[reserved..].iter().cloned().collect();
    let mut merges = Vec::new();
    for (left, right) in merges_of(model)? {
        let made = format!("{left}{right}");
        let is_reserved = is_special(&made) || has_bytes && bytes::is_token(&made);
        if is_reserved || !known.contains(&left) || !known.contains(&right) {
            continue;
        }
        if known.insert(made.clone()) {
            tokens.push(made);
        }
        merges.push((left, right));
    }
    Ok((Vocabulary::from_tokens(tokens)?, merges))
}

/// The merges in order; the crate exposes them only in its JSON.
fn merges_of(model: &BPE) -> Result<Vec<(String, String)>> {
    let merges = serde_json::to_value(model).map(|mut json| json["merges"].take());
    merges.and_then(serde_json::from_value).map_err(|error| {
        Error::failure(format!(
            "BPE training: crate tokenizers returned its merges in an unexpected form: {error}"
        ))
    })
}
