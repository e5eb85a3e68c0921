"""scripts/recipe.py: what is run for a recipe, and the table that is made of it. A stand-in takes the place of seqloom."""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

from support import DATA  # before the scripts: it finds them

import get_cmudict
import get_histnorm
import get_inflection
import get_multi30k
import get_scan
import get_sigmorphon
from fetching import choose

ROOT = DATA.parent
sys.path.insert(0, str(ROOT / "scripts"))

import recipe  # noqa: E402 (the line above finds it)
from recipes import RECIPES, WORD_ERRORS, WORDS_WRONG  # noqa: E402 (the line above finds it)

# Writes its arguments into calls.jsonl, and the files that seqloom would write. Exact matches are those of `scores`.
STAND_IN = """#!{python}
import json, pathlib, sys, time
here, arguments = pathlib.Path({here!r}), sys.argv[1:]
with open(here / "calls.jsonl", "a") as calls:
    calls.write(json.dumps(arguments) + "\\n")
of = lambda option: [value for name, value in zip(arguments, arguments[1:]) if name == option]
if (here / "wait").exists():
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        sys.exit(130)
place, seeds = pathlib.Path(of("--out")[0]), of("--seeds")[0].split(",")
print("training " + place.name, file=sys.stderr)
shares = json.loads((here / "scores").read_text())[place.name]
place.mkdir(parents=True, exist_ok=True)
lines = ["set,metric,system,mean,sd,low,high,best,better_than," + ",".join("seed_" + seed for seed in seeds)]
name = next(value[5:] for value in of("--set") if value.startswith("name="))
entries = [(name, "0", [str(shares[int(seed) - 1]) for seed in seeds])]
if "--ensemble" in arguments:
    entries.append((name + "; ensemble", "0.75", [""] * len(seeds)))
for test in of("--test"):
    for metric in ("exact_match", "word_error_rate"):
        for entry, mean, values in entries:
            lines.append(",".join([test.split("=")[0], metric, entry, mean, "", "0", "0", "1", "", *values]))
(place / "table.csv").write_text("\\n".join(lines) + "\\n")
print("the table of the experiment")
"""


