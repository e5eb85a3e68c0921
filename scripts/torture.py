#!/usr/bin/env python3
"""Kills a training run again and again, and checks that nothing is lost.

    python3 scripts/torture.py                       200 kills of target/release/seqloom, about ten minutes
    python3 scripts/torture.py --kills 14 --seed 3   fewer ones, in another order
    python3 scripts/torture.py --set model.transformer.norm=rms_norm        the same with another setting
    python3 scripts/torture.py --set training.inverse_sqrt.warmup= --set training.linear.warmup=9   another schedule

A small run is trained once and left alone: the reference. The same run is then trained in another folder, ended at a
random moment, resumed with `seqloom train CONFIG --resume`, ended again. When it is complete it is compared, and the
next one begins. What ends it: SIGKILL at any moment and at the moments that hurt, SIGTERM and SIGINT, a second SIGTERM
behind the first, a full disk. Between two starts there may lie what a power cut leaves half-written, and each start has
another number of threads than the one before.

It proves, each time:
  - exit code and last words are those that fit the end: 143 or 130 and saved, or 1 and an error that names the file;
  - the checkpoint that `latest` named is still there, or a newer one, whole by its manifest, and it decodes;
  - a step's checkpoint has the same bytes in every run;
  - the completed run is the reference bit for bit: metrics.csv, all files of the last checkpoint, best, samples/;
  - at the end, that one changed byte in a checkpoint is refused by name.

The disk that gets full is a small tmpfs in a mount namespace of this script's own. Where that is not allowed, a limit
on the size of files (RLIMIT_FSIZE) stands in for it. Exits with 0, or at the first violation with 1: then it says what
is wrong and keeps the folder. The seed fixes kinds, order and moments, but not what the program does at a moment.
Linux, Python 3.8, nothing else.
"""

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Optional

from torture_kinds import FULL_DISK, KINDS, NEWBORN, PLANTS, Kind, SizeLimit, SmallDisk
from torture_run import (
    MANIFEST, SETTINGS, STATE, Experiment, Process, Violation, check_checkpoint, checkpoint, compare, partials, pointer,
    portrait, steps, writes_anew
)

ROOT = Path(__file__).resolve().parent.parent
BINARY = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "seqloom"


