#!/usr/bin/env python3
"""Measures what a network costs ranks that train together, and predicts it for more hosts.

    sudo python3 scripts/bench_network.py                       configs/multi30k_small.toml over 1 ms and 1 Gbit/s
    sudo python3 scripts/bench_network.py --delay 0.1ms --rate 100mbit --hosts 4                      another network
    sudo python3 scripts/bench_network.py --case small --case "large: model.transformer.width=512"   two sizes of model
    sudo python3 scripts/bench_network.py --down                takes the link down instead: all ranks must end in time

Each host is a network namespace with one rank of one thread. Links lead from them to a switch, a namespace as well.
--delay is that of one way between two hosts, so a round trip takes twice as long; --rate is what each host may send.
Both are netem's where the kernel has it. Elsewhere the rate is held by tbf, and the switch is a process of this script
that passes frames on that much later: it takes a part of a core while ranks exchange, so let all hosts together send 2
Gbit/s at most. Run it where the config's data files are found, and with a core for each host.

It trains in turns, --rounds times each:
  - alone: as many single processes as there are hosts, side by side, each with the whole updates. They exchange
    nothing: what ranks need beyond a host's share of this time is lost to the exchange, to the steps of the optimizer
    that every rank repeats, and to waiting for the slower rank;
  - loopback: the ranks on this host, without namespaces;
  - link: the ranks in namespaces;
  - the same with almost empty updates, in which the exchange shows best, and also over links with the rate alone.
A row of the log is timed when rank 0 prints it (train.log rounds to 0.1 s); the first is left out. Printed are medians
of the others, and whether metrics.csv has the same bytes over loopback and links. Then it compares the exchange with a
model of its cost, and predicts that of larger clusters. Predicted hosts compute as fast as one thread here; for others
that are F times as fast, an update needs F times as many tokens.

Needs Linux, root, iproute2, Python 3.8. Removes the namespaces at the end. Should the script be killed by SIGKILL,
`ip -all netns delete` removes all there are.
"""

import argparse
import contextlib
import csv
import ctypes
import errno
import itertools
import multiprocessing
import os
import re
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BINARY = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "seqloom"
PATIENCE = 900  # seconds until a row of the log must come

# What the model knows of src/shim/group.cpp and of Ethernet: bytes of a piece, and the payload's share of a frame.
PIECE = 4 << 20
PAYLOAD = 1448 / 1514
# Clusters that are predicted: hosts, bit/s. Their delay is that of the link here, or that of a local network.
HOSTS, RATES, LOCAL_DELAY = (8, 64), (1e9, 1e10), 50e-6
ACCEPTED = 0.1

# Of packet(7) and virtio_net.h: frames of up to 64 KiB pass whole, with a header that says how to cut them.
SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING, ETH_P_ALL, VNET_HEADER = 263, 15, 23, 3, 10
LARGEST_FRAME = VNET_HEADER + 14 + (64 << 10)
CLONE_NEWNET = 0x40000000


def ip(*words: str, inside: str = "") -> None:
    """Calls ip, in a network namespace."""
    subprocess.run(["ip", *(["-n", inside] if inside else []), *words], check=True)