class Recipes(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.binary = self.folder / "seqloom"
        self.binary.write_text(STAND_IN.format(python=sys.executable, here=str(self.folder)))
        self.binary.chmod(0o755)
        (self.folder / "scores").write_text(json.dumps({"fre": [0.9, 0.8], "hun": [0.7, 0.5]}))
        for language in ("fre", "hun"):
            folder = self.folder / "sets" / "g2p2020" / language
            folder.mkdir(parents=True)
            for name in ("train", "valid", "test"):
                (folder / f"{name}.csv").write_text("source,target\n")

    def command(self, *arguments: str) -> list[str]:
        places = ["--binary", str(self.binary), "--data", str(self.folder / "sets"), "--out", str(self.folder / "out")]
        return [sys.executable, str(ROOT / "scripts" / "recipe.py"), *arguments, *places]

    def recipe(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(self.command(*arguments), cwd=ROOT, capture_output=True, text=True, check=False)

    def calls(self) -> list[list[str]]:
        """The arguments of each call of seqloom."""
        return [json.loads(line) for line in (self.folder / "calls.jsonl").read_text().splitlines()]

    def test_the_table_has_means_and_deviations_over_seeds_and_the_published_values(self):
        done = self.recipe("g2p2020", "--sets", "hun,fre", "--seeds", "1,2")
        self.assertEqual(done.returncode, 0, done.stderr)
        # What the experiments show is passed through.
        logs = [f"what its runs report is in {self.folder}/out/g2p2020/{name}/logs" for name in ("fre", "hun")]
        messages = ["training fre", "the table of the experiment", "hun, set 2 of 2: " + logs[1], "training hun"]
        counts = "g2p2020: 4 runs to train (2 sets, 2 seeds); those that are finished are kept"
        lines = done.stderr.splitlines()
        self.assertEqual(lines, [counts, "fre, set 1 of 2: " + logs[0], *messages, "the table of the experiment"])
        # Words wrong: fre 10 and 20, hun 30 and 50; by seed the means are 20 and 35.
        lines = done.stdout.splitlines()
        self.assertEqual(lines[0], "g2p2020, test.csv: mean and standard deviation over seeds 1, 2")
        self.assertEqual(lines[2], "| set | words wrong % | published | phone error rate % |")
        self.assertEqual(lines[4], "| fre | 15.00 ± 7.07 | 6.89 | 85.00 ± 7.07 |")
        self.assertEqual(lines[5], "| hun | 40.00 ± 14.14 | 5.33 | 60.00 ± 14.14 |")
        # The published mean is over all 15 languages.
        self.assertEqual(lines[6], "| mean | 27.50 ± 10.61 |  | 72.50 ± 10.61 |")
        self.assertIn("Gorman et al. 2020", lines[-1])

    def test_an_experiment_has_the_files_of_its_set_and_the_seeds(self):
        self.recipe("g2p2020", "--sets", "fre", "--seeds", "2,1", "--jobs", "2", "--set", "training.steps=3")
        (call,) = self.calls()
        home = self.folder / "sets" / "g2p2020" / "fre"
        options = list(zip(call, call[1:]))
        self.assertEqual(call[:2], ["experiment", "configs/g2p2020.toml"])
        for option in [
            ("--out", str(self.folder / "out" / "g2p2020" / "fre")),
            ("--seeds", "1,2"),
            ("--jobs", "2"),
            ("--test", f"test={home / 'test.csv'}"),
            ("--set", "name=g2p2020_fre"),
            ("--set", f"data.train={home / 'train.csv'}"),
            ("--set", f"data.valid={home / 'valid.csv'}"),
            ("--set", "training.steps=3"),
        ]:
            self.assertIn(option, options)

    def test_an_ensemble_has_columns_of_its_own(self):
        done = self.recipe("g2p2020", "--sets", "fre,hun", "--seeds", "1,2", "--ensemble")
        wrong, phones = "words wrong %", "phone error rate %"
        header = f"| set | {wrong} | {wrong}, ensemble | published | {phones} | {phones}, ensemble |\n"
        self.assertIn(header, done.stdout, done.stderr)
        self.assertIn("| fre | 15.00 ± 7.07 | 25.00 | 6.89 | 85.00 ± 7.07 | 75.00 |\n", done.stdout)
        self.assertIn("| mean | 27.50 ± 10.61 | 25.00 |  | 72.50 ± 10.61 | 75.00 |\n", done.stdout)
        self.assertIn(("--ensemble", "all"), list(zip(self.calls()[0], self.calls()[0][1:])))

    def test_no_published_value_stands_beside_scores_of_other_rows(self):
        done = self.recipe("g2p2020", "--sets", "fre", "--seeds", "1", "--tests", "valid")
        self.assertIn("| set | words wrong % | phone error rate % |\n", done.stdout)
        self.assertTrue(done.stdout.endswith("Published scores are of test.\n"), done.stdout)

    def test_what_is_wrong_is_said_before_anything_runs(self):
        for arguments, message in [
            (["nothing"], "there is no recipe 'nothing'; there are:\ng2p2020 "),
            (["g2p2020", "--sets", "fre,english"], "g2p2020 has no set 'english'; there are ady, arm"),
            (["g2p2020", "--sets", "fre,ady"], "g2p2020/ady/train.csv"),
            (["g2p2020", "--sets", "fre", "--tests", "best"], "fre has no test 'best'; there are test, train, valid"),
            (["g2p2020", "--ensemble", "--seeds", "2"], "--ensemble needs models of several seeds"),
        ]:
            self.assert_refused(self.recipe(*arguments), message)
        for option, message in [
            (["--seeds", "1,two"], "must be whole numbers from 0 to 1000000000, but they are '1,two'"),
            (["--jobs", "0"], "must be a whole number from 1 to 1024, but it is '0'"),
        ]:
            self.assert_refused(self.recipe("g2p2020", *option), message, code=2)

    def test_without_a_folder_of_data_all_is_checked_before_anything_is_fetched(self):
        for arguments, message in [
            (["--binary", "target/none"], "there is no program target/none; `make build` makes it, and --binary"),
            (["--binary", "README.md"], "there is no program README.md"),
            (["--data", "nowhere"], "there is no folder nowhere, which --data names"),
            (["--tests", "test,best"], "g2p2020/fre has no test 'best'; there are test, train, valid"),
            (["--set", "name=other"], "cannot replace `name`, which is the recipe's own: the name is that of the set"),
        ]:
            script = [sys.executable, str(ROOT / "scripts" / "recipe.py"), "g2p2020", "--sets", "fre"]
            command = [*script, "--binary", str(self.binary), *arguments]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            self.assert_refused(done, message)

    def test_a_getter_that_fails_ends_it_with_what_else_can_be_done(self):
        with mock.patch.object(recipe, "call", lambda _: 1):
            options = argparse.Namespace(out=self.folder, settings=[], seeds=(1,), jobs=1)
            work = recipe.Work("scan", RECIPES["scan"], {"simple": "scan/simple"}, ("test",), (1,), DATA, options)
            with self.assertRaisesRegex(recipe.Failure, "data/get_scan.py did not get the sets; .* --data"):
                recipe.get_data(work)

    def test_a_key_of_the_recipe_and_a_table_without_its_metrics_are_refused(self):
        for setting, message in [
            ("seed=3", "--set cannot replace `seed`, which is the recipe's own: --seeds names them"),
            ("data . train=a.csv", "`data.train`, which is the recipe's own"),
            ("data.train=a.csv", "`data.train`, which is the recipe's own: --sets chooses among the sets, and --data"),
            ("data.valid = {share=0.1}", "`data.valid`, which is the recipe's own"),
            ("data.valid.share=0.1", "`data.valid.share`, which is the recipe's own"),
            ("data.test=a.csv", "`data.test`, which is the recipe's own: --tests chooses the files"),
            ("data={train='a'}", "`data`, which is the recipe's own"),
            ('training.metrics=["exact_match"]', "name the metrics of the table, but it lacks word_error_rate;"),
            ("training.metrics=[]", "must name the metrics of the table, but it lacks exact_match, word_error_rate;"),
            ("training", "--set must be KEY=VALUE, but it is 'training'"),
        ]:
            self.assert_refused(self.recipe("g2p2020", "--sets", "fre", "--set", setting), message)
        more = 'training.metrics=["exact_match", "word_error_rate", "chrf"]'
        settings = ["--set", more, "--set", "runtime.threads=1", "--set", "data.training=1"]
        done = self.recipe("g2p2020", "--sets", "fre", "--seeds", "1,2", "--jobs", "2", *settings)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("1 set, 2 seeds), 2 at once; ", done.stderr)
        (call,) = self.calls()
        self.assertEqual([value for value in call if value.startswith("runtime.threads=")], ["runtime.threads=1"])
        self.assertIn(more, call)

    def test_a_table_that_lacks_a_metric_is_an_error(self):
        self.binary.write_text(self.binary.read_text().replace('"word_error_rate"', '"chrf"'))
        done = self.recipe("g2p2020", "--sets", "fre", "--seeds", "1")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        message = "fre/table.csv lacks word_error_rate; `training.metrics` of configs/g2p2020.toml must name it\n"
        self.assertTrue(done.stderr.endswith(message), done.stderr)

    def assert_refused(self, done: subprocess.CompletedProcess, message: str, code: int = 1) -> None:
        """It ended with this error, before it did anything."""
        self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
        self.assertIn(message, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        self.assertFalse((self.folder / "calls.jsonl").exists())

    def test_a_failure_or_a_signal_ends_it_with_the_code_of_seqloom(self):
        (self.folder / "scores").write_text("broken")
        self.assertEqual(self.recipe("g2p2020", "--sets", "fre,hun").returncode, 1)
        self.assertEqual(len(self.calls()), 1)
        (self.folder / "wait").touch()
        # A terminal sends it to the whole group. A shell that starts these tests with `&` has them ignore it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(self.command("g2p2020", "--sets", "fre"), cwd=ROOT, start_new_session=True)
        while len(self.calls()) < 2:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        self.assertEqual(process.wait(), 130)

    def test_without_a_name_all_recipes_are_listed(self):
        done = self.recipe()
        self.assertEqual([line.split()[0] for line in done.stdout.splitlines()], list(RECIPES))


def metrics_of(config: str) -> str | None:
    """The value of `training.metrics` in a config, or in one that it extends."""
    text = (ROOT / "configs" / f"{config}.toml").read_text(encoding="utf-8")
    own = re.search(r"^metrics = \[(.*?)\]", text, re.MULTILINE)
    base = re.search(r'^extends = "(.*)\.toml"', text, re.MULTILINE)
    return own[1] if own else metrics_of(base[1]) if base else None


class Table(unittest.TestCase):
    def test_every_recipe_has_its_config_its_script_and_a_line_in_the_page(self):
        page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
        for name, recipe in RECIPES.items():
            self.assertTrue((ROOT / "configs" / f"{recipe.config}.toml").is_file(), name)
            self.assertTrue((DATA / recipe.get.split()[0]).is_file(), name)
            self.assertIn(f"| `{name}` |", page)

    def test_every_config_computes_the_metrics_of_its_recipe(self):
        page = (ROOT / "configs" / "reference.toml").read_text(encoding="utf-8")
        usual = re.search(r"^#metrics = \[(.*?)\]", page, re.MULTILINE)[1]
        for name, recipe in RECIPES.items():
            computed = metrics_of(recipe.config) or usual
            for metric in recipe.metrics:
                self.assertIn(f'"{metric.name}"', computed, name)

    def test_an_error_rate_is_of_edits_and_no_heading_has_two_meanings(self):
        metrics = {metric for recipe in RECIPES.values() for metric in recipe.metrics}
        self.assertEqual(len({metric.heading for metric in metrics}), len(metrics))
        for metric in metrics:
            self.assertEqual("error rate" in metric.heading, metric.name.endswith("_error_rate"), metric.heading)
        self.assertEqual((RECIPES["fsdd"].metrics, RECIPES["g2p2020"].metrics[0]), ((WORD_ERRORS,), WORDS_WRONG))

    def test_published_values_are_of_sets_and_columns_that_there_are(self):
        for name, recipe in RECIPES.items():
            self.assertLessEqual(set(recipe.published), set(recipe.metrics), name)
            for values in recipe.published.values():
                self.assertLessEqual(set(values), {*recipe.sets(), "mean"}, name)

    def test_the_page_has_the_published_numbers(self):
        page = Path("docs/recipes.md").read_text(encoding="utf-8")
        for name, recipe in RECIPES.items():
            (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
            for values in recipe.published.values():
                shown = [values["mean"]] if "mean" in values else values.values()
                for value in shown:
                    self.assertTrue(any(f" {value:{form}}" in row for form in (".2f", "g")), f"{name}: {value}")

    def test_a_published_mean_is_that_of_its_languages(self):
        for name in ("g2p2020", "g2p2021_low", "g2p2021_medium"):
            values = dict(RECIPES[name].published[WORDS_WRONG])
            mean = values.pop("mean")
            self.assertAlmostEqual(sum(values.values()) / len(values), mean, delta=0.006)

    def test_the_files_of_a_recipe_are_those_that_its_script_gets(self):
        scripts = [get_cmudict, get_histnorm, get_inflection, get_multi30k, get_scan, get_sigmorphon]
        for script in scripts:
            for name, recipe in RECIPES.items():
                if recipe.get.split()[0] != f"{script.__name__}.py":
                    continue
                sets = list(recipe.folders) if "{sets}" in recipe.get else []
                paths = {split.path for split in choose(script.splits(), sets)}
                files = ["train", *recipe.tests, *([recipe.valid] if recipe.valid else [])]
                wanted = {f"{folder}/{file}.csv" for folder in recipe.folders for file in files}
                self.assertLessEqual(wanted, paths, name)


if __name__ == "__main__":
    unittest.main()
