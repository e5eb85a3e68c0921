//! The config that `init` writes: short, with reasons as comments, sized by the number and length of the pairs.

use super::InitArgs;
use super::statistics::{MOST, PairStatistics, Side, TokenizerChoice};

/// The size of a network and its training.
struct Size {
    width: usize,
    feed_forward: usize,
    layers: usize,
    dropout: f64,
    tokens_per_batch: usize,
    learning_rate: f64,
    passes: f64,
}

const SMALL: Size = Size {
    width: 64,
    feed_forward: 256,
    layers: 2,
    dropout: 0.1,
    tokens_per_batch: 1024,
    learning_rate: 3e-3,
    passes: 40.0,
};
const MIDDLE: Size =
    Size { width: 128, feed_forward: 512, layers: 3, learning_rate: 2e-3, passes: 30.0, ..SMALL };
const PROSE: Size = Size {
    width: 256,
    feed_forward: 1024,
    layers: 3,
    dropout: 0.2,
    tokens_per_batch: 4096,
    learning_rate: 1.5e-3,
    passes: 40.0,
};

impl Size {
    /// The size by the tokens of the training pairs' longer side.
    fn of(look: &PairStatistics) -> &'static Size {
        let tokens = look.pairs as f64 * look.source.mean.max(look.target.mean);
        match tokens {
            _ if is_prose(look) => &PROSE,
            ..100_000.0 => &SMALL,
            _ => &MIDDLE,
        }
    }
}

/// Whether a side is prose, for which more than one output is right.
fn is_prose(look: &PairStatistics) -> bool {
    [&look.source, &look.target].iter().any(|side| matches!(side.cut, TokenizerChoice::Bpe(_)))
}

/// The text of the config.
pub(crate) fn config(
    name: &str,
    [train, valid]: &[String; 2],
    look: &PairStatistics,
    args: &InitArgs,
) -> String {
    let size = Size::of(look);
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let shared = match look.shared {
        true => "shared_vocabulary = true    # both sides use the same letters\n",
        false => "",
    };
    format!(
        "# Made by `seqloom init` from {pairs}: a starting point, meant to be edited. `seqloom keys` explains every key.\n\
         # Relative paths start at the folder where seqloom is called.\n\
         \n\
         name = {name}\n\
         \n\
         [data]\n\
         train = {train}\n\
         valid = {valid}\n\
         {shared}{limit}\n\
         {source}{target}{network}{training}",
        pairs = args.pairs.display().to_string().replace(char::is_control, " "),
        name = quoted(name),
        train = quoted(train),
        valid = quoted(valid),
        limit = limit(look),
        source = table("source", &look.source),
        target = table("target", &look.target),
        network = network(look, size),
        training = training(look, size),
    )
}

/// The tables of the model.
fn network(look: &PairStatistics, size: &Size) -> String {
    let &Size { width, feed_forward, layers, dropout, .. } = size;
    let tied = match look.shared {
        true => "tied_embeddings = \"all\"     # one matrix for both sides and the output layer\n",
        false => "",
    };
    format!(
        "[model.transformer]\n\
         width = {width}                 # wider and deeper learns more, but needs more pairs and more time\n\
         heads = 4\n\
         feed_forward = {feed_forward}\n\
         encoder_layers = {layers}\n\
         decoder_layers = {layers}\n\
         dropout = {dropout}               # raise it for few pairs\n\
         {tied}\n"
    )
}

/// The tables of training.
fn training(look: &PairStatistics, size: &Size) -> String {
    let &Size { tokens_per_batch, learning_rate, .. } = size;
    let tokens = look.pairs as f64 * look.source.mean.max(look.target.mean).max(1.0);
    let pass = tokens / tokens_per_batch as f64;
    let steps = round((size.passes * pass).clamp(1000.0, 20_000.0));
    let every = (steps / 10).max(50);
    let (passes, best_by, warmup) = (passes(steps, look, size), best_by(look), steps / 10);
    format!(
        "[training]\n\
         steps = {steps}                # {passes}\n\
         tokens_per_batch = {tokens_per_batch}\n\
         {best_by}validate_every = {every}\n\
         checkpoint_every = {every}\n\
         \n\
         [training.adamw]\n\
         learning_rate = {learning_rate:?}\n\
         \n\
         [training.linear]           # warm-up to the learning rate, then linear decay to 0\n\
         warmup = {warmup}\n"
    )
}

