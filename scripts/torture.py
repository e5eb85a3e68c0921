#!/usr/bin/env python3
"""Kills a training run again and again, and checks that nothing is lost.

    python3 scripts/torture.py                       200 kills of target/release/seqloom, about ten minutes
    python3 scripts/torture.py --kills 14 --seed 3   fewer ones, in another order
    python3 scripts/torture.py --set model.transformer.norm=rms_norm        the same with another setting
    python3 scripts/torture.py --set training.inverse_sqrt.warmup= --set training.linear.warmup=9   another schedule

A small run is trained once without interruption: the reference. The same run is then trained in another folder, ended
at a random moment, resumed with `seqloom train CONFIG --resume`, and ended again. A complete run is compared with the
reference, and the next one starts. A run is ended by SIGKILL at any moment and at critical moments, SIGTERM and SIGINT,
a second SIGTERM after the first, and a full disk. Between two starts the script may plant incomplete files, as after a
power cut, and each start has another number of threads than the one before.

It checks each time:
  - exit code and last messages fit the end: 143 or 130 and saved, or 1 and an error that names the file;
  - the checkpoint that `latest` named is still there, or a newer one, complete by its manifest, and it decodes;
  - a step's checkpoint has the same bytes in every run;
  - the completed run is bit-identical to the reference: metrics.csv, all files of the last checkpoint, best, samples/;
  - at the end, that one changed byte in a checkpoint is refused with an error that names the file.

The full disk is a small tmpfs in a separate mount namespace. If that is not allowed, a limit on the size of files
(RLIMIT_FSIZE) simulates it. Exits with 0, or at the first violation with 1: then it reports the violation and keeps the
folder. The seed fixes kinds, order and moments, but not what the program does at a moment.
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

from torture_kinds import FULL_DISK, KINDS, PLANTS, SETUP, Kind, SizeLimit, SmallDisk
from torture_run import (
    MANIFEST, SETTINGS, STATE, Experiment, Process, Violation, check_checkpoint, checkpoint, compare, partials, pointer,
    snapshot, steps, writes_new
)

ROOT = Path(__file__).resolve().parent.parent
BINARY = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "seqloom"


class Torture:
    """The reference, the run that is interrupted, and the results."""

    # The most runs in a row that may complete before the moment of a kill.
    MISSES = 20

    def __init__(self, experiment: Experiment, seed: int):
        self.experiment, self.seed = experiment, seed
        self.run, self.last = experiment.folder / "run", experiment.number("training.steps")
        self.deck, self.kills, self.counts = [], Counter(), Counter()
        self.sums, self.decoded = {}, set()
        self.now, self.process, self.disk = "the reference", None, None
        self.kinds = self.rng_for("the kinds")
        self.rng = self.kinds

    def rng_for(self, what: str) -> random.Random:
        """A separate random generator, independent of how many other numbers were drawn."""
        return random.Random(f"{self.seed} {what}")

    def train_reference(self) -> None:
        """Trains the reference without kills; measures how long it takes to start and to finish."""
        run = self.experiment.folder / "reference"
        with self.training(run) as process:
            process.wait_until(process.trains)
            self.start_up = process.age()
            self.check_exit(None, False, process.code())
            self.duration = process.age()
        self.check(run, None)
        self.reference = snapshot(run)

    def training(self, run: Path, **more: str):
        """`seqloom train` in that folder, until the context ends."""
        self.process = self.experiment.train(run, {f"training.{key}": value for key, value in more.items()})
        return contextlib.closing(self.process)

    def choose_disk(self, may_mount: bool) -> None:
        if may_mount:
            # Space for the run, for checkpoints that are not removed yet, and for planted files.
            size = sum(map(len, self.reference.values()))
            self.disk = SmallDisk(self.experiment.folder / "small_disk", 12 * size + (4 << 20))
        else:
            print("no small disk can be mounted here, so a limit on file sizes (RLIMIT_FSIZE) simulates a full one")
            self.disk = SizeLimit()

    def kill_once(self) -> None:
        """One kill of the next kind. A run that completes before it is compared, and another one is started."""
        for miss in range(self.MISSES):
            kind = self.draw()
            self.now = f"kill {sum(self.kills.values()) + 1}, {kind.name}"
            self.rng = self.rng_for(f"{self.now}, {miss} misses")
            if self.attempt(kind):
                self.deck.remove(kind)
                self.kills[kind.name] += 1
                return
        raise SystemExit(f"torture: {self.now}: with these settings its moment never comes")

    def draw(self) -> Kind:
        """The next kind of a shuffled deck; a new run is killed during its setup if that kind is left."""
        is_new = not self.run.exists()
        if not any(is_new or kind is not SETUP for kind in self.deck):
            cards = [kind for kind in KINDS for _ in range(kind.share)]
            self.deck += self.kinds.sample(cards, len(cards))
        fitting = [kind for kind in self.deck if is_new or kind is not SETUP]
        return SETUP if SETUP in fitting else fitting[0]

    def attempt(self, kind: Kind) -> bool:
        """Trains until the run is interrupted (True) or complete (False), and checks its folder."""
        disk = self.disk.holding(self.run) if kind is FULL_DISK else contextlib.nullcontext(self.run)
        with disk as place, self.training(place) as process:
            before = partials(place)
            interrupted = kind.interrupt(self, process)
            code = process.code()
            self.check_exit(kind, interrupted, code)
            self.counts["incomplete checkpoints"] += writes_new(place, before)
        self.check(self.run, process.latest)
        if code == 0:
            self.complete()
        else:
            self.plant()
        return code != 0

    def check_exit(self, kind: Optional[Kind], interrupted: bool, code: int) -> None:
        """Checks that the process ended as it must."""
        if "bug in seqloom" in self.process.stderr_text():
            raise Violation("it panicked")
        if code == 0:
            if not re.search(r"^done: | is complete: ", self.process.stderr_text(), re.MULTILINE):
                raise Violation("it ended with exit code 0, but prints no message that it is done")
        elif not interrupted:
            raise Violation(f"it ended by itself, with exit code {code}")
        else:
            kind.verdict(self, self.process, code)

    def check(self, run: Path, before: Optional[int]) -> None:
        """Checks the checkpoints: that of `latest` before or a newer one, `best`, and the newest ones."""
        latest, best = pointer(run), pointer(run, "best")
        if before is not None and (latest is None or latest < before):
            raise Violation(f"`latest` named step {before}, and now it names {latest}")
        # A kill may interrupt the removal of older ones.
        kept = set(steps(run)[:self.experiment.number("training.keep_last")])
        for step in sorted(kept | {latest, best} - {None}):
            folder = checkpoint(run, step)
            sums = check_checkpoint(folder)
            # If a stop came before the step's validation, the state differs from that after the validation.
            due = json.loads((folder / STATE).read_text())["validation_due"]
            for name, found in sums.items():
                if self.sums.setdefault((step, name, due and name == STATE), found) != found:
                    raise Violation(f"{name} of step {step} is not the same as in an earlier run")
            self.counts["checkpoints checked"] += 1
        # The same bytes decode again.
        if latest is not None and latest not in self.decoded:
            self.experiment.decode(checkpoint(run, latest))
            self.decoded.add(latest)
            self.counts["different checkpoints decoded"] += 1

    def complete(self) -> None:
        """Compares the complete run with the reference, and removes it."""
        compare(snapshot(self.run), self.reference)
        leftovers = [path.name for path in self.run.rglob("*.partial*")]
        if leftovers and "done: " in self.process.stderr_text():
            raise Violation(f"it is done, but leaves {leftovers}")
        self.counts["runs completed"] += 1
        shutil.rmtree(self.run)

    def plant(self) -> None:
        """Half of the time, plants incomplete files, as after a power cut."""
        if self.rng.random() < 0.5 and (self.run / "config.toml").is_file():
            for plant in self.rng.sample(PLANTS, self.rng.randint(1, len(PLANTS))):
                plant(self.run, self.rng, self.last)
                self.counts["incomplete files planted"] += 1

    def finish(self) -> None:
        """Completes the last run."""
        if not self.run.exists() and self.counts["runs completed"] > 0:
            return
        self.now = "the last run, without a kill"
        with self.training(self.run) as process:
            self.check_exit(None, False, process.code())
        self.check(self.run, self.process.latest)
        self.complete()

    def damage(self) -> None:
        """Checks that resuming fails if a byte of the last checkpoint is changed: the error names the file."""
        reference = self.experiment.folder / "reference"
        for name in json.loads((checkpoint(reference, self.last) / MANIFEST).read_text()):
            self.now = f"the reference with one byte changed in {name}"
            self.rng = self.rng_for(self.now)
            shutil.copytree(reference, self.run)
            path = checkpoint(self.run, self.last) / name
            content = bytearray(path.read_bytes())
            content[self.rng.randrange(len(content))] ^= 1 << self.rng.randrange(8)
            path.write_bytes(content)
            with self.training(self.run, steps=str(self.last + 1)) as process:
                code = process.code()
            if code != 1 or f"error: {path} is damaged" not in process.stderr_text():
                raise Violation(f"it must report that {path} is damaged and end with exit code 1, not with {code}")
            self.counts["changed bytes refused"] += 1
            shutil.rmtree(self.run)


def torture(arguments: argparse.Namespace, folder: Path) -> None:
    settings = {**SETTINGS, **dict(setting.split("=", 1) for setting in arguments.settings)}
    settings = {key: value for key, value in settings.items() if value}
    work = Torture(Experiment(folder, arguments.binary.resolve(), settings), arguments.seed)
    try:
        work.train_reference()
        total = settings["training.steps"]
        print(f"reference: {total} steps in {work.duration:.1f} s; {arguments.kills} kills follow, seed {arguments.seed}",
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
        raise Violation(f"{work.now}: {violation}\n{last_lines(work.process)}") from violation
    finally:
        if work.disk:
            work.disk.close()
    print_results(work)


def last_lines(process: Process) -> str:
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
                        help="a setting for the reference and the interrupted run; may be given more than once; an "
                             "empty value removes the script's own setting of that key")
    parser.add_argument("--keep", action="store_true", help="keep the folder even without a violation")
    parser.add_argument("--may-mount", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.binary.is_file():
        parser.error(f"there is no {arguments.binary}; `make build` builds it")
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
