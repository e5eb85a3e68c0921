//! What an experiment consists of: systems (configs, or choices of their sweeps), seeds, runs, ensembles, and test sets.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::ExperimentArgs;
use crate::config::{Experiment, Variant};
use crate::data::contents::ContentHashes;
use crate::data::readers::{Format, hint_if_missing};
use crate::data::{DataConfig, Files, PairFile};
use crate::error::{Error, Result};

/// The longest name of a run, in bytes: file systems have names up to 255, and those of its files are longer.
const LONGEST_NAME: usize = 230;

/// A config, or one choice of its sweep.
pub(super) struct System {
    /// The name of the config, with the values of the choice.
    pub name: String,
    /// With the seed of the config.
    pub experiment: Experiment,
}

/// A system with a seed.
pub(super) struct Run {
    /// The name of its folder.
    pub name: String,
    /// With this seed.
    pub experiment: Experiment,
}

/// Something to do, whose outputs for the test sets are files under its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// The run of this number: to train it, and to decode with its model.
    Run(usize),
    /// To decode with models of several seeds together, those of the system of this number.
    Ensemble(usize),
}

/// A row of the table.
pub(super) struct Entry {
    /// The name of a system, or of its ensemble.
    pub name: String,
    /// The number of the system.
    pub system: usize,
    /// Whose outputs are scored: the run of each seed, or the ensemble.
    pub tasks: Vec<Task>,
}

/// How many models of each system decode together: `--ensemble`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EnsembleSize {
    All,
    /// Those with the best validations.
    Best(usize),
}

impl FromStr for EnsembleSize {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<EnsembleSize, String> {
        match (text, text.parse::<usize>()) {
            ("all", _) => Ok(EnsembleSize::All),
            (_, Ok(models @ 2..)) => Ok(EnsembleSize::Best(models)),
            _ => Err("it must be `all` or a number from 2".to_owned()),
        }
    }
}

impl EnsembleSize {
    /// The number of models, of those of so many seeds.
    ///
    /// # Errors
    /// There are not enough seeds.
    fn models(self, seeds: usize) -> Result<usize> {
        let few = |message: String, hint: &str| Err(Error::input(message).hint(hint));
        match self {
            _ if seeds < 2 => few(
                "an ensemble must have models of several seeds, but there is one seed".to_owned(),
                "name more with --seeds 1,2,3, or leave out --ensemble",
            ),
            EnsembleSize::Best(models) if models > seeds => few(
                format!("--ensemble {models} needs models of {models} seeds, but there are {seeds}"),
                "name more with --seeds, or use --ensemble all",
            ),
            EnsembleSize::Best(models) => Ok(models),
            EnsembleSize::All => Ok(seeds),
        }
    }
}

/// A test set.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TestSet {
    pub name: String,
    /// Pairs, or sources alone.
    pub input: PathBuf,
    /// The references of sources alone.
    pub targets: Option<PathBuf>,
    /// The format of the input, if its config names one for this file.
    pub format: Option<Format>,
    pub header: Option<bool>,
}

/// The whole experiment.
pub(super) struct Plan {
    pub name: String,
    /// The folder of all its files.
    pub place: PathBuf,
    pub systems: Vec<System>,
    pub seeds: Vec<u64>,
    /// The runs of the first system, then those of the second, and so on.
    pub runs: Vec<Run>,
    /// How many models of each system decode together; `None` without ensembles.
    pub ensemble: Option<usize>,
    /// The rows of the table: each system, followed by its ensemble.
    pub entries: Vec<Entry>,
    pub sets: Vec<TestSet>,
    /// What files contain, each read once.
    pub contents: Arc<ContentHashes>,
}

/// NAME=FILE of `--test`.
#[derive(Clone, Debug)]
pub(super) struct NamedFile {
    name: String,
    file: String,
}

impl FromStr for NamedFile {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<NamedFile, String> {
        match text.split_once('=') {
            Some((name, file)) if is_plain(name) && !file.is_empty() => {
                Ok(NamedFile { name: name.to_owned(), file: file.to_owned() })
            }
            _ => Err("it must be NAME=FILE, with letters, digits, `-`, `_` and `.` in the name".to_owned()),
        }
    }
}

impl NamedFile {
    fn set(&self) -> TestSet {
        let whole = TestSet::table(&self.name, Path::new(&self.file));
        match self.file.split_once(',') {
            Some((sources, targets)) if !whole.input.exists() => {
                TestSet { input: sources.into(), targets: Some(targets.into()), ..whole }
            }
            _ => whole,
        }
    }
}

impl TestSet {
    fn table(name: &str, input: &Path) -> TestSet {
        TestSet { name: name.to_owned(), input: input.to_owned(), targets: None, format: None, header: None }
    }

