#!/usr/bin/env python3
"""Puts libtorch 2.11.0, which seqloom is built on, into .libtorch/ beside Cargo.toml.

    python3 scripts/get_libtorch.py                  for the CPU: 544 MB to fetch, 0.5 GB on disk
    python3 scripts/get_libtorch.py --cuda           for NVIDIA GPUs too: 2.5 GB to fetch, 4 GB on disk
    python3 scripts/get_libtorch.py --wheels DIR     without a network, from wheels in DIR

libtorch comes out of PyTorch's own Python wheel, since a wheel is a libtorch with Python files around it: its
libraries and headers are kept, the rest is dropped. They find the CUDA libraries by a path relative to
themselves (../../nvidia), so .libtorch/torch and .libtorch/nvidia must stay side by side. Even for the CPU two
small CUDA libraries are needed, because libtorch_cpu.so is linked with them.

Every wheel is pinned by version and sha256, and pip checks both. The folder is created completely or not at all.
Needs only Python 3.8 and pip. Does nothing if LIBTORCH names another libtorch.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

VERSION = "2.11.0"
ROOT = Path(__file__).resolve().parent.parent
OWN_LIBTORCH_HINT = f"install libtorch {VERSION} yourself, set LIBTORCH to its folder, and run this again"


class Wheel(NamedTuple):
    """One package to fetch, at the version that torch 2.11.0 itself asks for."""

    name: str
    version: str
    megabytes: float  # the x86-64 file; the aarch64 one is of the same order
    x86_64: str  # sha256
    aarch64: str  # sha256


CPU_WHEELS = [
    Wheel("torch", VERSION, 530.6,
          "7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a",
          "d91aac77f24082809d2c5a93f52a5f085032740a1ebc9252a7b052ef5a4fddc6"),
    Wheel("nvidia-cuda-runtime", "13.0.96", 2.2,
          "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
          "ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55"),
    Wheel("nvidia-cuda-cupti", "13.0.85", 10.7,
          "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
          "796bd679890ee55fb14a94629b698b6db54bcfd833d391d5e94017dd9d7d3151"),
]

CUDA_WHEELS = CPU_WHEELS + [
    Wheel("nvidia-cublas", "13.1.0.3", 423.1,
          "ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171",
          "c86fc7f7ae36d7528288c5d88098edcb7b02c633d262e7ddbb86b0ad91be5df2"),
    Wheel("nvidia-cuda-nvrtc", "13.0.88", 90.2,
          "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575",
          "d27f20a0ca67a4bb34268a5e951033496c5b74870b868bacd046b1b8e0c3267b"),
    Wheel("nvidia-cudnn-cu13", "9.19.0.56", 366.1,
          "d20e1734305e9d68889a96e3f35094d733ff1f83932ebe462753973e53a572bf",
          "6ed29ffaee1176c612daf442e4dd6cfeb6a0caa43ddcbeb59da94953030b1be4"),
    Wheel("nvidia-cufft", "12.0.0.61", 214.1,
          "6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3",
          "2708c852ef8cd89d1d2068bdbece0aa188813a0c934db3779b9b1faa8442e5f5"),
    Wheel("nvidia-cufile", "1.15.1.6", 1.2,
          "08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44",
          "bdc0deedc61f548bddf7733bdc216456c2fdb101d020e1ab4b88d232d5e2f6d1"),
    Wheel("nvidia-curand", "10.4.0.35", 59.5,
          "1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc",
          "133df5a7509c3e292aaa2b477afd0194f06ce4ea24d714d616ff36439cee349a"),
    Wheel("nvidia-cusolver", "12.0.4.66", 200.9,
          "0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112",
          "02c2457eaa9e39de20f880f4bd8820e6a1cfb9f9a34f820eb12a155aa5bc92d2"),
    Wheel("nvidia-cusparse", "12.6.3.3", 145.9,
          "2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b",
          "80bcc4662f23f1054ee334a15c72b8940402975e0eab63178fc7e670aa59472c"),
    Wheel("nvidia-cusparselt-cu13", "0.8.0", 169.9,
          "25e30a8a7323935d4ad0340b95a0b69926eee755767e8e0b1cf8dd85b197d3fd",
          "400c6ed1cf6780fc6efedd64ec9f1345871767e6a1a0a552a1ea0578117ea77c"),
    Wheel("nvidia-nccl-cu13", "2.28.9", 196.5,
          "e4553a30f34195f3fa1da02a6da3d6337d28f2003943aa0a3d247bbc25fefc42",
          "01c873ba1626b54caa12272ed228dc5b2781545e0ae8ba3f432a8ef1c6d78643"),
    Wheel("nvidia-nvjitlink", "13.0.88", 40.7,
          "13a74f429e23b921c1109976abefacc69835f2f433ebd323d3946e11d804e47b",
          "e931536ccc7d467a98ba1d8b89ff7fa7f1fa3b13f2b0069118cd7f47bff07d0c"),
    Wheel("nvidia-nvshmem-cu13", "3.4.5", 60.4,
          "290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80",
          "6dc2a197f38e5d0376ad52cd1a2a3617d3cdc150fd5966f4aee9bcebb1d68fe9"),
    Wheel("nvidia-nvtx", "13.0.85", 0.1,
          "4936d1d6780fbe68db454f5e72a42ff64d1fd6397df9f363ae786930fd5c1cd4",
          "cb7780edb6b14107373c835bf8b72e7a178bac7367e23da7acb108f973f157a6"),
]

WHEELS = {"cpu": CPU_WHEELS, "cuda": CUDA_WHEELS}
# The size on disk, in GB, plus the largest wheel temporarily.
DISK_GIGABYTES = {"cpu": 0.5 + 0.6, "cuda": 4.0 + 0.6}

# Never extracted: Python bindings, and headers of other systems.
NOT_FOR_RUST = {"libtorch_python.so", "libshm_windows"}
# Not extracted for the CPU. Without libtorch_cuda.so the crate torch-sys builds for the CPU only.
GPU_ONLY = {
    "libtorch_cuda.so", "libtorch_cuda_linalg.so", "libtorch_nvshmem.so", "libc10_cuda.so", "libcaffe2_nvrtc.so",
    "libtorch.so",
}
# libtorch.so is empty but depends on libtorch_cuda.so, so that programs linked with it would not start. For the CPU,
# `-ltorch` finds this linker script instead, like the system's libc.so.
LIBTORCH_FOR_CPU = "/* For the CPU, libtorch is libtorch_cpu. */\nINPUT(libtorch_cpu.so)\n"
# The libraries that libtorch_cpu.so is linked with; other NVIDIA libraries are for GPUs and profilers.
NEEDED_BY_CPU = {"libcudart.so.13", "libcupti.so.13"}


class Failure(Exception):
    """An error for the user: what is wrong, and what to do."""

    def __init__(self, message, hint=None):
        super().__init__(message)
        self.hint = hint


def report(text):
    """Messages go to stderr, unbuffered even if stderr is a file."""
    print(text, file=sys.stderr, flush=True)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a stopped run removes its temporary files
    try:
        install(parse_arguments())
    except Failure as failure:
        report(f"error: {failure}")
        if failure.hint:
            report(f"hint: {failure.hint}")
        return 1
    except OSError as error:  # a full disk, a folder that may not be written
        report(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        report("stopped; nothing was installed")
        return 130
    return 0


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cuda", action="store_true", help="the full set, for NVIDIA GPUs as well as the CPU")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="take the wheels from DIR, not from a network")
    parser.add_argument("--into", type=Path, metavar="DIR", default=ROOT / ".libtorch", help="default: .libtorch")
    return parser.parse_args()


def install(arguments):
    """Installs a complete libtorch, or raises and leaves the old state."""
    for name in ("LIBTORCH", "LIBTORCH_USE_PYTORCH"):
        if os.environ.get(name):
            report(f"{name} is set to {os.environ[name]}: using that libtorch, and fetching none")
            return
    variant = "cuda" if arguments.cuda else "cpu"
    into = arguments.into.absolute()
    check_system()
    with only_one_at_a_time(make_folder(into.parent)):
        found = whole_variant(into)
        if found in (variant, "cuda"):  # the full set serves the CPU too
            report(f"libtorch {VERSION} ({found}) is in {shown(into)}")
            return
        check_pip()
        check_space(into.parent, variant)
        partial = into.with_name(into.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)  # left by a run that was killed
        try:
            fetch_and_unpack(partial / "new", variant, arguments.wheels)
            check_libraries(partial / "new", variant)
            write_stamp(partial / "new", variant)
            put_in_place(partial, into)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    report(f"libtorch {VERSION} ({variant}) is in {shown(into)}")


def check_system():
    """The wheels are for Linux with glibc 2.28 or newer, on x86-64 or aarch64."""
    system, machine = platform.system(), platform.machine()
    if system != "Linux" or machine not in ("x86_64", "aarch64"):
        raise Failure(
            f"there is libtorch for Linux on x86-64 and aarch64, but this is {system} on {machine}",
            OWN_LIBTORCH_HINT,
        )
    library, version = platform.libc_ver()
    numbers = [int(part) for part in version.split(".")[:2] if part.isdigit()]
    if library != "glibc" or numbers < [2, 28]:
        found = f"{library} {version}".strip() or "another C library"
        raise Failure(f"libtorch needs glibc 2.28 or newer, but this system has {found}", OWN_LIBTORCH_HINT)


def check_pip():
    """pip 20.3 is the first that takes several --platform options."""
    answer = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, text=True)
    if answer.returncode != 0:
        raise Failure(
            f"pip must be there to fetch libtorch, but `{sys.executable} -m pip` fails",
            "install it (Debian, Ubuntu: apt install python3-pip; Fedora: dnf install python3-pip)",
        )
    version = answer.stdout.split()[1]
    if [int(part) for part in version.split(".")[:2]] < [20, 3]:
        raise Failure(
            f"pip must be 20.3 or newer, but it is {version}", f"{sys.executable} -m pip install --upgrade pip"
        )


def check_space(folder, variant):
    needed, free = DISK_GIGABYTES[variant], shutil.disk_usage(folder).free / 1e9
    if free < needed:
        raise Failure(f"{needed:.1f} GB must be free in {folder}, but {free:.1f} GB are")


@contextlib.contextmanager
def only_one_at_a_time(folder):
    """A lock: a second `make` waits here, and then finds the work done."""
    import fcntl  # not above: it is missing on Windows, which check_system refuses in words

    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def fetch_and_unpack(target, variant, offline):
    """One wheel at a time, each deleted once unpacked, so that the disk never holds them all."""
    wheels = WHEELS[variant]
    total = sum(wheel.megabytes for wheel in wheels)
    size = f"{total:.0f} MB" if total < 1000 else f"{total / 1000:.1f} GB"
    start = time.monotonic()
    if offline:
        report(f"libtorch {VERSION} ({variant}): unpacking {size} of wheels from {offline}")
    else:
        report(f"libtorch {VERSION} ({variant}): about {size} to download, once")
    for number, wheel in enumerate(wheels, 1):
        report(f"  {number}/{len(wheels)} {wheel.name} {wheel.version}, {wheel.megabytes:.1f} MB")
        with tempfile.TemporaryDirectory(dir=make_folder(target.parent)) as folder:
            unpack(download(wheel, Path(folder), offline), target, variant)
    if variant == "cpu":
        (target / "torch" / "lib" / "libtorch.so").write_text(LIBTORCH_FOR_CPU)
    report(f"  done in {time.monotonic() - start:.0f} s")


def make_folder(path):
    path.mkdir(parents=True, exist_ok=True)
    return path


def download(wheel, folder, offline):
    """Has pip fetch one wheel, pinned by its hashes, and returns the file's path."""
    requirement = folder / "requirement.txt"
    requirement.write_text(
        f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.x86_64} --hash=sha256:{wheel.aarch64}\n"
    )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--dest", str(folder), "--requirement", str(requirement)]
    # libtorch does not depend on the Python version: a fixed wheel has the same hash everywhere.
    command += ["--implementation", "cp", "--python-version", "3.11"]
    command += [option for tag in platform_tags() for option in ("--platform", tag)]
    if offline:
        command += ["--no-index", "--find-links", str(offline)]
    if not sys.stderr.isatty():
        command += ["--quiet", "--progress-bar", "off"]
    if subprocess.run(command, stdout=sys.stderr, stdin=subprocess.DEVNULL).returncode != 0:
        where = f"look whether it is in {offline}" if offline else "check the network and pip's settings"
        raise Failure(
            f"pip could not get {wheel.name} {wheel.version}; the reason is above",
            f"{where}; or {OWN_LIBTORCH_HINT}",
        )
    return next(folder.glob("*.whl"))


