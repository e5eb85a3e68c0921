"""What the tests of the scripts in data/ share: the scripts on the path, small recordings, small archives."""

import io
import sys
import tarfile
from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "data"
sys.path.insert(0, str(DATA))

from sound import to_wav  # noqa: E402 (the line above finds it)


def recording(value: int, samples: int = 80) -> bytes:
    """A WAV at 8 kHz whose samples all have this value."""
    return to_wav([float(value)] * samples, 8_000)


def archive(folder: str, files: dict[str, bytes]) -> bytes:
    """A .tar.gz with these files below one folder, as a home serves it."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return content.getvalue()
