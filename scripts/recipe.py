#!/usr/bin/env python3
"""Trains a config on a public data set with several seeds, and prints the scores beside published ones.

    python3 scripts/recipe.py                                     lists the recipes
    python3 scripts/recipe.py scan                                gets the data, trains, decodes the test sets
    python3 scripts/recipe.py g2p2020 --sets fre,hun --jobs 2     two of the languages, two seeds at once
    python3 scripts/recipe.py g2p2020 --tests valid --ensemble    the validation words, and all seeds decoding together
    python3 scripts/recipe.py histnorm --data ~/sets              data that is somewhere already

Each set of a recipe (a language, or a split) is an experiment of its own, in experiments/RECIPE/SET: `seqloom
experiment` does the work, and continues where it was stopped. The table here is made of the table.csv of each. Call
this in the folder of the README, after `make build`. docs/recipes.md says what each recipe is.
"""

from __future__ import annotations

import argparse
import csv
import re
import shutil
import signal
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from recipes import RECIPES, Metric, Recipe

# The checksums of all files that the getters make.
GETTABLE = Path("data/public.sha256")
MOST_JOBS = 1_024
LARGEST_SEED = 1_000_000_000

# The keys that are a recipe's own, and what chooses instead of `--set`.
OWN_KEYS = {
    "name": "the name is that of the set",
    "seed": "--seeds names them",
    "data.train": "--sets chooses among the sets, and --data is the folder where they are",
    "data.valid": "--sets chooses among the sets, and --data is the folder where they are",
    "data.test": "--tests chooses the files",
}


class Failure(Exception):
    """An error for the user."""


@dataclass(frozen=True)
class Work:
    """A recipe as it is to be done: which sets, on which tests, with which options."""

    name: str
    recipe: Recipe
    sets: dict[str, str]
    tests: tuple[str, ...]
    seeds: tuple[int, ...]
    data: Path
    options: argparse.Namespace

    def file(self, folder: str, name: str) -> Path:
        """A file of a set."""
        return self.data / folder / f"{name}.csv"

    def place(self, name: str) -> Path:
        """The folder of a set's experiment."""
        return self.options.out / self.name / name

    def run_name(self, name: str) -> str:
        """The name of a set's runs, in messages and of their folders."""
        return self.name if len(self.recipe.folders) == 1 else f"{self.name}_{name}"


def check_settings(recipe: Recipe, settings: list[str]) -> None:
    """Refuses to replace a key that is the recipe's own, and to leave out a metric of its table."""
    for setting in settings:
        if "=" not in setting:
            raise Failure(f"--set must be KEY=VALUE, but it is {setting!r}")
        key, value = key_of(setting), setting.partition("=")[2]
        for own, instead in OWN_KEYS.items():
            # Without a file for it the config holds a share out, which is like any other key.
            if overlap(key, own) and (own != "data.valid" or recipe.valid):
                raise Failure(f"--set cannot replace `{key}`, which is the recipe's own: {instead}")
        named = re.findall(r"\w+", value)
        lacking = [metric.name for metric in recipe.metrics if metric.name not in named]
        if overlap(key, "training.metrics") and lacking:
            what = f"`{key}` must name the metrics of the table, but it lacks {', '.join(lacking)}"
            raise Failure(f"--set {what}; others may be added to them, and are in the tables of the experiments")


def key_of(setting: str) -> str:
    """The key of a KEY=VALUE."""
    return ".".join(part.strip() for part in setting.partition("=")[0].split("."))


def overlap(key: str, other: str) -> bool:
    """Whether two keys are the same, or one is a table that has the other."""
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def check_tests(work: Work) -> None:
    """Checks that the getter makes the files of the tests, unless they are there, before anything is fetched."""
    made = [line.split("  ", 1)[1] for line in GETTABLE.read_text(encoding="utf-8").splitlines()]
    for folder in work.sets.values():
        known = [path.rpartition("/")[2].removesuffix(".csv") for path in made if path.rpartition("/")[0] == folder]
        unknown = [test for test in work.tests if test not in known and not work.file(folder, test).is_file()]
        # A set that is made of a file of yours has no checksums.
        if known and unknown:
            raise Failure(f"{folder} has no test {unknown[0]!r}; there are {', '.join(sorted(known))}")


def get_data(work: Work) -> None:
    """Gets the sets from their home. What is there already is left alone."""
    script, *arguments = work.recipe.get.replace("{sets}", " ".join(work.sets.values())).split()
    code = call([sys.executable, f"data/{script}", *arguments])
    if code == 1:
        raise Failure(f"data/{script} did not get the sets; if they are in a folder already, name it with --data")
    if code != 0:
        sys.exit(code)


