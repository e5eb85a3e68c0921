#!/usr/bin/env python3
"""Makes a self-contained folder of a build, which runs on any system with glibc: seqloom, libtorch and their libraries.

    python3 scripts/make_dist.py                 target/dist/seqloom-VERSION-linux-MACHINE/: stripped, tested
    python3 scripts/make_dist.py --archive       and an archive of it, .tar.zst or else .tar.gz
    python3 scripts/make_dist.py --try           tests the same with links instead of copies, and removes it

The binary then looks for its libraries only in ../lib; libtorch's libraries do so already. The
folder is tested in a root with only glibc: its outputs there must equal those of the build. For
that it needs chroot, as root or in a user namespace; without both it prints a note.

Run `make build` first. Needs `strip` for a small folder.
"""

import argparse
import json
import mmap
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).absolute()
BINARY = TARGET / "release" / "seqloom"

# The files of glibc: every system has its own, which must match its loader and kernel.
GLIBC = re.compile(
    r"(ld-linux.*|lib(c|m|dl|rt|pthread|util|resolv|anl|nsl|mvec|nss_\w+|BrokenLocale))\.so(\.\d+)+|linux-vdso.*"
)
# NVIDIA's are shipped unchanged.
NEVER_STRIPPED = re.compile(r"libcu(dart|pti)\.so.*")
BESIDE = b"$ORIGIN/../lib"  # what build.rs puts last

README = """seqloom {version} for Linux on {machine}, with all that it needs besides glibc {glibc} or newer.

    bin/seqloom --help
    bin/seqloom doctor

The folder may lie anywhere, and be moved; bin/ and lib/ must stay side by side. A link to bin/seqloom works, a copy of
it alone does not. It runs on the CPU. With an NVIDIA GPU, LD_LIBRARY_PATH may name the lib folder of a PyTorch 2.11 for
CUDA, beside which its nvidia/ folder lies: that libtorch is taken then.

licenses/ has the terms of seqloom (MIT or Apache-2.0, as you choose), of libtorch, of NVIDIA's libcudart and libcupti,
which its CUDA EULA lets anybody redistribute with an application, and of the Rust crates inside. libstdc++, libgcc_s and
libgomp are GCC's, under the GPL 3 with the GCC Runtime Library Exception.
"""


class Failure(Exception):
    """An error for the user."""


def main():
    arguments = parse_arguments()
    try:
        if arguments.trial:
            with tempfile.TemporaryDirectory(dir=make_folder(TARGET / "dist")) as folder:
                try_in_an_empty_root(assemble(Path(folder), linked=True), linked=True)
            return 0
        folder = assemble(TARGET / "dist", linked=False)
        try_in_an_empty_root(folder, linked=False)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        print(f"{shown(folder)}: {size / 1e6:.0f} MB")
        if arguments.archive:
            archive(folder)
    except (Failure, OSError, subprocess.CalledProcessError) as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    return 0


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--archive", action="store_true", help="also as one file")
    parser.add_argument("--try", dest="trial", action="store_true", help="only try whether it can be made, and runs")
    return parser.parse_args()


def assemble(into, linked):
    """Creates the folder, completely or not at all, with links or with stripped copies."""
    if not BINARY.exists():
        raise Failure(f"there is no {shown(BINARY)}: call `make build` first")
    version = run([BINARY, "--version"]).split()[1]
    folder = into / f"seqloom-{version}-linux-{platform.machine()}"
    partial = into / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    make_folder(partial / "bin")
    make_folder(partial / "lib")
    shutil.copy2(BINARY, partial / "bin")
    for name, path in libraries().items():
        (link if linked else shutil.copy)(path, partial / "lib" / name)
    if not linked:
        strip(partial)
        licences(partial / "licenses")
    look_beside(partial / "bin" / "seqloom")
    text = README.format(version=version, machine=platform.machine(), glibc=oldest_glibc(partial))
    (partial / "README.txt").write_text(text)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return folder


def libraries():
    """The libraries of the binary except glibc, by name."""
    found = {}
    for line in run(["ldd", BINARY]).splitlines():
        name, _, rest = line.strip().partition(" => ")
        if not rest or GLIBC.fullmatch(name):
            continue
        path = rest.rsplit(" (", 1)[0]
        if "not found" in rest:
            raise Failure(f"the build must run here, but there is no {name}")
        found[name] = Path(path).resolve()
    return found


def glibc():
    """The loader and glibc's libraries that the binary and its libraries name, by the paths at which they are looked for."""
    lines = [line.strip() for line in run(["ldd", BINARY]).splitlines()]
    paths = [re.match(r"(?:\S+ => )?(/\S+) \(", line) for line in lines]
    paths = [Path(match[1]) for match in paths if match]
    return [path for path in paths if GLIBC.fullmatch(path.name)]


def look_beside(binary):
    """Takes this machine's folder out of the binary's path to its libraries; the string's place stays as long as it was."""
    data = binary.read_bytes()
    end = data.find(b":" + BESIDE + b"\0")
    if end < 0:
        raise Failure(f"{binary} must look for its libraries in {BESIDE.decode()} last, as build.rs has it, but does not")
    start = data.rfind(b"\0", 0, end) + 1
    length = end + 1 + len(BESIDE) - start
    binary.write_bytes(data[:start] + BESIDE.ljust(length, b"\0") + data[start + length :])


def strip(folder):
    if not shutil.which("strip"):
        print("note: there is no `strip` here (binutils), so the libraries keep their symbols", file=sys.stderr)
        return
    for path in [folder / "bin" / "seqloom", *(folder / "lib").iterdir()]:
        if not NEVER_STRIPPED.fullmatch(path.name):
            path.chmod(0o755)
            run(["strip", path])


