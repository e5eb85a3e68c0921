"""Recordings as lists of numbers: reading and writing WAV, and what a room and a microphone add to speech.

A sound is a list of samples on the scale of 16 bits, from -32768 to 32767, mono. Rates are in samples per second. This
module knows nothing about texts or sets. Everything random comes from the generator that it is given.
"""

from __future__ import annotations

import io
import math
import random
import sys
import wave
from array import array
from operator import add
from typing import BinaryIO

from pairs import DataError, below

Sound = list[float]
LOUDEST = 32767
REFLECTIONS = 6


def read_wav(file: BinaryIO | str, name: str) -> tuple[Sound, int]:
    """The samples of a mono WAV of 16 bits, and its rate. A stream's header need not know the length."""
    try:
        with wave.open(file) as recording:
            channels, width, rate, frames = recording.getparams()[:4]
            content = recording.readframes(frames)
    except (wave.Error, EOFError) as error:
        raise DataError(f"{name}: cannot be read as WAV: {error}") from error
    if (channels, width) != (1, 2):
        raise DataError(f"{name}: must be mono with 16 bits, but has {channels} channel(s) of {8 * width} bits")
    samples = array("h", content[: len(content) // 2 * 2])
    if sys.byteorder == "big":
        samples.byteswap()
    return list(map(float, samples)), rate


def to_wav(sound: Sound, rate: int) -> bytes:
    """The content of a WAV file with these samples, rounded to 16 bits; what would be clipped is made softer."""
    gain = min(1.0, LOUDEST / max(1.0, max(sound, default=0.0), -min(sound, default=0.0)))
    samples = array("h", [round(gain * sample) for sample in sound])
    if sys.byteorder == "big":
        samples.byteswap()
    file = io.BytesIO()
    with wave.open(file, "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(2)
        recording.setframerate(rate)
        recording.writeframes(samples.tobytes())
    return file.getvalue()


def between(generator: random.Random, low: float, high: float) -> float:
    """A number from `low` to `high`, each as likely as the others."""
    return low + (high - low) * generator.random()


def silence(seconds: float, rate: int) -> Sound:
    """Nothing, for this long."""
    return [0.0] * round(seconds * rate)


def power(sound: Sound) -> float:
    """The mean of the squares; 0 for no samples."""
    return sum(sample * sample for sample in sound) / max(1, len(sound))


def at_level(sound: Sound, decibels: float) -> Sound:
    """The sound with its mean power at this level below full scale, or lower where its peak would be clipped."""
    peak = max(map(abs, sound), default=0.0)
    if peak == 0.0:
        return sound
    gain = min(LOUDEST * 10 ** (decibels / 20) / math.sqrt(power(sound)), LOUDEST / peak)
    return [gain * sample for sample in sound]


def in_room(generator: random.Random, sound: Sound, rate: int, seconds: float) -> Sound:
    """The sound with reflections that decay by 60 dB within `seconds`; the length stays.

    The impulse response is velvet noise, a few pulses of random sign at random times under an exponential envelope
    (Karjalainen and Järveläinen 2007): to the ear it is decaying white noise, at a fraction of the work.
    """
    room = sound
    span = seconds * rate / REFLECTIONS
    for number in range(REFLECTIONS):
        delay = 1 + round((number + generator.random()) * span)
        sign = 1 if generator.random() < 0.5 else -1
        gain = 0.5 * sign * 10 ** (-3 * delay / (seconds * rate))
        room = room[:delay] + [late + gain * early for late, early in zip(room[delay:], sound)]
    return room


def white_noise(generator: random.Random, length: int) -> Sound:
    """Noise of power 1 with the same power at all frequencies; a sum of three uniform numbers is close to normal."""
    draw = generator.random
    return [2 * (draw() + draw() + draw()) - 3 for _ in range(length)]


def with_noise(generator: random.Random, sound: Sound, pool: Sound, decibels: float) -> Sound:
    """The sound with a random stretch of noise of power 1 added, at this signal-to-noise ratio."""
    gain = math.sqrt(power(sound)) / 10 ** (decibels / 20)
    start = below(generator, len(pool))
    stretch = [gain * sample for sample in pool[start : start + len(sound)]]
    while len(stretch) < len(sound):
        stretch += [gain * sample for sample in pool[: len(sound) - len(stretch)]]
    return list(map(add, sound, stretch))