    fn of_file(name: &str, file: &PairFile) -> TestSet {
        match file {
            PairFile::Table(table) => {
                TestSet { format: table.format, header: table.header, ..TestSet::table(name, &table.path) }
            }
            PairFile::Parallel { source, target, .. } => {
                TestSet { targets: Some(target.clone()), ..TestSet::table(name, source) }
            }
        }
    }

    /// The format in which a config reads the input, as its own files; `None` for that of the name. Parallel text has none.
    pub(super) fn format(&self, data: &DataConfig) -> Option<Format> {
        self.format.or(data.format).filter(|_| self.targets.is_none())
    }
}

impl Plan {
    /// The plan of a command.
    ///
    /// # Errors
    /// A config is wrong; names that are there twice; configs that read other references in a row; too few seeds for an
    /// ensemble; no test set.
    pub(super) fn new(args: &ExperimentArgs) -> Result<Plan> {
        let systems = systems(args)?;
        check_same_references(&systems)?;
        let name = systems[0].experiment.name.clone();
        let place = args.out.clone().unwrap_or_else(|| Path::new("experiments").join(&name));
        let mut seeds = args.seeds.clone();
        seeds.sort_unstable();
        seeds.dedup();
        let mut runs = Vec::new();
        for system in &systems {
            runs.extend(seeds.iter().map(|&seed| Run {
                name: format!("{}-seed{seed}", system.name),
                experiment: Experiment { seed, ..system.experiment.clone() },
            }));
        }
        check_names(&runs)?;
        let ensemble = args.ensemble.map(|size| size.models(seeds.len())).transpose()?;
        let entries = entries(&systems, seeds.len(), ensemble);
        let sets = sets(args, &systems)?;
        let contents = Arc::default();
        Ok(Plan { name, place, systems, seeds, runs, ensemble, entries, sets, contents })
    }

    /// The experiment that a task trains or decodes with; of an ensemble with the seed of its config.
    pub(super) fn experiment_of(&self, task: Task) -> &Experiment {
        match task {
            Task::Run(run) => &self.runs[run].experiment,
            Task::Ensemble(system) => &self.systems[system].experiment,
        }
    }

    /// The name of a task: that of its folders and files.
    pub(super) fn name_of(&self, task: Task) -> String {
        match task {
            Task::Run(run) => self.runs[run].name.clone(),
            Task::Ensemble(system) => {
                let models = self.ensemble.unwrap_or(self.seeds.len());
                format!("{}-ensemble{models}", self.systems[system].name)
            }
        }
    }

    /// All ensembles.
    pub(super) fn ensembles(&self) -> Vec<Task> {
        let systems = self.ensemble.map_or(0, |_| self.systems.len());
        (0..systems).map(Task::Ensemble).collect()
    }

    /// The number of the run of a system with the seed of this number.
    pub(super) fn run_of(&self, system: usize, seed: usize) -> usize {
        system * self.seeds.len() + seed
    }

    /// The run directory of a run.
    pub(super) fn folder(&self, run: usize) -> PathBuf {
        self.place.join("runs").join(&self.runs[run].name)
    }

    /// The file of a task's messages.
    pub(super) fn log(&self, task: Task) -> PathBuf {
        self.place.join("logs").join(format!("{}.log", self.name_of(task)))
    }

    /// What to decode with: the average, if the config asks for one.
    pub(super) fn model(&self, run: usize) -> PathBuf {
        let folder = self.folder(run);
        if self.runs[run].experiment.training.average > 0 { folder.join("average") } else { folder }
    }
}

impl Entry {
    pub(super) fn is_ensemble(&self) -> bool {
        matches!(self.tasks.as_slice(), [Task::Ensemble(_)])
    }
}

/// The rows of the table.
fn entries(systems: &[System], seeds: usize, ensemble: Option<usize>) -> Vec<Entry> {
    let of_system = |(system, config): (usize, &System)| {
        let runs = (0..seeds).map(|seed| Task::Run(system * seeds + seed)).collect();
        let alone = Entry { name: config.name.clone(), system, tasks: runs };
        let together = ensemble.map(|models| Entry {
            name: format!("{}, ensemble of {models}", config.name),
            system,
            tasks: vec![Task::Ensemble(system)],
        });
        std::iter::once(alone).chain(together)
    };
    systems.iter().enumerate().flat_map(of_system).collect()
}

