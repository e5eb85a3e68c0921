//! Decodes the lines of standard input with a trained model, from Rust:
//!
//!     echo 'March 5, 2024' | cargo run --release --example decode runs/dates

use std::path::Path;

use seqloom::Predictor;
use seqloom::error::{Error, Result};

fn main() -> Result<()> {
    let run = std::env::args().nth(1).ok_or_else(|| Error::input("name a run directory"))?;
    let lines = std::io::read_to_string(std::io::stdin()).map_err(|error| Error::input(error.to_string()))?;
    let texts: Vec<&str> = lines.lines().collect();
    for (text, output) in texts.iter().zip(decode(Path::new(&run), &texts)?) {
        println!("{text} -> {output}");
    }
    Ok(())
}

/// The output of each text, with a note if it is unfinished. All other settings are those of training.
pub fn decode(run: &Path, texts: &[&str]) -> Result<Vec<String>> {
    let decoder = Predictor::with_overrides(run, &["decoding.beam=5", "runtime.threads=1"])?;
    let outputs = decoder.outputs(texts)?.into_iter().map(|output| match output.hypothesis.finished {
        true => output.text,
        false => format!("{} (and more)", output.text),
    });
    Ok(outputs.collect())
}
