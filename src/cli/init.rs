//! `seqloom init`: a config for the user's own pairs, and a split into training, validation and test.
//!
//! The values of the config follow from statistics of the pairs (`statistics`). The split of a pair follows from its
//! source and a seed (`split`). No file is overwritten or left half-written.

mod page;
mod read;
mod split;
mod statistics;

use std::path::{Path, PathBuf};

use clap::{ArgAction, Args};

use self::read::{Pairs, read};
use self::split::{Split, split};
use self::statistics::{MOST, PairStatistics};
use super::headings::{INPUT, OUTPUT};
use crate::checkpoint::files::write_file;
use crate::config::Experiment;
use crate::console::status;
use crate::error::{Error, Result, counted};

/// Arguments of `seqloom init`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  seqloom init pairs.csv
  seqloom init words.tsv --source-column word --target-column ipa
  seqloom init train.en --targets train.de --name en_de
  seqloom train pairs.toml

Writes NAME.toml, NAME.train.csv, NAME.valid.csv and NAME.test.csv. Validation and test get 5 % of the pairs each, at most \
1,000; pairs with the same source stay together. The config is a starting point: its values follow from the number of pairs \
and their length.")]
pub(crate) struct InitArgs {
    /// Pairs in .csv, .tsv, .jsonl, .json or .parquet; with --targets: text with one source per line
    pairs: PathBuf,
    /// Text with one target for each line of PAIRS
    #[arg(long, value_name = "FILE", conflicts_with_all = ["source_column", "target_column", "header"], help_heading = INPUT)]
    targets: Option<PathBuf>,
    /// Column of the sources [default: `source`, or the first of two]
    #[arg(long, value_name = "COLUMN", help_heading = INPUT)]
    source_column: Option<String>,
    /// Column of the targets [default: `target`, or the second of two]
    #[arg(long, value_name = "COLUMN", help_heading = INPUT)]
    target_column: Option<String>,
    /// Whether the first row of .csv and .tsv names the columns; if not, column 1 is the source and column 2 the target
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set, help_heading = INPUT)]
    header: bool,
    /// Name of the experiment, and of its files [default: the name of PAIRS]
    #[arg(long, help_heading = OUTPUT)]
    name: Option<String>,
    /// Write the files into this folder, which must exist
    #[arg(long, value_name = "DIR", default_value = ".", help_heading = OUTPUT)]
    out: PathBuf,
    /// Seed that chooses the pairs for validation and test
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = OUTPUT)]
    seed: u64,
}

/// Reads the pairs, splits them, computes statistics, and writes the files.
pub(crate) fn run(args: &InitArgs) -> Result<()> {
    let name = match (&args.name, args.pairs.file_stem()) {
        (Some(name), _) => name.clone(),
        (None, Some(stem)) => stem.to_string_lossy().into_owned(),
        (None, None) => return Err(Error::input("the pairs must be a file").hint("name one, or use --name")),
    };
    if name.contains(['/', '\\']) {
        let message = format!("--name must be a name, not a path, but it is `{name}`");
        return Err(Error::input(message).hint("choose the folder with --out"));
    }
    let files = Files::new(&args.out, &name);
    files.refuse_old()?;
    let pairs = read(args)?;
    let sources: Vec<&str> = pairs.rows.iter().map(|(source, _)| source.as_str()).collect();
    let Some(parts) = split(&sources, args.seed) else {
        let message =
            "there must be at least three different sources, for training, validation and test, but";
        let there = counted(pairs.rows.len(), "pair");
        return Err(Error::input(format!("{message} {} has fewer in its {there}", args.pairs.display())));
    };
    let look = PairStatistics::new(&pairs.rows, &parts);
    let config = page::config(&name, &files.for_config(), &look, args);
    // A config that does not load would be a bug of ours.
    Experiment::parse(&config, &files.config.display().to_string(), &[])?;
    files.write(&pairs, &parts, &config)?;
    say(&files, &pairs, &parts, &look);
    Ok(())
}