@contextlib.contextmanager
def entered(namespace: str):
    """This thread is in the network namespace: sockets that it opens stay there."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(place) -> None:
        if libc.setns(place.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")

    with open("/proc/thread-self/ns/net", "rb") as before, open(f"/run/netns/{namespace}", "rb") as there:
        enter(there)
        try:
            yield
        finally:
            enter(before)


class Network:
    """Hosts that a switch joins. Their addresses are 10.99.0.1, 10.99.0.2 and so on."""

    def __init__(self, hosts: int, delay: float, rate: float):
        self.hosts, self.delay, self.rate = hosts, delay, rate
        self.switch = f"seqloom-{os.getpid()}-switch"
        self.names = [f"seqloom-{os.getpid()}-{host}" for host in range(hosts)]
        self.relay = None

    def __enter__(self) -> "Network":
        try:
            for name in [self.switch, *self.names]:
                ip("netns", "add", name)
            for host in range(self.hosts):
                self.connect(host)
            if self.has_netem():
                self.bridge()
            else:
                self.start_relay()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        if self.relay:
            self.relay.kill()
            self.relay.join()
        for name in [self.switch, *self.names]:
            if os.path.exists(f"/run/netns/{name}"):
                subprocess.run(["ip", "netns", "delete", name], check=False)

    @staticmethod
    def address(host: int) -> str:
        return f"10.99.0.{host + 1}"

    def connect(self, host: int) -> None:
        """A cable from the host to the switch. The last byte of a host's hardware address is its number."""
        name, port = self.names[host], f"port{host}"
        ip("link", "add", "net0", "address", f"02:00:00:00:00:{host:02x}", "netns", name,
           "type", "veth", "peer", "name", port, "netns", self.switch)
        ip("address", "add", f"{self.address(host)}/24", "dev", "net0", inside=name)
        for device, place in ("lo", name), ("net0", name), (port, self.switch):
            ip("link", "set", device, "up", inside=place)
        self.tc(host, "tbf", "rate", f"{self.rate:.0f}bit", "burst", "128kb", "limit", "4mb")

    def tc(self, host: int, *words: str) -> bool:
        command = ["tc", "-n", self.names[host], "qdisc", "replace", "dev", "net0", "root", *words]
        return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0

    def has_netem(self) -> bool:
        words = "netem", "delay", f"{1e6 * self.delay:.0f}us", "rate", f"{self.rate:.0f}bit", "limit", "100000"
        return all(self.tc(host, *words) for host in range(self.hosts))

    def bridge(self) -> None:
        ip("link", "add", "bridge", "type", "bridge", inside=self.switch)
        ip("link", "set", "bridge", "up", inside=self.switch)
        for host in range(self.hosts):
            ip("link", "set", f"port{host}", "master", "bridge", inside=self.switch)

    def start_relay(self) -> None:
        with entered(self.switch):
            ports = [packet_socket(f"port{host}") for host in range(self.hosts)]
        self.relay = multiprocessing.get_context("fork").Process(target=relay, args=(ports, self.delay), daemon=True)
        self.relay.start()
        for port in ports:
            port.close()

    def round_trip(self) -> float:
        """Seconds until the last host refuses a connection of the first one: the median of several."""
        found = []
        with entered(self.names[0]):
            for _ in range(21):
                with socket.socket() as client:
                    started = time.monotonic()
                    client.connect_ex((self.address(self.hosts - 1), 9))
                    found.append(time.monotonic() - started)
        return statistics.median(found)

    def described(self) -> str:
        how = "by tbf and this script" if self.relay else "by netem"
        return (f"{1e3 * self.delay:g} ms and {in_bits(self.rate)} each way {how}; a round trip takes "
                f"{1e3 * self.round_trip():.2f} ms")


def packet_socket(device: str) -> socket.socket:
    """A socket that gets each frame that comes from a device."""
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    for option in PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING:
        port.setsockopt(SOL_PACKET, option, 1)
    for option in socket.SO_RCVBUF, socket.SO_SNDBUF:
        port.setsockopt(socket.SOL_SOCKET, option, 64 << 20)
    port.bind((device, ETH_P_ALL))
    port.setblocking(False)
    return port


def relay(ports: list, delay: float) -> None:
    """Passes each frame on to the port of its destination, that many seconds after it came."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    waiting = deque()
    while True:
        left = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for port in select.select(ports, [], [], left)[0]:
            due = time.monotonic() + delay
            # Nothing more to read, or the link is down.
            with contextlib.suppress(OSError):
                while True:
                    waiting.append((due, port, port.recv(LARGEST_FRAME)))
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, source, frame = waiting.popleft()
            host = frame[VNET_HEADER + 5]
            for port in ports[host:host + 1] or [port for port in ports if port is not source]:
                try:
                    port.send(frame)
                except OSError as error:
                    # As on a real link, what finds no room is lost; and nobody may be there.
                    if error.errno not in (errno.EAGAIN, errno.ENOBUFS, errno.ENETDOWN, errno.ENXIO):
                        raise


def free_port() -> str:
    """A port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