def oldest_glibc(folder):
    """The oldest glibc that has all symbols used here."""
    versions = {(2, 17)}
    for path in [folder / "bin" / "seqloom", *(folder / "lib").iterdir()]:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = re.finditer(rb"GLIBC_(\d+)\.(\d+)\0", data)
            versions.update((int(match[1]), int(match[2])) for match in found)
    return "{}.{}".format(*max(versions))


def licences(into):
    """The licences of all that is shipped."""
    make_folder(into)
    for path in ROOT.glob("LICENSE-*"):
        shutil.copy(path, into)
    libtorch = next(path for name, path in libraries().items() if name == "libtorch_cpu.so").parent.parent.parent
    for name in ("torch-*", "nvidia_cuda_runtime*", "nvidia_cuda_cupti*"):
        for folder in libtorch.glob(f"{name}.dist-info/licenses"):
            shutil.copytree(folder, into / folder.parent.name.removesuffix(".dist-info"))
    listed = []
    for package in crates():
        name, folder = f"{package['name']}-{package['version']}", Path(package["manifest_path"]).parent
        # Some have no licence file; their declared licences are listed here.
        listed.append(f"{name}: {package['license']}, {package['repository']}\n")
        files = [path for path in folder.rglob("*") if is_licence(path.name) and path.is_file()]
        for path in files:
            shutil.copy(path, make_folder(into / "crates" / name) / "-".join(path.relative_to(folder).parts))
    (into / "crates.txt").write_text("".join(listed))


def is_licence(name):
    return re.match(r"(licen[cs]e|copying|notice|unlicense)", name.lower()) and not name.endswith(".rs")


def crates():
    """The crates in the binary, as cargo knows them."""
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--offline"]
    command += ["--filter-platform", f"{platform.machine()}-unknown-linux-gnu"]
    data = json.loads(run(command, cwd=ROOT))
    packages = {package["id"]: package for package in data["packages"]}
    nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
    waiting, seen = [data["resolve"]["root"]], set()
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        linked = [dep for dep in nodes[one]["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])]
        waiting.extend(dep["pkg"] for dep in linked)
    seen.discard(data["resolve"]["root"])
    return [packages[one] for one in sorted(seen)]


def try_in_an_empty_root(folder, linked):
    """Decodes in a root that has nothing but glibc, the folder and a model, which is trained for three updates."""
    inside = into_a_root()
    if inside is None:
        print("skipped: trying it in an empty root takes root or a user namespace, and this machine has neither")
        return
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        root = Path(place)
        for path in glibc():
            target = root / path.relative_to("/")
            make_folder(target.parent)
            shutil.copy(path, target)
        for name in ("proc", "dev"):
            make_folder(root / name)
        shutil.copytree(folder, root / "seqloom", copy_function=link)
        train = [BINARY, "train", "configs/reverse.toml", "--set", "training.steps=3", "--out", root / "run"]
        run([*train, "--set", "runtime.threads=1", "--set", "runtime.device=cpu"], cwd=ROOT)
        decode = ["--format", "csv", "--set", "decoding.max_length=8", "--set", "runtime.device=cpu"]
        there = run([BINARY, "decode", root / "run", *decode], stdin="1 2 3\n")
        environment = {"PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"}
        command = [*inside, root, "/seqloom/bin/seqloom"]
        here = run([*command, "decode", "/run", *decode], stdin="1 2 3\n", env=environment)
        doctor = run([*command, "doctor"], env=environment)
        if here != there:
            raise Failure(f"in an empty root it must decode as it does here, but its output is\n{here}instead of\n{there}")
        if " /seqloom/lib/libtorch_cpu.so" not in doctor:
            raise Failure(f"in an empty root libtorch must be the folder's, but doctor reports\n{doctor}")
    print(f"{folder.name} runs in an empty root: {len(list((folder / 'lib').iterdir()))} libraries besides glibc")


def into_a_root():
    """The command to run another one in its own root, with /proc and /dev if allowed."""
    mount = 'mount --rbind /proc "$0/proc" 2>/dev/null; mount --rbind /dev "$0/dev" 2>/dev/null; exec chroot "$0" "$@"'
    for way in (["unshare", "--mount", "sh", "-c", mount], ["unshare", "--mount", "--map-root-user", "sh", "-c", mount]):
        if not shutil.which("unshare"):
            return None
        if subprocess.run([*way, "/", "true"], capture_output=True, stdin=subprocess.DEVNULL).returncode == 0:
            return way
    return None


def archive(folder):
    packed = ["zstd", "-T0", "-9", "-q", "-f"] if shutil.which("zstd") else ["gzip", "-6"]
    path = folder.parent / f"{folder.name}.tar.{'zst' if packed[0] == 'zstd' else 'gz'}"
    tar = ["tar", "-C", folder.parent, "--owner=0", "--group=0", "--sort=name", "-cf", "-", folder.name]
    with open(path, "wb") as file, subprocess.Popen(tar, stdout=subprocess.PIPE) as packer:
        subprocess.run([*packed, "-c"], stdin=packer.stdout, stdout=file, check=True)
    if packer.returncode != 0:
        raise Failure("tar failed")
    print(f"{shown(path)}: {path.stat().st_size / 1e6:.0f} MB")


def link(source, target):
    """A hard link, or a copy across file systems."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def make_folder(path):
    path.mkdir(parents=True, exist_ok=True)
    return path


def shown(path):
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def run(command, stdin="", **options):
    """The output of a command; if it fails, raises its error."""
    answer = subprocess.run([str(part) for part in command], input=stdin, capture_output=True, text=True, **options)
    if answer.returncode != 0:
        raise Failure(f"{' '.join(str(part) for part in command)} failed:\n{answer.stderr}{answer.stdout}")
    return answer.stdout


if __name__ == "__main__":
    sys.exit(main())