/// The files to write.
struct Files {
    config: PathBuf,
    /// Training, validation and test.
    pairs: [PathBuf; 3],
}

impl Files {
    fn new(folder: &Path, name: &str) -> Files {
        let folder = if folder == Path::new(".") { Path::new("") } else { folder };
        let pairs = ["train", "valid", "test"].map(|part| folder.join(format!("{name}.{part}.csv")));
        Files { config: folder.join(format!("{name}.toml")), pairs }
    }

    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.pairs.iter().chain([&self.config])
    }

    /// Paths of the training and validation pairs for the config.
    fn for_config(&self) -> [String; 2] {
        [0, 1].map(|part: usize| self.pairs[part].display().to_string())
    }

    fn refuse_old(&self) -> Result<()> {
        match self.all().find(|path| path.symlink_metadata().is_ok()) {
            Some(path) => {
                Err(Error::input(format!("{} already exists and is not overwritten", path.display()))
                    .hint("use another --name or --out"))
            }
            None => Ok(()),
        }
    }

    /// Writes all files, the config last; if one fails, removes the others.
    fn write(&self, pairs: &Pairs, parts: &Split, config: &str) -> Result<()> {
        let mut contents = Vec::new();
        for rows in parts.all() {
            contents.push(table(pairs, rows)?);
        }
        contents.push(config.as_bytes().to_vec());
        self.refuse_old()?;
        for (number, (path, bytes)) in self.all().zip(&contents).enumerate() {
            if let Err(error) = write_file(path, bytes) {
                self.all().take(number).for_each(|path| drop(std::fs::remove_file(path)));
                return Err(error);
            }
        }
        Ok(())
    }
}

/// These rows as CSV.
fn table(pairs: &Pairs, rows: &[usize]) -> Result<Vec<u8>> {
    let failed = |error: &dyn std::fmt::Display| Error::failure(format!("cannot write a CSV row: {error}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["source", "target"]).map_err(|error| failed(&error))?;
    for &row in rows {
        let (source, target) = &pairs.rows[row];
        writer.write_record([source, target]).map_err(|error| failed(&error))?;
    }
    writer.into_inner().map_err(|error| failed(&error))
}

/// Prints the results and the next command.
fn say(files: &Files, pairs: &Pairs, parts: &Split, look: &PairStatistics) {
    for note in &pairs.notes {
        status(note);
    }
    for ((path, rows), purpose) in
        files.pairs.iter().zip(parts.all()).zip(["training", "validation", "the test"])
    {
        status(&format!("{}: {} for {purpose}", path.display(), counted(rows.len(), "pair")));
    }
    for (side, seen) in [("sources", &look.source), ("targets", &look.target)] {
        status(&format!("tokens of the {side}: {} ({})", seen.cut.in_words(), seen.why));
    }
    let longer = look.longer_than(MOST);
    if longer > 0 {
        let pairs = counted(longer, "pair");
        status(&format!(
            "training will skip {pairs} with a side of more than {MOST} tokens (`data.too_long`)"
        ));
    }
    status(&format!(
        "{}: the config. Train with: seqloom train {}",
        files.config.display(),
        for_shell(&files.config.display().to_string())
    ));
}

/// A path quoted for a shell.
fn for_shell(path: &str) -> String {
    let is_plain = |character: char| character.is_alphanumeric() || "/._-+=:@%,".contains(character);
    match path.chars().all(is_plain) {
        true => path.to_owned(),
        false => format!("'{}'", path.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::for_shell;

    #[test]
    fn a_path_is_quoted_where_a_shell_would_split_it() {
        assert_eq!(for_shell("a/wörter-1.toml"), "a/wörter-1.toml");
        assert_eq!(for_shell("my exp.toml"), "'my exp.toml'");
        assert_eq!(for_shell("it's.toml"), "'it'\\''s.toml'");
    }
}
