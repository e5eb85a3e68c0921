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
import os
import signal
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from recipes import RECIPES, Metric, Recipe


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


def get_data(work: Work) -> None:
    """Gets the sets from their home. What is there already is left alone."""
    script, *arguments = work.recipe.get.replace("{sets}", " ".join(work.sets.values())).split()
    run([sys.executable, f"data/{script}", *arguments])


def check_data(work: Work) -> None:
    """Checks that all files are there, before hours of training."""
    names = {"train", *work.tests} | ({work.recipe.valid} if work.recipe.valid else set())
    files = [work.file(folder, name) for folder in work.sets.values() for name in sorted(names)]
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise Failure(f"not there: {', '.join(missing)}; --sets and --tests choose others")


def train(work: Work, name: str, folder: str) -> None:
    """The experiment of a set."""
    settings = [f"name={work.run_name(name)}", f"data.train={work.file(folder, 'train')}"]
    if work.recipe.valid:
        settings.append(f"data.valid={work.file(folder, work.recipe.valid)}")
    jobs = min(work.options.jobs, len(work.seeds))
    if jobs > 1:
        settings.append(f"runtime.threads={max(1, len(os.sched_getaffinity(0)) // jobs)}")
    command = [work.options.binary, "experiment", f"configs/{work.recipe.config}.toml"]
    command += ["--out", str(work.place(name)), "--seeds", ",".join(map(str, work.seeds)), "--jobs", str(jobs)]
    command += ["--ensemble", "all"] if work.options.ensemble else []
    for test in work.tests:
        command += ["--test", f"{test}={work.file(folder, test)}"]
    for setting in settings + work.options.settings:
        command += ["--set", setting]
    run(command)


def run(command: list[str]) -> None:
    """Runs a command to its end, its output among the messages. A signal stops it, and it saves first."""
    with subprocess.Popen(command, stdout=sys.stderr) as process:
        # Ctrl-C reaches it from the terminal as well, and a second signal would not let it save.
        handlers = {signal.SIGINT: lambda *_: None, signal.SIGTERM: lambda *_: process.terminate()}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        code = process.wait()
    for number, handler in before.items():
        signal.signal(number, handler)
    if code != 0:
        sys.exit(code if code > 0 else 128 - code)


# Shares by set, test set, metric, and whether they are an ensemble's: of each seed, or the one of the ensemble.
Scores = dict[tuple[str, str, str, bool], list[float]]


def read_scores(work: Work) -> Scores:
    """The scores in the tables of all experiments."""
    scores: Scores = {}
    for name in work.sets:
        with open(work.place(name) / "table.csv", encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                is_ensemble = row["system"] != work.run_name(name)
                values = [row["mean"]] if is_ensemble else [row[f"seed_{seed}"] for seed in work.seeds]
                scores[name, row["set"], row["metric"], is_ensemble] = [float(value) for value in values]
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
    add("--jobs", type=int, default=1, metavar="N", help="seeds that are trained at once (default: 1)")
    add("--ensemble", action="store_true", help="also decode with the models of all seeds together")
    add("--data", type=Path, metavar="FOLDER", help="where the sets are; nothing is fetched then")
    add("--out", type=Path, default=Path("experiments"), metavar="FOLDER", help="where to write (default: %(default)s)")
    add("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="replace a key of the config")
    add("--binary", default="target/release/seqloom", help="the program (default: %(default)s)")
    return parser.parse_args()


def names(text: str) -> tuple[str, ...]:
    """A list with commas."""
    return tuple(text.split(","))


def numbers(text: str) -> tuple[int, ...]:
    """A list of different numbers with commas, in their order."""
    return tuple(sorted({int(number) for number in text.split(",")}))


def plan(options: argparse.Namespace) -> Work:
    """What the options ask for."""
    if options.name not in RECIPES:
        raise Failure(f"there is no recipe {options.name!r}; there are:\n{listing()}")
    recipe = RECIPES[options.name]
    unknown = [name for name in options.sets or () if name not in recipe.sets()]
    if unknown:
        raise Failure(f"{options.name} has no set {unknown[0]!r}; there are {', '.join(recipe.sets())}")
    if not Path("configs", f"{recipe.config}.toml").is_file():
        raise Failure(f"there is no configs/{recipe.config}.toml here; call this in the folder of the README")
    sets = {name: folder for name, folder in recipe.sets().items() if not options.sets or name in options.sets}
    tests, data = options.tests or recipe.tests, options.data or Path("data")
    return Work(options.name, recipe, sets, tests, options.seeds, data, options)


def main() -> None:
    """Does a recipe, or lists all."""
    options = read_options()
    if options.name is None:
        print(listing())
        return
    work = plan(options)
    if options.data is None:
        get_data(work)
    check_data(work)
    for name, folder in work.sets.items():
        train(work, name, folder)
    print(report(work, read_scores(work)))


if __name__ == "__main__":
    try:
        main()
    except (Failure, OSError) as failure:
        sys.exit(f"error: {failure}")