class Rank:
    """A process of `seqloom train`, and when it printed which line."""

    def __init__(self, command: list, variables: dict):
        self.process = subprocess.Popen(command, env={**os.environ, **variables}, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                        start_new_session=True)
        self.lines, self.silent, self.changed = [], False, threading.Condition()
        self.listener = threading.Thread(target=self.listen, daemon=True)
        self.listener.start()

    def listen(self) -> None:
        for line in self.process.stderr:
            with self.changed:
                self.lines.append((time.monotonic(), line.rstrip()))
                self.changed.notify_all()
        with self.changed:
            self.silent = True
            self.changed.notify_all()

    def rows(self) -> list:
        """(seconds, step) of each row of the log so far."""
        found = [(when, re.match(r"step (\d+): loss ", line)) for when, line in list(self.lines)]
        return [(when, int(row[1])) for when, row in found if row]

    def wait_for_row(self, count: int) -> None:
        """Waits until it has printed that many rows."""
        with self.changed:
            while len(self.rows()) < count:
                if self.silent or not self.changed.wait(PATIENCE):
                    last = "\n".join(line for _, line in self.lines[-8:])
                    raise SystemExit(f"error: a rank ended, or hangs:\n{last}")

    def wait(self, seconds: float) -> object:
        """Its exit code; None if it still runs after that time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.returncode

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.listener.join()


@dataclass
class Kind:
    """A way to train: the name, where, and the tokens of a batch; `delay` is None for the loopback."""

    name: str
    ranks: bool
    tokens: int
    shards: int
    log_every: int
    rows: int
    delay: object = None
    seconds: list = field(default_factory=list)
    tokens_found: list = field(default_factory=list)
    metrics: bytes = b""

    def median(self) -> float:
        return statistics.median(self.seconds)

    def per_update(self) -> float:
        """Mean number of target tokens of an update."""
        return statistics.mean(self.tokens_found)


def kinds(arguments: argparse.Namespace) -> dict:
    """All ways to train, by name. Empty updates are shorter, so their rows have more of them."""
    hosts, full, shards = arguments.hosts, arguments.tokens, max(4, arguments.hosts)
    empty = hosts * arguments.empty_tokens
    rows, more = arguments.updates // 2 + 1, arguments.empty_updates // 5 + 1
    every = [
        Kind("alone", False, full, shards, 2, rows),
        Kind("loopback", True, full, shards, 2, rows),
        Kind("link", True, full, shards, 2, rows, arguments.delay),
        Kind("empty alone", False, empty // hosts, 1, 5, more),
        Kind("empty loopback", True, empty, hosts, 5, more),
        Kind("empty rate", True, empty, hosts, 5, more, 0.0),
        Kind("empty link", True, empty, hosts, 5, more, arguments.delay),
    ]
    return {kind.name: kind for kind in every}


class Bench:
    """Trains one case in all ways."""

    def __init__(self, arguments: argparse.Namespace, settings: list, folder: Path):
        self.arguments, self.settings, self.folder = arguments, settings, folder
        self.weights = 0

    def start(self, kind: Kind, network, more: tuple = ()) -> list:
        """Starts all ranks, or as many single processes."""
        settings = {"runtime.device": "cpu", "runtime.threads": "1", "training.tokens_per_batch": str(kind.tokens),
                    "training.shards": str(kind.shards), "training.log_every": str(kind.log_every),
                    "training.steps": "1000000",
                    "training.validate_every": "1000000", "training.checkpoint_every": "1000000"}
        settings.update(pair.split("=", 1) for pair in [*self.settings, *more])
        overrides = [part for pair in settings.items() for part in ("--set", "=".join(pair))]
        address, port = (network.address(0) if network else "127.0.0.1"), free_port()
        count, started = self.arguments.hosts, []
        for host in range(count):
            out = self.folder / ("run" if kind.ranks else f"run{host}")
            command = [str(self.arguments.binary), "train", str(self.arguments.config), "--out", str(out), *overrides]
            if network:
                command = ["ip", "netns", "exec", network.names[host], *command]
            launch = {"RANK": str(host), "WORLD_SIZE": str(count), "MASTER_ADDR": address, "MASTER_PORT": port}
            started.append(Rank(command, launch if kind.ranks else {}))
        return started

    def measure(self, kind: Kind) -> None:
        """Trains once, and keeps the seconds of an update in each row but the first."""
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            network = None
            if kind.delay is not None:
                network = stack.enter_context(Network(self.arguments.hosts, kind.delay, self.arguments.rate))
                print(f"  {kind.name}: {network.described()}", flush=True)
            ranks = self.start(kind, network)
            for rank in ranks:
                stack.callback(rank.kill)
            ranks[0].wait_for_row(kind.rows)
            # The last rank tells the others, over the network.
            for rank in ranks[-1:] if kind.ranks else ranks:
                rank.process.terminate()
            codes = [rank.wait(PATIENCE) for rank in ranks]
            if codes != [143] * len(ranks):
                raise SystemExit(f"error: after SIGTERM the exit codes must be 143, but they are {codes}")
            rows = ranks[0].rows()[:kind.rows]
            spans = [(later[0] - sooner[0]) / kind.log_every for sooner, later in zip(rows, rows[1:])]
            kind.seconds += spans
            self.read(kind, ranks[0], self.folder / ("run" if kind.ranks else "run0"))
            print(f"  {kind.name}: " + " ".join(f"{span:.3f}" for span in spans) + " s", flush=True)

    def read(self, kind: Kind, rank: Rank, run: Path) -> None:
        """Takes the tokens and the metrics of the rows, and the number of weights."""
        lines = (run / "metrics.csv").read_bytes().splitlines(keepends=True)[:kind.rows + 1]
        kind.metrics = b"".join(lines)
        table = csv.DictReader(line.decode() for line in lines)
        kind.tokens_found += [int(row["target_tokens"]) / kind.log_every for row in table][1:]
        found = re.search(r": (\d+) parameters on ", "\n".join(line for _, line in rank.lines))
        self.weights = int(found[1]) if found else 0

    def down(self) -> bool:
        """Takes a link down in mid-training; returns whether all ranks end by themselves, and prints how."""
        limit, hosts, delay = 10, self.arguments.hosts, self.arguments.delay
        kind = Kind("down", True, hosts * self.arguments.empty_tokens, hosts, 5, 2, delay)
        with Network(hosts, delay, self.arguments.rate) as network, contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            ranks = self.start(kind, network, (f"runtime.rank_timeout={limit}",))
            for rank in ranks:
                stack.callback(rank.kill)
            ranks[0].wait_for_row(kind.rows)
            ip("link", "set", "net0", "down", inside=network.names[-1])
            print(f"  the link of rank {hosts - 1} is down; runtime.rank_timeout is {limit} s", flush=True)
            began, codes = time.monotonic(), []
            for number, rank in enumerate(ranks):
                codes.append(rank.wait(max(0.0, began + 3 * limit - time.monotonic())))
                how = f"still runs after {3 * limit} s" if codes[-1] is None else f"ended with exit code {codes[-1]}"
                print(f"  rank {number} {how}; its last lines, each with the seconds since:")
                for when, line in rank.lines[-2:]:
                    print(f"    {when - began:6.1f} {line}", flush=True)
        return None not in codes and 0 not in codes


def exchange(size: float, hosts: int, rate: float, delay: float) -> float:
    """The model: seconds that the network needs to add up `size` bytes of gradients.

    Pieces pass in stages: while one is scattered, each host getting its part from all others at once, the sum of the
    one before goes round in a ring, host by host, behind what is scattered. Gloo asks the receiver before it sends: a
    message takes a round trip beside its bytes.
    """
    rate, trip, seconds = rate / 8 * PAYLOAD, 2 * delay, 0.0
    pieces = [PIECE] * int(size // PIECE) + [size % PIECE]
    for scattered, gathered in zip([*pieces, 0], [0, *pieces]):
        part = gathered / hosts / rate
        # A part goes as two halves, one behind the other.
        ring = (hosts - 1) * (trip + part / 2)
        seconds += (hosts - 1) * scattered / hosts / rate + max((hosts - 1) * part + trip, ring)
    return seconds


@dataclass
class Case:
    """What was measured of a model."""

    name: str
    weights: int
    hosts: int
    found: dict

    def size(self) -> int:
        return 4 * self.weights

    def share(self) -> float:
        """Seconds that one host needs for its share of an update, if all is shared."""
        return self.found["alone"].median() / self.hosts

    def lost(self, name: str) -> float:
        """Seconds of an update beyond that, row by row, since batches are the same. Empty updates are not shared."""
        empty = name.startswith("empty")
        alone, share = self.found["empty alone" if empty else "alone"], 1 if empty else self.hosts
        both = zip(self.found[name].seconds, alone.seconds)
        return statistics.median(seconds - other / share for seconds, other in both)

    def on_hosts(self, arguments: argparse.Namespace) -> float:
        """Seconds of an exchange that the network does not explain: copies, sums, and waiting for the slower rank."""
        model = exchange(self.size(), arguments.hosts, arguments.rate, arguments.delay)
        return max(0.0, self.lost("empty link") - model)

    def predicted(self, arguments: argparse.Namespace, hosts: int, rate: float, delay: float) -> float:
        """Seconds of an exchange in another cluster. What hosts copy grows like what they send."""
        more = (1 - 1 / hosts) / (1 - 1 / arguments.hosts)
        return exchange(self.size(), hosts, rate, delay) + more * self.on_hosts(arguments)


def print_measured(case: Case, arguments: argparse.Namespace) -> bool:
    """The time of an update, what of it is lost, how the model compares; returns whether the metrics are the same."""
    print(f"\n{case.name}: {case.weights} weights; medians of rows in {arguments.rounds} rounds\n"
          f"  {'':15} {'an update':>10} {'least':>10} {'most':>10} {'tokens':>7} {'beyond share':>13} {'lost':>8}")
    for name, kind in case.found.items():
        lost = f" {case.lost(name):11.3f} s {100 * case.lost(name) / kind.median():6.1f} %" if kind.ranks else ""
        print(f"  {name:15} {kind.median():8.3f} s {min(kind.seconds):8.3f} s {max(kind.seconds):8.3f} s "
              f"{kind.per_update():7.0f}{lost}")
    same = all(case.found[f"{front}link"].metrics == case.found[f"{front}loopback"].metrics for front in ("", "empty "))
    print(f"  metrics.csv over links {'has the same bytes as' if same else 'DIFFERS from that'} over loopback")
    rate, delay = (exchange(case.size(), case.hosts, arguments.rate, seconds) for seconds in (0.0, arguments.delay))
    print(f"  the model of the network: {rate:.3f} s by the rate alone, {delay:.3f} s with the delay, which adds "
          f"{delay - rate:.3f} s; measured: {case.lost('empty link') - case.lost('empty rate'):.3f} s\n"
          f"  beside that, hosts need {case.on_hosts(arguments):.3f} s to copy and add up, "
          f"{1e9 * case.on_hosts(arguments) / case.size():.2f} ns for each byte of the weights", flush=True)
    return same


def print_predicted(cases: list, arguments: argparse.Namespace) -> None:
    """The table of larger clusters."""
    print(f"\nPredicted, for hosts that compute like one thread here: the share lost if each host has as many tokens "
          f"of an\nupdate as here (a), if all together have as many as here (b), and the tokens of an update so that "
          f"{100 * ACCEPTED:.0f} % are lost (c)\n"
          f"  {'':12} {'hosts':>5} {'rate':>11} {'round trip':>11} {'exchange':>10} {'a':>8} {'b':>8} {'c':>10}")
    for case in cases:
        update = case.found["link"].per_update()
        pace = case.found["alone"].median() / update
        for hosts, rate, delay in itertools.product((case.hosts, *HOSTS), RATES, (LOCAL_DELAY, arguments.delay)):
            seconds = case.predicted(arguments, hosts, rate, delay)
            shares = [seconds / (seconds + pace * update / among) for among in (case.hosts, hosts)]
            needed = hosts * seconds * (1 - ACCEPTED) / ACCEPTED / pace
            print(f"  {case.name:12} {hosts:5} {in_bits(rate):>11} {2e3 * delay:8.2f} ms {seconds:8.3f} s "
                  f"{100 * shares[0]:6.1f} % {100 * shares[1]:6.1f} % {float(f'{needed:.2g}'):10.0f}")


def in_bits(rate: float) -> str:
    return f"{rate / 1e9:g} Gbit/s" if rate >= 1e9 else f"{rate / 1e6:g} Mbit/s"


def number_of(units: dict, text: str) -> float:
    """A number with one of the units."""
    found = re.fullmatch(r"([0-9.]+)([a-z]+)", text.lower())
    if not found or found[2] not in units:
        raise argparse.ArgumentTypeError(f"must be a number with one of {', '.join(units)}, but it is {text!r}")
    return float(found[1]) * units[found[2]]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=ROOT / "configs/multi30k_small.toml")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY.PATH=VALUE",
                        help="a setting for all runs; may be given more than once")
    parser.add_argument("--case", dest="cases", action="append", metavar='"NAME: KEY=VALUE KEY=VALUE"',
                        help="a name and further settings; may be given more than once: each is measured")
    parser.add_argument("--delay", type=lambda text: number_of({"ms": 1e-3, "us": 1e-6, "s": 1.0}, text), default=1e-3,
                        help="of one way (default: 1ms)")
    parser.add_argument("--rate", type=lambda text: number_of({"gbit": 1e9, "mbit": 1e6}, text), default=1e9,
                        help="of what a host sends (default: 1gbit)")
    parser.add_argument("--hosts", type=int, default=2, help="a power of two (default: 2)")
    parser.add_argument("--tokens", type=int, default=4096, help="tokens_per_batch of an update (default: 4096)")
    parser.add_argument("--updates", type=int, default=12, help="that are timed in each run (default: 12)")
    parser.add_argument("--empty-tokens", type=int, default=64, help="those of a host, of empty updates (default: 64)")
    parser.add_argument("--empty-updates", type=int, default=40, help="(default: 40)")
    parser.add_argument("--rounds", type=int, default=2, help="(default: 2)")
    parser.add_argument("--binary", type=Path, default=BINARY, help="(default: target/release/seqloom)")
    parser.add_argument("--down", action="store_true", help="take the link down instead of measuring")
    return check(parser, parser.parse_args())


def check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> argparse.Namespace:
    """Refuses what cannot work."""
    arguments.binary, arguments.config = arguments.binary.resolve(), arguments.config.resolve()
    if not arguments.binary.is_file():
        parser.error(f"there is no {arguments.binary}; `make build` builds it")
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("tc"):
        parser.error("network namespaces need root, and ip and tc of iproute2")
    if arguments.hosts < 2 or arguments.hosts & (arguments.hosts - 1):
        parser.error("--hosts must be a power of two")
    return arguments


def bench(arguments: argparse.Namespace, folder: Path) -> bool:
    """Measures all cases, or takes their links down; returns whether what must hold holds."""
    cases, holds = [], True
    for text in arguments.cases or [arguments.config.stem]:
        name, _, settings = text.partition(":")
        runs, found = Bench(arguments, [*arguments.settings, *settings.split()], folder / "runs"), kinds(arguments)
        print(f"{name}:", flush=True)
        if arguments.down:
            holds = runs.down() and holds
            continue
        for _ in range(arguments.rounds):
            for kind in found.values():
                runs.measure(kind)
        cases.append(Case(name, runs.weights, arguments.hosts, found))
        holds = print_measured(cases[-1], arguments) and holds
    if cases:
        print_predicted(cases, arguments)
    return holds


def main() -> int:
    arguments = parse()
    # So that `finally` is reached, and nothing is left behind.
    for number in signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    folder = Path(tempfile.mkdtemp(prefix="seqloom-network-"))
    try:
        holds = bench(arguments, folder)
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(folder)
    if not holds:
        print("bench_network: FAILED")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
