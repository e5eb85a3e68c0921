//! Byte-pair encoding (Sennrich et al. 2016) on characters, trained and applied by crate `tokenizers`.
//!
//! A text is split into words before each space. The space is written as `▁` (U+2581) at the start of its word,
//! including the first word, as in SentencePiece: so joining the tokens restores every space. If line breaks and tabs
//! are kept, a word starts at each of them as well. Only the crate's model is used, not its pipeline, which finds
//! special tokens in any text that spells them.

use std::collections::HashSet;

use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::utils::parallelism::set_parallelism;
use tokenizers::{Model, Trainer};

use crate::data::text_form::{TextForm, breaks};
use crate::data::vocabulary::{SPECIALS, UNK, Vocabulary, is_special};
use crate::error::{Error, Result};

/// The mark for a space at the start of a word.
pub(super) const SPACE: char = '▁';

/// A pair that occurs once gets no token.
const MINIMUM_PAIR_COUNT: u64 = 2;

/// Merges are learned from words of at most this many characters, longer ones in parts: the trainer's time is quadratic
/// in the longest word, and text without spaces is one word. Encoding takes linear time and needs no parts.
const LONGEST_LEARNED: usize = 500;

/// A trained byte-pair encoding.
#[derive(Clone, Debug)]
pub(crate) struct Bpe {
    vocabulary: Vocabulary,
    merges: Vec<(String, String)>,
    model: BPE,
}

impl Bpe {
    /// Learns merges until the vocabulary, including the special tokens, has `size` tokens, or no pair occurs twice.
    ///
    /// # Errors
    /// The characters of the texts alone need a larger vocabulary.
    pub(super) fn train<'a>(
        size: usize,
        form: TextForm,
        texts: impl Iterator<Item = &'a str>,
    ) -> Result<Bpe> {
        let words: Vec<String> = texts.map(|text| mark_spaces(&form.apply(text))).collect();
        let alphabet: HashSet<char> = words.iter().flat_map(|text| text.chars()).collect();
        let smallest = alphabet.len() + SPECIALS.len();
        if size < smallest {
            let message = format!(
                "a BPE vocabulary must contain each character of the training text, {} here with the mark for a space, \
                 and {} special tokens, but `vocabulary` is {size}",
                alphabet.len(),
                SPECIALS.len()
            );
            return Err(Error::input(message).hint(format!("set `vocabulary` to at least {smallest}")));
        }
        // There are no more merges than characters, and the trainer allocates memory for as many as requested.
        let most = smallest + words.iter().map(String::len).sum::<usize>();
        // Without special tokens: the trainer would give the id of `<eos>` to a merge that spells it.
        let mut trainer = BpeTrainer::builder()
            .vocab_size(size.min(most) - SPECIALS.len())
            .min_frequency(MINIMUM_PAIR_COUNT)
            .show_progress(false)
            .build();
        // One thread is as fast as two here, and `runtime.threads` stays the limit.
        set_parallelism(false);
        let mut model = BPE::default();
        let split = |text: &str| Ok(words_of(text).flat_map(parts_of).map(str::to_string).collect());
        let trained = trainer.feed(words.into_iter(), split).and_then(|()| trainer.train(&mut model));
        trained.map_err(|error| Error::failure(format!("BPE training: {error}")))?;
        let (vocabulary, merges) = take_over(&model)?;
        Bpe::new(vocabulary, merges).map_err(Error::failure)
    }

    /// The encoding with this vocabulary and merges.
    ///
    /// # Errors
    /// A merge has a token that is not in the vocabulary, or a token is neither a character nor the result of a merge.
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
        let mut of_text = vocabulary.tokens().iter().skip(SPECIALS.len());
        if let Some(token) = of_text.find(|token| token.chars().count() != 1 && !made.contains(*token)) {
            let must = "each of its tokens must be a character or the result of a merge";
            return Err(format!("{must}, but one is {token:?}"));
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
    pub(crate) fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The pairs of tokens to merge, in the order of application.
    pub(crate) fn merges(&self) -> &[(String, String)] {
        &self.merges
    }

    /// The ids of a text in its form.
    pub(super) fn encode(&self, text: &str) -> Vec<i64> {
        let marked = mark_spaces(text);
        let mut ids = Vec::with_capacity(marked.len() / 2);
        for word in words_of(&marked) {
            // The model fails only without `<unk>`, which every vocabulary has.
            let tokens = self.model.tokenize(word).unwrap_or_default();
            ids.extend(tokens.iter().map(|token| i64::from(token.id)));
        }
        ids
    }
}

/// The text with a mark for each space and one before the first word; an empty text stays empty.
pub(super) fn mark_spaces(text: &str) -> String {
    let mut marked = String::with_capacity(text.len() + text.len() / 4 + 4);
    for character in text.chars() {
        if marked.is_empty() {
            marked.push(SPACE);
        }
        marked.push(if character == ' ' { SPACE } else { character });
    }
    marked
}

/// The words of a marked text, each with its mark, line break or tab in front.
fn words_of(marked: &str) -> impl Iterator<Item = &str> {
    let begins = |character: char| character == SPACE || breaks(character);
    let starts = marked.match_indices(begins).map(|(start, _)| start);
    let ends = starts.clone().skip(1).chain([marked.len()]);
    starts.zip(ends).map(|(start, end)| &marked[start..end])
}

/// A word in parts for training.
fn parts_of(word: &str) -> impl Iterator<Item = &str> {
    let starts = word.char_indices().step_by(LONGEST_LEARNED).map(|(start, _)| start);
    let ends = starts.clone().skip(1).chain([word.len()]);
    starts.zip(ends).map(|(start, end)| &word[start..end])
}

/// The text of tokens: marks become spaces again, except the one before the first word.
pub(super) fn join<'a>(tokens: impl Iterator<Item = &'a str>) -> String {
    let marked: String = tokens.collect();
    unmark(marked.strip_prefix(SPACE).unwrap_or(&marked))
}

/// Replaces marks by spaces.
pub(super) fn unmark(marked: &str) -> String {
    marked.replace(SPACE, " ")
}

/// Vocabulary and merges of a trained model: first the alphabet in the order of code points, then the result of each
/// merge. A merge that spells a special token is excluded, with all that depend on it.
fn take_over(model: &BPE) -> Result<(Vocabulary, Vec<(String, String)>)> {
    let mut learned: Vec<(String, u32)> = model.get_vocab().into_iter().collect();
    learned.sort_unstable_by_key(|(_, id)| *id);
    let mut tokens: Vec<String> = SPECIALS.iter().map(|name| name.to_string()).collect();
    tokens.extend(learned.into_iter().map(|(token, _)| token).filter(|token| token.chars().count() == 1));
    let mut known: HashSet<String> = tokens[SPECIALS.len()..].iter().cloned().collect();
    let mut merges = Vec::new();
    for (left, right) in merges_of(model)? {
        let made = format!("{left}{right}");
        if is_special(&made) || !known.contains(&left) || !known.contains(&right) {
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