def platform_tags():
    """pip takes --platform literally: every glibc from 2.28 down has a tag of its own, and old ones had names."""
    machine = platform.machine()
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(28, 4, -1)]
    return tags + [f"manylinux{year}_{machine}" for year in ("2014", "2010", "1")]


def unpack(wheel, target, variant):
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            if not entry.is_dir() and wanted(PurePosixPath(entry.filename), variant):
                archive.extract(entry, target)


def wanted(path, variant):
    """Whether a file of a wheel is needed to build or run a C++ or Rust program."""
    if path.parts[0].endswith(".dist-info"):
        return "licenses" in path.parts
    if NOT_FOR_RUST.intersection(path.parts):
        return False
    if path.parts[0] == "torch":
        folder = path.parts[1] in ("lib", "include", "share") or path.name == "version.py" and len(path.parts) == 2
        return folder and (variant == "cuda" or path.name not in GPU_ONLY)
    if variant == "cpu":
        return path.name in NEEDED_BY_CPU
    return "include" in path.parts or ".so" in path.name


def check_libraries(folder, variant):
    """The right version, and libraries that this system's loader accepts."""
    version_file = folder / "torch" / "version.py"
    if f"__version__ = '{VERSION}" not in version_file.read_text():
        raise Failure(f"{version_file.name} of the wheel must contain {VERSION}, but it does not")
    names = ["libc10.so", "libtorch_cpu.so"] + (["libtorch_cuda.so"] if variant == "cuda" else [])
    for name in names:
        library = folder / "torch" / "lib" / name
        # In a separate process, which may crash while loading a library.
        code = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"
        answer = subprocess.run([sys.executable, "-c", code, str(library)], capture_output=True, text=True)
        if answer.returncode != 0:
            reason = (answer.stderr.strip().splitlines() or [f"exit status {answer.returncode}"])[-1]
            raise Failure(f"{name} must load on this system, but: {reason}", OWN_LIBTORCH_HINT)