def check_data(work: Work) -> None:
    """Checks that all files are there, before hours of training."""
    names = {"train", *work.tests} | ({work.recipe.valid} if work.recipe.valid else set())
    files = [work.file(folder, name) for folder in work.sets.values() for name in sorted(names)]
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise Failure(f"not there: {', '.join(missing)}; --sets and --tests choose others")


def jobs_of(work: Work) -> int:
    """How many seeds of a set are trained at once."""
    return min(work.options.jobs, len(work.seeds))


def train(work: Work, name: str, folder: str) -> None:
    """The experiment of a set."""
    settings = [f"name={work.run_name(name)}", f"data.train={work.file(folder, 'train')}"]
    if work.recipe.valid:
        settings.append(f"data.valid={work.file(folder, work.recipe.valid)}")
    command = [work.options.binary, "experiment", f"configs/{work.recipe.config}.toml"]
    command += ["--out", str(work.place(name)), "--seeds", ",".join(map(str, work.seeds)), "--jobs", str(jobs_of(work))]
    command += ["--ensemble", "all"] if work.options.ensemble else []
    for test in work.tests:
        command += ["--test", f"{test}={work.file(folder, test)}"]
    for setting in settings + work.options.settings:
        command += ["--set", setting]
    code = call(command)
    if code != 0:
        sys.exit(code)


def call(command: list[str]) -> int:
    """Runs a command to its end, its output among the messages; returns its exit code.

    A signal stops it, and it saves first.
    """
    with subprocess.Popen(command, stdout=sys.stderr) as process:
        # Ctrl-C reaches it from the terminal as well, and a second signal would not let it save.
        handlers = {signal.SIGINT: lambda *_: None, signal.SIGTERM: lambda *_: process.terminate()}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        code = process.wait()
    for number, handler in before.items():
        signal.signal(number, handler)
    return code if code >= 0 else 128 - code


# Shares by set, test set, metric, and whether they are an ensemble's: of each seed, or the one of the ensemble.
Scores = dict[tuple[str, str, str, bool], list[float]]


def read_scores(work: Work) -> Scores:
    """The scores in the tables of all experiments."""
    scores: Scores = {}
    for name in work.sets:
        path = work.place(name) / "table.csv"
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                is_ensemble = row["system"] != work.run_name(name)
                values = [row["mean"]] if is_ensemble else [row[f"seed_{seed}"] for seed in work.seeds]
                scores[name, row["set"], row["metric"], is_ensemble] = [float(value) for value in values]
        for metric in work.recipe.metrics:
            if not all((name, test, metric.name, False) in scores for test in work.tests):
                config = f"configs/{work.recipe.config}.toml"
                raise Failure(f"{path} lacks {metric.name}; `training.metrics` of {config} must name it")
    return scores


def shown(percents: list[float]) -> str:
    """Mean and standard deviation."""
    deviation = f" ± {statistics.stdev(percents):.2f}" if len(percents) > 1 else ""
    return f"{statistics.mean(percents):.2f}{deviation}"


def published_values(work: Work, test: str, metric: Metric) -> dict[str, float]:
    """The values that are comparable: of the recipe's own tests, and a mean only if it is over the same sets."""
    values = work.recipe.published.get(metric, {}) if test in work.recipe.tests else {}
    is_whole = len(work.sets) == len(work.recipe.folders)
    return {name: value for name, value in values.items() if is_whole or name != "mean"}


def table(work: Work, test: str, scores: Scores) -> list[str]:
    """The table of a test set: a row for each set, and their mean."""
    rows = [*work.sets, *(["mean"] if len(work.sets) > 1 else [])]
    header, columns = ["set"], [rows]
    for metric in work.recipe.metrics:
        for is_ensemble in (False, True)[: 1 + work.options.ensemble]:
            shares = [scores[name, test, metric.name, is_ensemble] for name in work.sets]
            # Of the mean over sets, too, the deviation is that over seeds.
            shares += [[statistics.mean(seed) for seed in zip(*shares)]] if "mean" in rows else []
            header.append(f"{metric.heading}, ensemble" if is_ensemble else metric.heading)
            columns.append([shown([metric.percent(share) for share in row]) for row in shares])
        published = published_values(work, test, metric)
        if published:
            header.append("published")
            columns.append([f"{published[name]:.2f}" if name in published else "" for name in rows])
    lines = [header, ["---"] * len(header), *zip(*columns)]
    return [f"| {' | '.join(line)} |" for line in lines]


def report(work: Work, scores: Scores) -> str:
    """All tables, and what is in them."""
    seeds = ", ".join(map(str, work.seeds))
    kind = "mean and standard deviation over seeds" if len(work.seeds) > 1 else "seed"
    lines = []
    for test in work.tests:
        lines += [f"{work.name}, {test}.csv: {kind} {seeds}", "", *table(work, test, scores), ""]
    is_comparable = any(test in work.recipe.tests for test in work.tests)
    of_others = f"Published scores are of {', '.join(work.recipe.tests)}."
    return "\n".join([*lines, f"Published: {work.recipe.source}." if is_comparable else of_others])