/// The configs, each with the choices of its sweep.
fn systems(args: &ExperimentArgs) -> Result<Vec<System>> {
    check_overrides(&args.overrides)?;
    let mut systems: Vec<System> = Vec::new();
    for path in &args.configs {
        for Variant { name, experiment } in Experiment::load_variants(path, &args.overrides)? {
            let name = match name.as_str() {
                "" => experiment.name.clone(),
                choice => format!("{}-{choice}", experiment.name),
            };
            if systems.iter().any(|other| other.name == name) {
                let message = format!("each config must have its own `name`, but two have {name:?}");
                return Err(Error::input(message).at(path.display()).hint("change `name` in one of them"));
            }
            systems.push(System { name, experiment });
        }
    }
    match systems.is_empty() {
        true => Err(Error::input("an experiment must have a config, but there is none")),
        false => Ok(systems),
    }
}

/// The names of all runs can be those of files.
fn check_names(runs: &[Run]) -> Result<()> {
    let Some(run) = runs.iter().find(|run| run.name.len() > LONGEST_NAME) else { return Ok(()) };
    let message = format!(
        "the name of a run may have {LONGEST_NAME} bytes, but this one has {}: {}",
        run.name.len(),
        run.name
    );
    Err(Error::input(message)
        .hint("shorten the config's `name`, to which the swept values and the seed are added"))
}

/// The seeds of the runs are those of --seeds.
fn check_overrides(overrides: &[String]) -> Result<()> {
    let is_seed = |argument: &&String| argument.split('=').next().is_some_and(|key| key.trim() == "seed");
    let Some(seed) = overrides.iter().find(is_seed) else { return Ok(()) };
    let hint = "use --seeds 1,2,3, with which each config is trained, or --seeds 1 for a single training";
    Err(Error::input("`seed` must come from --seeds, but it is set").at(format!("--set {seed}")).hint(hint))
}

/// All configs read the same references in a row of a test set.
fn check_same_references(systems: &[System]) -> Result<()> {
    let of = |system: &System| system.experiment.data.target.alternatives.clone();
    let Some(other) = systems.iter().find(|other| of(other) != of(&systems[0])) else { return Ok(()) };
    let names = [&systems[0].name, &other.name];
    let message = format!(
        "all configs must have the same `data.target.alternatives`, but {} and {} differ",
        names[0], names[1]
    );
    Err(Error::input(message).hint("set it in each of them; a target without it is one target"))
}

/// The test sets: those of the command, or else those of the configs.
fn sets(args: &ExperimentArgs, systems: &[System]) -> Result<Vec<TestSet>> {
    let sets: Vec<TestSet> = match args.tests.is_empty() {
        false => args.tests.iter().map(NamedFile::set).collect(),
        true => common_sets(systems)?,
    };
    if let Some(twice) = (1..sets.len()).find(|&n| sets[..n].iter().any(|set| set.name == sets[n].name)) {
        let message = format!("each test set must have its own name, but two have {:?}", sets[twice].name);
        return Err(Error::input(message));
    }
    for path in sets.iter().flat_map(|set| std::iter::once(&set.input).chain(&set.targets)) {
        let there = std::fs::metadata(path)
            .map_err(|error| hint_if_missing(&[path], Error::file("read", path, &error)))?;
        if !there.is_file() && !there.is_dir() {
            let message =
                "a test set must be a file, since each model reads it, but this is a pipe or a device";
            return Err(Error::input(message).at(path.display()));
        }
    }
    Ok(sets)
}

/// The test set that all configs have.
fn common_sets(systems: &[System]) -> Result<Vec<TestSet>> {
    const HINT: &str = "name the test sets with --test NAME=FILE";
    let first = sets_of(&systems[0].experiment.data).ok_or_else(|| {
        let message =
            "an experiment needs a test set, but there is no `data.test`, and `data.valid` is a share";
        Error::input(message).hint(format!("set `data.test`, or {HINT}"))
    })?;
    let other = systems.iter().find(|other| sets_of(&other.experiment.data).as_ref() != Some(&first));
    match other {
        Some(other) => {
            let names = [&systems[0].name, &other.name];
            let message =
                format!("all configs must have the same test set, but {} and {} differ", names[0], names[1]);
            Err(Error::input(message).hint(HINT))
        }
        None => Ok(first),
    }
}

/// The files of `data.test`, or else of `data.valid`, each as a set.
fn sets_of(data: &DataConfig) -> Option<Vec<TestSet>> {
    let (name, files): (&str, &Files) = match &data.test {
        Some(files) => ("test", files),
        None => ("valid", data.valid.files()?),
    };
    let set = |(number, file): (usize, &PairFile)| match files.0.len() {
        1 => TestSet::of_file(name, file),
        _ => TestSet::of_file(&format!("{name}{number}"), file),
    };
    Some((1..).zip(&files.0).map(set).collect())
}

/// Whether a text is safe as a part of a file's name.
fn is_plain(name: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= 100 && !name.starts_with('.') && name.chars().all(is_plain)
}
