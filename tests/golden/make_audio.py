"""Makes the recordings in audio/: by soundfile 0.14.0 (libsndfile 1.2.2) and numpy 2.4.6, with Python 3.11.

    pip install soundfile==0.14.0 numpy==2.4.6
    python3 tests/golden/make_audio.py
"""

import pathlib

import numpy
import soundfile

from make_fbank import signal

FOLDER = pathlib.Path(__file__).with_name("audio")


def main():
    FOLDER.mkdir(exist_ok=True)
    short, long = numpy.array(signal(1600, 8000)), numpy.array(signal(3200, 16000))
    soundfile.write(FOLDER / "mono_16.flac", short, 8000, subtype="PCM_16")
    soundfile.write(FOLDER / "stereo_24.flac", numpy.stack([short, 0.5 * short], 1)[:400], 16000, subtype="PCM_24")
    soundfile.write(FOLDER / "mono.ogg", short, 8000, format="OGG", subtype="VORBIS")
    soundfile.write(FOLDER / "mono.mp3", long, 16000, format="MP3")


if __name__ == "__main__":
    main()
