//! Forced alignment: the frames of each token of a sequence, by the likeliest of its alignments (Viterbi).

use super::log_probs::CtcLogProbs;
use crate::data::source::required_frames;
use crate::error::{Error, Result, counted};

/// The frames of a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenSpan {
    /// The token.
    pub token: i64,
    /// Its first frame, from 0.
    pub first_frame: usize,
    /// Its last frame.
    pub last_frame: usize,
    /// The sum of its log-probabilities at these frames.
    pub log_p: f64,
}

/// The likeliest alignment of a sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Alignment {
    /// A span for each token, in order. Frames between two spans are blanks.
    pub spans: Vec<TokenSpan>,
    /// The log-probability of the alignment, blanks counted in.
    pub log_p: f64,
}

/// Aligns a sequence to the frames.
///
/// # Errors
/// There are fewer frames than [`required_frames`]; a token is the blank or no symbol; all alignments are impossible.
pub fn align(log_probs: &CtcLogProbs, tokens: &[i64]) -> Result<Alignment> {
    let (needed, frames) = (required_frames(tokens), log_probs.frames());
    if frames < needed {
        let tokens = counted(tokens.len(), "token");
        let message =
            format!("an alignment of {tokens} must have at least {needed} frames, but there are {frames}");
        return Err(Error::input(message));
    }
    let is_token =
        |token: &i64| *token != log_probs.blank() && (0..log_probs.symbols() as i64).contains(token);
    if let Some(token) = tokens.iter().find(|token| !is_token(token)) {
        return Err(Error::failure(format!(
            "an alignment must be of tokens of the CTC head, but {token} is none"
        )));
    }
    let trellis = Trellis::new(log_probs, tokens);
    match trellis.log_p() {
        f64::NEG_INFINITY => {
            Err(Error::input("an alignment must be possible, but the CTC head gives it no probability"))
        }
        log_p => Ok(Alignment { spans: trellis.spans(log_probs, tokens), log_p }),
    }
}

/// The best log-probability of each state after the last frame, and how it got there. States are a blank, the first
/// token, a blank, the second token, and so on to a last blank.
struct Trellis {
    states: usize,
    /// (2 L + 1)
    best: Vec<f64>,
    /// (T' * (2 L + 1)): how many states before this one the best way to it comes from: 0, 1 or 2.
    moves: Vec<u8>,
}

impl Trellis {
    fn new(log_probs: &CtcLogProbs, tokens: &[i64]) -> Trellis {
        let states = 2 * tokens.len() + 1;
        let symbol =
            |state: usize| if state.is_multiple_of(2) { log_probs.blank() } else { tokens[state / 2] };
        // A blank may be left out between two tokens that differ.
        let skips = |state: usize| state % 2 == 1 && state > 1 && symbol(state) != symbol(state - 2);
        let mut moves = Vec::with_capacity(log_probs.frames() * states);
        let mut best = vec![f64::NEG_INFINITY; states];
        best[0] = 0.0;
        for frame in 0..log_probs.frames() {
            let before = best.clone();
            for state in 0..states {
                // Before the first frame only the first blank has a probability, and the first token follows it as
                // well.
                let reach = if skips(state) { 2 } else { 1 }.min(state);
                let from = |back: &u8| before[state - usize::from(*back)];
                let back = (1..=reach as u8)
                    .fold(0, |best, back| if from(&back) > from(&best) { back } else { best });
                best[state] = from(&back) + log_probs.at(frame, symbol(state));
                moves.push(back);
            }
        }
        Trellis { states, best, moves }
    }

    /// The state of the last frame: the last blank or the last token.
    fn last(&self) -> usize {
        let blank = self.states - 1;
        if blank > 0 && self.best[blank - 1] > self.best[blank] { blank - 1 } else { blank }
    }

    fn log_p(&self) -> f64 {
        self.best[self.last()]
    }

    fn spans(&self, log_probs: &CtcLogProbs, tokens: &[i64]) -> Vec<TokenSpan> {
        let mut spans: Vec<TokenSpan> = tokens
            .iter()
            .map(|&token| TokenSpan { token, first_frame: 0, last_frame: 0, log_p: 0.0 })
            .collect();
        let mut state = self.last();
        for frame in (0..log_probs.frames()).rev() {
            if state % 2 == 1 {
                let span = &mut spans[state / 2];
                // The frames come from the last to the first.
                span.first_frame = frame;
                span.last_frame = span.last_frame.max(frame);
                span.log_p += log_probs.at(frame, span.token);
            }
            state -= usize::from(self.moves[frame * self.states + state]);
        }
        spans
    }
}
