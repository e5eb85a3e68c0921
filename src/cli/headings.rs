//! The headings under which `--help` groups options. An option without a heading concerns the command as a whole.

/// Options about models.
pub(crate) const MODEL: &str = "Model";
/// Options about the models to average.
pub(crate) const MODELS: &str = "Models to average";
/// Options about the experiment.
pub(crate) const CONFIG: &str = "Config";
/// Options about initial weights.
pub(crate) const BEGINNING: &str = "Initial weights";
/// Options about the run directory.
pub(crate) const RUN: &str = "Run";
/// Options about the input.
pub(crate) const INPUT: &str = "Input";
/// Options about the output.
pub(crate) const OUTPUT: &str = "Output";
/// Options about the search.
pub(crate) const SEARCH: &str = "Search";
/// Options that show how an output is made.
pub(crate) const INSIGHT: &str = "Inspection";
/// Options about the lists of a shortlist.
pub(crate) const LISTS: &str = "Lists";
/// Options about intervals and tests.
pub(crate) const STATISTICS: &str = "Statistics";