def listing() -> str:
    """A line for each recipe."""
    width = max(map(len, RECIPES))
    return "\n".join(f"{name:{width}}  {recipe.about}" for name, recipe in RECIPES.items())


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("name", nargs="?", metavar="RECIPE", help="the recipe; without it, all are listed")
    add("--sets", type=names, metavar="SET,…", help="only these sets (default: all of the recipe)")
    add("--tests", type=names, metavar="TEST,…", help="decode these files of each set (default: its tests)")
    add("--seeds", type=numbers, default=(1, 2, 3), metavar="N,…", help="the seeds (default: 1,2,3)")
    add("--jobs", type=job_count, default=1, metavar="N", help="seeds that are trained at once (default: 1)")
    add("--ensemble", action="store_true", help="also decode with the models of all seeds together")
    add("--data", type=Path, metavar="FOLDER", help="where the sets are; nothing is fetched then")
    add("--out", type=Path, default=Path("experiments"), metavar="FOLDER", help="where to write (default: %(default)s)")
    add("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="replace a key of the config")
    add("--binary", default="target/release/seqloom", help="the program (default: %(default)s)")
    return parser.parse_args()


def names(text: str) -> tuple[str, ...]:
    """A list of different names with commas."""
    return tuple(dict.fromkeys(text.split(",")))


def numbers(text: str) -> tuple[int, ...]:
    """A list of different seeds with commas, in their order."""
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) <= LARGEST_SEED for part in parts):
        raise argparse.ArgumentTypeError(f"must be whole numbers from 0 to {LARGEST_SEED}, but they are {text!r}")
    return tuple(sorted(set(map(int, parts))))


def job_count(text: str) -> int:
    """A number of jobs."""
    if not text.isdecimal() or not 1 <= int(text) <= MOST_JOBS:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {MOST_JOBS}, but it is {text!r}")
    return int(text)


def plan(options: argparse.Namespace) -> Work:
    """What the options ask for. What is wrong with them is found here, before anything is fetched or trained."""
    if options.name not in RECIPES:
        raise Failure(f"there is no recipe {options.name!r}; there are:\n{listing()}")
    recipe = RECIPES[options.name]
    unknown = [name for name in options.sets or () if name not in recipe.sets()]
    if unknown:
        raise Failure(f"{options.name} has no set {unknown[0]!r}; there are {', '.join(recipe.sets())}")
    if not Path("configs", f"{recipe.config}.toml").is_file():
        raise Failure(f"there is no configs/{recipe.config}.toml here; call this in the folder of the README")
    check_settings(recipe, options.settings)
    if options.ensemble and len(options.seeds) < 2:
        raise Failure("--ensemble needs models of several seeds, but --seeds names one")
    if shutil.which(options.binary) is None:
        raise Failure(f"there is no program {options.binary}; `make build` makes it, and --binary names another one")
    sets = {name: folder for name, folder in recipe.sets().items() if not options.sets or name in options.sets}
    tests, data = options.tests or recipe.tests, options.data or Path("data")
    work = Work(options.name, recipe, sets, tests, options.seeds, data, options)
    if options.data is not None and not data.is_dir():
        raise Failure(f"there is no folder {data}, which --data names; without --data the sets are fetched")
    check_tests(work)
    if options.data is not None:
        check_data(work)
    return work


def announce(work: Work) -> None:
    """Says how much is to be done."""
    sets, seeds = len(work.sets), len(work.seeds)
    runs = f"{counted(sets * seeds, 'run')} to train ({counted(sets, 'set')}, {counted(seeds, 'seed')})"
    at_once = f", {jobs_of(work)} at once" if jobs_of(work) > 1 else ""
    say(f"{work.name}: {runs}{at_once}; those that are finished are kept")


def counted(count: int, what: str) -> str:
    """A number of things."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def say(text: str) -> None:
    """A message."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Does a recipe, or lists all."""
    options = read_options()
    if options.name is None:
        print(listing())
        return
    work = plan(options)
    announce(work)
    if options.data is None:
        get_data(work)
        check_data(work)
    for number, (name, folder) in enumerate(work.sets.items(), start=1):
        say(f"{name}, set {number} of {len(work.sets)}: what its runs report is in {work.place(name)}/logs")
        train(work, name, folder)
    print(report(work, read_scores(work)))


if __name__ == "__main__":
    try:
        main()
    except (Failure, OSError) as failure:
        sys.exit(f"error: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
