//! The headings under which `--help` groups options. An option without a heading concerns the command as a whole.

/// Options about models.
pub const MODEL: &str = "Model";
/// Options about the models to average.
pub const MODELS: &str = "Models to average";
/// Options about the experiment.
pub const CONFIG: &str = "Config";
/// Options about initial weights.
pub const BEGINNING: &str = "Initial weights";
/// Options about the run directory.
pub const RUN: &str = "Run";
/// Options about the input.
pub const INPUT: &str = "Input";
/// Options about the output.
pub const OUTPUT: &str = "Output";
/// Options about the search.
pub const SEARCH: &str = "Search";
/// Options that show how an output is made.
pub const INSIGHT: &str = "Inspection";
/// Options about the lists of a shortlist.
pub const LISTS: &str = "Lists";