def main_files(folder):
    """The files whose sizes show whether an installation is complete, relative to it."""
    libraries = [path for path in folder.rglob("*") if path.is_file() and ".so" in path.name]
    header = folder / "torch/include/torch/csrc/api/include/torch/torch.h"
    return sorted(path.relative_to(folder) for path in [*libraries, header, folder / "torch/version.py"])


def write_stamp(folder, variant):
    """Writes the stamp, last. An installation without a matching stamp does not count."""
    sizes = {path.as_posix(): (folder / path).stat().st_size for path in main_files(folder)}
    stamp = {"version": VERSION, "variant": variant, "machine": platform.machine(), "files": sizes}
    (folder / "installed.json").write_text(json.dumps(stamp, indent=2) + "\n")


def whole_variant(folder):
    """`cpu` or `cuda` if that is installed completely, else None."""
    try:
        stamp = json.loads((folder / "installed.json").read_text())
        same = stamp["version"] == VERSION and stamp["machine"] == platform.machine()
        whole = all((folder / path).stat().st_size == size for path, size in stamp["files"].items())
        return stamp["variant"] if same and whole else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def put_in_place(partial, into):
    """Renames an older or broken installation out of the way, then the new one into place."""
    if into.exists() or into.is_symlink():
        into.rename(partial / "old")
    (partial / "new").rename(into)


def shown(path):
    """The path relative to the repository, if it is inside."""
    try:
        return path.relative_to(ROOT)
    except ValueError:
        return path


if __name__ == "__main__":
    sys.exit(main())
