//! BPE dropout (Provilkov et al. 2020): training reads a text in other pieces in each pass.
//!
//! It starts from ids (`merger.rs`), so a set whose texts stay in files needs no text. Before each merge every possible one is
//! left out with a probability.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;

use super::merger::Merger;
use super::parts::Parts;
use super::{SideConfig, Tokenizer};

/// The dropout of a side.
#[derive(Clone, Debug)]
pub(crate) struct BpeDropout {
    columns: Columns,
    /// The most tokens of the side.
    max_length: usize,
}

#[derive(Clone, Debug)]
enum Columns {
    One(Arc<Merger>),
    /// The columns of a source, each with its own merges or none.
    Several(Arc<Parts>, Vec<Option<Arc<Merger>>>),
}

impl BpeDropout {
    /// That of a side with one column.
    pub(super) fn of_one(merger: Merger, max_length: usize) -> BpeDropout {
        BpeDropout { columns: Columns::One(Arc::new(merger)), max_length }
    }

    /// That of a source with several columns, one of which has merges at least.
    pub(super) fn of_several(
        parts: Arc<Parts>,
        mergers: Vec<Option<Merger>>,
        max_length: usize,
    ) -> BpeDropout {
        let mergers = mergers.into_iter().map(|merger| merger.map(Arc::new)).collect();
        BpeDropout { columns: Columns::Several(parts, mergers), max_length }
    }

    /// The ids of the same text in pieces that are drawn anew. They stay as they are if there would be more than the side
    /// may have.
    pub(crate) fn apply(&self, ids: Vec<i64>, random: &mut ChaCha8Rng) -> Vec<i64> {
        let drawn = match &self.columns {
            Columns::One(merger) => merger.redraw(&ids, random),
            Columns::Several(parts, mergers) => {
                parts.each_column(&ids, |number, ids| match &mergers[number] {
                    Some(merger) => merger.redraw(&ids, random),
                    None => ids,
                })
            }
        };
        if drawn.len() > self.max_length { ids } else { drawn }
    }
}

impl Tokenizer {
    /// The dropout that the config asks for; `None` if it asks for none, or nothing here is merged.
    pub(crate) fn bpe_dropout(&self, config: &SideConfig) -> Option<BpeDropout> {
        let max_length = config.max_length;
        let merger = |tokenizer: &Tokenizer, config: &SideConfig| {
            (config.bpe_dropout > 0.0).then(|| tokenizer.scheme.merger(config.bpe_dropout)).flatten()
        };
        let Some(parts) = &self.parts else {
            return merger(self, config).map(|merger| BpeDropout::of_one(merger, max_length));
        };
        let mergers = parts.list().zip(&config.parts).map(|((.., tokenizer), part)| merger(tokenizer, part));
        let mergers: Vec<Option<Merger>> = mergers.collect();
        let any = mergers.iter().any(Option::is_some);
        any.then(|| BpeDropout::of_several(parts.clone(), mergers, max_length))
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::data::PiecesConfig;
    use crate::data::vocabulary::UNK;

    const TEXTS: [&str; 5] =
        ["low lower lowest", "new newer newest", "wide wider widest", "a low b?w 12", "slow newest 機器學習"];

    fn side(bpe_dropout: f64) -> SideConfig {
        let pieces = PiecesConfig { vocabulary: 60, split_scripts: true, ..PiecesConfig::default() };
        SideConfig { bpe: Some(pieces), bpe_dropout, ..SideConfig::default() }
    }

    fn drawn(side: &SideConfig, text: &str, seed: u64) -> [Vec<i64>; 2] {
        let tokenizer = Tokenizer::train(side, TEXTS[..3].iter().copied()).unwrap();
        let ids = tokenizer.encode(text);
        let dropout = tokenizer.bpe_dropout(side).unwrap();
        let drawn = dropout.apply(ids.clone(), &mut ChaCha8Rng::seed_from_u64(seed));
        if !ids.contains(&UNK) {
            assert_eq!(tokenizer.decode(&drawn), text);
        }
        [ids, drawn]
    }

    #[test]
    fn merging_once_more_gives_the_pieces_of_the_tokenizer() {
        for text in TEXTS {
            let [ids, drawn] = drawn(&side(1e-12), text, 1);
            assert_eq!(ids, drawn, "{text}");
        }
    }

    #[test]
    fn without_merges_there_are_characters() {
        let [ids, drawn] = drawn(&side(1.0), "lowest newest", 1);
        assert!(ids.len() < 8 && drawn.len() == "▁lowest▁newest".chars().count(), "{ids:?}: {drawn:?}");
    }

    #[test]
    fn a_seed_decides_about_the_pieces_and_a_long_side_stays() {
        let all: Vec<Vec<i64>> =
            (0..50).map(|seed| drawn(&side(0.3), "lowest newest", seed)[1].clone()).collect();
        let again: Vec<Vec<i64>> =
            (0..50).map(|seed| drawn(&side(0.3), "lowest newest", seed)[1].clone()).collect();
        assert_eq!(all, again);
        let different: std::collections::HashSet<&Vec<i64>> = all.iter().collect();
        assert!(different.len() > 10, "{}", different.len());
        let short = SideConfig { max_length: 3, ..side(1.0) };
        let [ids, drawn] = drawn(&short, "lowest newest", 1);
        assert_eq!(ids, drawn);
    }

    #[test]
    fn of_several_columns_those_with_dropout_are_drawn() {
        let column = |name: &str, bpe_dropout| SideConfig { column: name.to_owned(), ..side(bpe_dropout) };
        let source = SideConfig {
            parts: vec![column("a", 0.0), column("b", 1.0)],
            bpe: None,
            bpe_dropout: 0.0,
            ..side(0.0)
        };
        let texts = ["low lower lowest\tnew newer newest", "low lower lowest\tnewest"];
        let tokenizer = Tokenizer::train(&source, texts.into_iter()).unwrap();
        let dropout = tokenizer.bpe_dropout(&source).unwrap();
        let ids = tokenizer.encode(texts[1]);
        let drawn = dropout.apply(ids.clone(), &mut ChaCha8Rng::seed_from_u64(1));
        let of_first = tokenizer.encode("low lower lowest\t");
        assert_eq!(drawn[..of_first.len()], of_first);
        assert_eq!(drawn.len() - of_first.len(), "▁newest".chars().count());
        assert_eq!(tokenizer.decode(&drawn), texts[1]);
    }
}