/// The line of `best_by`.
fn best_by(look: &PairStatistics) -> &'static str {
    match is_prose(look) {
        true => "best_by = \"nll\"             # several outputs may be right, so use the loss\n",
        false => "best_by = \"exact_match\"     # `best` is the checkpoint with the highest exact match\n",
    }
}

/// How many passes over the pairs this many updates are. Each text has an EOS, about a tenth of a batch is padding or
/// unused, and the last update of a pass may be small.
fn passes(steps: usize, look: &PairStatistics, size: &Size) -> String {
    let positions = look.pairs as f64 * (look.source.mean.max(look.target.mean) + 1.0) * 1.1;
    let updates = (positions / size.tokens_per_batch as f64).max(1.0);
    match (steps as f64 / updates).round() {
        ..1.0 => "less than one epoch".to_owned(),
        1.0 => "about one epoch".to_owned(),
        passes => format!("about {passes} epochs"),
    }
}

/// The table of a side.
fn table(side: &str, look: &Side) -> String {
    let mut own = String::new();
    if look.longest() > LIMIT {
        own += &format!("max_length = {MOST}\n");
    }
    if look.keeps_space {
        own += "whitespace = \"keep\"         # line breaks and tabs are part of these texts\n";
    }
    if !own.is_empty() {
        own = format!("[data.{side}]\n{own}\n");
    }
    let cut = match look.cut {
        TokenizerChoice::Characters => format!("[data.{side}.characters]\n\n"),
        TokenizerChoice::Words => format!("[data.{side}.words]\n\n"),
        TokenizerChoice::Bpe(pieces) => format!("[data.{side}.bpe]\nvocabulary = {pieces}\n\n"),
    };
    own + &cut
}

/// The default of `max_length`.
const LIMIT: usize = 512;

/// The line of `too_long` for very long texts.
fn limit(look: &PairStatistics) -> &'static str {
    match look.longest() > MOST {
        true => "too_long = \"skip\"           # some texts are very long: skip and count them\n",
        false => "",
    }
}

/// Rounded to two digits.
fn round(steps: f64) -> usize {
    let unit = 10f64.powf(steps.log10().floor() - 1.0).max(50.0);
    ((steps / unit).round() * unit) as usize
}

#[cfg(test)]
mod tests {
    use super::super::statistics::tests::look;
    use super::*;

    #[test]
    fn epochs_count_eos_and_padding_and_are_at_most_the_updates() {
        let pairs = |count: usize| look((0..count).map(|n| (format!("{n:04}"), "MMDCCLXI".to_owned())));
        // 3,602 pairs of 8 + 1 positions plus a tenth are 35 updates of 1,024.
        assert_eq!(passes(1100, &pairs(4000), &SMALL), "about 32 epochs");
        assert_eq!(passes(1000, &pairs(3), &SMALL), "about 1000 epochs");
        assert_eq!(passes(10, &pairs(4000), &SMALL), "less than one epoch");
    }

    #[test]
    fn a_limit_is_written_where_a_text_exceeds_the_default() {
        let long =
            |of: usize| look((0..100).map(move |n| (n.to_string(), "a".repeat(if n == 7 { of } else { 9 }))));
        for (length, limited, skipped) in [(512, false, false), (600, true, false), (3000, true, true)] {
            let look = long(length);
            assert_eq!(table("target", &look.target).contains("max_length = 2048\n"), limited);
            assert_eq!(limit(&look).contains("skip"), skipped);
            assert!(!table("source", &look.source).contains("max_length"));
        }
    }

    #[test]
    fn sentences_are_judged_by_their_loss_in_any_script() {
        let sentence =
            |n: usize| (0..9).map(|k| format!("w{}", (n * 7 + k * k) % 2999)).collect::<Vec<_>>().join(" ");
        let look = look((0..4000).map(|n| (sentence(n), format!("{}", n % 900))));
        assert!(
            look.target.cut == TokenizerChoice::Characters && best_by(&look).starts_with("best_by = \"nll\"")
        );
    }
}