class Torture:
    """The reference, the run that is tortured, and the results."""

    # The most runs in a row that may complete before the moment of a kill.
    MISSES = 20

    def __init__(self, experiment: Experiment, seed: int):
        self.experiment, self.seed = experiment, seed
        self.run, self.last = experiment.folder / "run", experiment.number("training.steps")
        self.deck, self.kills, self.counts = [], Counter(), Counter()
        self.sums, self.decoded = {}, set()
        self.now, self.process, self.disk = "the reference", None, None
        self.kinds = self.chance_for("the kinds")
        self.chance = self.kinds

    def chance_for(self, what: str) -> random.Random:
        """A separate random generator, independent of how many other numbers were drawn."""
        return random.Random(f"{self.seed} {what}")

    def train_reference(self) -> None:
        """Trains the reference without kills; measures how long it takes to start and to finish."""
        run = self.experiment.folder / "reference"
        with self.training(run) as process:
            process.wait_until(process.trains)
            self.start_up = process.age()
            self.judge(None, False, process.code())
            self.life = process.age()
        self.check(run, None)
        self.reference = portrait(run)

    def training(self, run: Path, **more: str):
        """`seqloom train` at work there, for as long as the context lasts."""
        self.process = self.experiment.train(run, {f"training.{key}": value for key, value in more.items()})
        return contextlib.closing(self.process)

    def choose_disk(self, may_mount: bool) -> None:
        if may_mount:
            # Space for the run, for checkpoints that are not removed yet, and for planted files.
            size = sum(map(len, self.reference.values()))
            self.disk = SmallDisk(self.experiment.folder / "small_disk", 12 * size + (4 << 20))
        else:
            print("no small disk can be mounted here, so a limit on file sizes (RLIMIT_FSIZE) stands in for a full one")
            self.disk = SizeLimit()

    def kill_once(self) -> None:
        """One kill of the kind that is next. A run that was complete before is compared, and another one begun."""
        for miss in range(self.MISSES):
            kind = self.draw()
            self.now = f"kill {sum(self.kills.values()) + 1}, {kind.name}"
            self.chance = self.chance_for(f"{self.now}, {miss} misses")
            if self.attempt(kind):
                self.deck.remove(kind)
                self.kills[kind.name] += 1
                return
        raise SystemExit(f"torture: {self.now}: with these settings its moment does not come")

    def draw(self) -> Kind:
        """The next kind of a shuffled deck; a newborn run is killed where there is one."""
        newborn = not self.run.exists()
        if not any(newborn or kind is not NEWBORN for kind in self.deck):
            cards = [kind for kind in KINDS for _ in range(kind.share)]
            self.deck += self.kinds.sample(cards, len(cards))
        fitting = [kind for kind in self.deck if newborn or kind is not NEWBORN]
        return NEWBORN if NEWBORN in fitting else fitting[0]

    def attempt(self, kind: Kind) -> bool:
        """Trains until the run is struck (True) or complete (False), and checks what is there then."""
        disk = self.disk.holding(self.run) if kind is FULL_DISK else contextlib.nullcontext(self.run)
        with disk as place, self.training(place) as process:
            before = partials(place)
            struck = kind.strike(self, process)
            code = process.code()
            self.judge(kind, struck, code)
            self.counts["checkpoints left half-written"] += writes_anew(place, before)
        self.check(self.run, process.latest)
        if code == 0:
            self.complete()
        else:
            self.plant()
        return code != 0

    def judge(self, kind: Optional[Kind], struck: bool, code: int) -> None:
        """Checks that the process ended as it must."""
        if "bug in seqloom" in self.process.said():
            raise Violation("it panicked")
        if code == 0:
            if not re.search(r"^done: | is complete: ", self.process.said(), re.MULTILINE):
                raise Violation("it ended with exit code 0, but does not say that it is done")
        elif not struck:
            raise Violation(f"it ended by itself, with exit code {code}")
        else:
            kind.verdict(self, self.process, code)

    def check(self, run: Path, before: Optional[int]) -> None:
        """Checks the checkpoints: that of `latest` before or a newer one, `best`, and the newest ones."""
        latest, best = pointer(run), pointer(run, "best")
        if before is not None and (latest is None or latest < before):
            raise Violation(f"`latest` named step {before}, and now it names {latest}")
        # Older ones are being removed, and a kill may come upon that.
        kept = set(steps(run)[:self.experiment.number("training.keep_last")])
        for step in sorted(kept | {latest, best} - {None}):
            folder = checkpoint(run, step)
            sums = check_checkpoint(folder)
            # Saved because a stop came before its validation, a state differs from what the validation makes of it.
            due = json.loads((folder / STATE).read_text())["validation_due"]
            for name, found in sums.items():
                if self.sums.setdefault((step, name, due and name == STATE), found) != found:
                    raise Violation(f"{name} of step {step} is not the one that it was in an earlier run")
            self.counts["checkpoints checked"] += 1
        # The same bytes decode again.
        if latest is not None and latest not in self.decoded:
            self.experiment.decode(checkpoint(run, latest))
            self.decoded.add(latest)
            self.counts["different checkpoints decoded"] += 1

    def complete(self) -> None:
        """Compares the complete run with the reference. Then the next one begins."""
        compare(portrait(self.run), self.reference)
        leftovers = [path.name for path in self.run.rglob("*.partial*")]
        if leftovers and "done: " in self.process.said():
            raise Violation(f"it is done, and leaves {leftovers}")
        self.counts["runs completed"] += 1
        shutil.rmtree(self.run)

    def plant(self) -> None:
        """Half of the time, plants what a power cut might leave."""
        if self.chance.random() < 0.5 and (self.run / "config.toml").is_file():
            for plant in self.chance.sample(PLANTS, self.chance.randint(1, len(PLANTS))):
                plant(self.run, self.chance, self.last)
                self.counts["half-written things planted besides"] += 1

    def finish(self) -> None:
        """Completes the last run."""
        if not self.run.exists() and self.counts["runs completed"] > 0:
            return
        self.now = "the last run, left alone"
        with self.training(self.run) as process:
            self.judge(None, False, process.code())
        self.check(self.run, self.process.latest)
        self.complete()

    def damage(self) -> None:
        """Checks that resuming fails if a byte of the last checkpoint is changed: the error names the file."""
        reference = self.experiment.folder / "reference"
        for name in json.loads((checkpoint(reference, self.last) / MANIFEST).read_text()):
            self.now = f"the reference with one byte changed in {name}"
            self.chance = self.chance_for(self.now)
            shutil.copytree(reference, self.run)
            path = checkpoint(self.run, self.last) / name
            content = bytearray(path.read_bytes())
            content[self.chance.randrange(len(content))] ^= 1 << self.chance.randrange(8)
            path.write_bytes(content)
            with self.training(self.run, steps=str(self.last + 1)) as process:
                code = process.code()
            if code != 1 or f"error: {path} is damaged" not in process.said():
                raise Violation(f"it must say that {path} is damaged and end with exit code 1, not with {code}")
            self.counts["changed bytes refused"] += 1
            shutil.rmtree(self.run)


