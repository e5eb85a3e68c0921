//! The headings under which `--help` groups options. An option without a heading concerns the command as a whole.

/// What is trained or run.
pub const MODEL: &str = "Model";
/// Which models a mean is of.
pub const MODELS: &str = "Models to average";
/// The experiment.
pub const CONFIG: &str = "Config";
/// The weights that training begins with.
pub const BEGINNING: &str = "Initial weights";
/// A run and its directory.
pub const RUN: &str = "Run";
/// What is read.
pub const INPUT: &str = "Input";
/// What is written.
pub const OUTPUT: &str = "Output";
/// How outputs are found.
pub const SEARCH: &str = "Search";
/// What shows how an output comes about.
pub const INSIGHT: &str = "Inspection";
/// What a shortlist is made of.
pub const LISTS: &str = "Lists";