def torture(arguments: argparse.Namespace, folder: Path) -> None:
    settings = {**SETTINGS, **dict(setting.split("=", 1) for setting in arguments.settings)}
    settings = {key: value for key, value in settings.items() if value}
    work = Torture(Experiment(folder, arguments.binary.resolve(), settings), arguments.seed)
    try:
        work.train_reference()
        total = settings["training.steps"]
        print(f"the reference: {total} steps in {work.life:.1f} s; now {arguments.kills} kills, seed {arguments.seed}",
              flush=True)
        work.choose_disk(arguments.may_mount)
        for count in range(1, arguments.kills + 1):
            work.kill_once()
            if count % 10 == 0:
                print(f"{count:5} kills, {work.counts['runs completed']:3} runs completed, "
                      f"the next one at step {pointer(work.run) or 0} of {total}", flush=True)
        work.finish()
        work.damage()
    except Violation as violation:
        raise Violation(f"{work.now}: {violation}\n{last_words(work.process)}") from violation
    finally:
        if work.disk:
            work.disk.close()
    print_results(work)


def last_words(process: Process) -> str:
    return "".join(f"  | {line}" for line in process.lines[-8:])


def print_results(work: Torture) -> None:
    rows = [*((kind.name, work.kills[kind.name]) for kind in KINDS), ("", "")]
    rows += [*work.counts.items(), ("checkpoints lost", 0), ("comparisons identical", work.counts["runs completed"])]
    print()
    for name, number in rows:
        print(f"  {name:42}{number:>6}".rstrip())
    print()
    print(f"torture: {sum(work.kills.values())} kills, {work.counts['runs completed']} runs completed, "
          "0 lost checkpoints, all bit-identical")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="how often a run is ended (default: 200)")
    parser.add_argument("--seed", type=int, default=1, help="of kinds, order and moments (default: 1)")
    parser.add_argument("--binary", type=Path, default=BINARY, help="(default: target/release/seqloom)")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY.PATH=VALUE",
                        help="a setting for the reference and the tortured run; may be given more than once; with "
                             "nothing behind the = the script's own setting of that key is left out")
    parser.add_argument("--keep", action="store_true", help="keep the folder although all went well")
    parser.add_argument("--may-mount", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.binary.is_file():
        parser.error(f"there is no {arguments.binary}; `make build` makes it")
    if not all("=" in setting for setting in arguments.settings):
        parser.error("--set must be KEY.PATH=VALUE")
    return arguments


def enter_namespace() -> None:
    """Restarts this script in a mount namespace; returns if that is not allowed."""
    with tempfile.TemporaryDirectory() as folder:
        for flags in ["--mount"], ["--mount", "--map-root-user"]:
            probe = ["unshare", *flags, "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
            with contextlib.suppress(FileNotFoundError):
                if subprocess.run(probe, stderr=subprocess.DEVNULL).returncode == 0:
                    os.rmdir(folder)
                    os.execvp("unshare", ["unshare", *flags, sys.executable, *sys.argv, "--may-mount"])


def main() -> int:
    arguments = parse()
    if not arguments.may_mount:
        enter_namespace()
    # So that `finally` is reached, and no process is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="seqloom-torture-"))
    keep = arguments.keep
    try:
        torture(arguments, folder)
    except Violation as violation:
        keep = True
        print(f"torture: FAILED: {violation}", flush=True)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        if keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
