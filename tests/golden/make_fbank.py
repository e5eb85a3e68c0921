"""Makes fbank.json: log-mel filter banks by kaldi-native-fbank 1.23.0, with Python 3.11.

    pip install kaldi-native-fbank==1.23.0
    python3 tests/golden/make_fbank.py
"""

import json
import math
import pathlib
import struct

import kaldi_native_fbank

# Samples are float32, frames are those of `frames`; a case lists what differs from the defaults of seqloom.
CASES = {
    "16_khz": dict(sample_rate=16000, bins=80),
    "16_khz_mirrored": dict(sample_rate=16000, bins=80, snip_edges=False),
    "8_khz": dict(sample_rate=8000, bins=40),
    "8_khz_mirrored": dict(sample_rate=8000, bins=40, snip_edges=False),
    "44_khz": dict(sample_rate=44100, bins=80),
    "44_khz_mirrored": dict(sample_rate=44100, bins=80, snip_edges=False),
    "11_khz_band": dict(sample_rate=11025, bins=23, low_hz=64.0, high_hz=-400.0),
    "hamming": dict(sample_rate=16000, bins=40, window="hamming", preemphasis=0.0),
    "hanning": dict(sample_rate=16000, bins=40, window="hanning", remove_dc=False, window_ms=20.0, shift_ms=12.5),
    "blackman": dict(sample_rate=16000, bins=40, window="blackman", high_hz=7600.0),
    "rectangular": dict(sample_rate=16000, bins=40, window="rectangular"),
    "floor": dict(sample_rate=16000, bins=40, scale=1e-4),
}
SECONDS = 0.3
FRAMES = 3


def signal(samples, sample_rate):
    """The same formula as `voice` in src/audio/synthetic.rs."""
    state, values = 1, []
    for at in range(samples):
        time = at / sample_rate
        tone = sum(math.sin(math.tau * n * (150 + 100 * time) * time) / n for n in range(1, 6))
        state = (state * 1664525 + 1013904223) % 2**32
        values.append(0.1 * tone + 0.05 * (state / 2**32 - 0.5) + 0.01)
    return [struct.unpack("f", struct.pack("f", value))[0] for value in values]


def features(sample_rate, bins, low_hz=20.0, high_hz=0.0, window_ms=25.0, shift_ms=10.0, preemphasis=0.97,
             window="povey", snip_edges=True, remove_dc=True, scale=1.0):
    options = kaldi_native_fbank.FbankOptions()
    frame, mel = options.frame_opts, options.mel_opts
    frame.dither = 0
    frame.samp_freq, frame.frame_length_ms, frame.frame_shift_ms = sample_rate, window_ms, shift_ms
    frame.preemph_coeff, frame.window_type = preemphasis, window
    frame.snip_edges, frame.remove_dc_offset = snip_edges, remove_dc
    mel.num_bins, mel.low_freq, mel.high_freq = bins, low_hz, high_hz
    fbank = kaldi_native_fbank.OnlineFbank(options)
    samples = signal(int(SECONDS * sample_rate), sample_rate)
    fbank.accept_waveform(sample_rate, [scale * value for value in samples])
    fbank.input_finished()
    return [fbank.get_frame(at).tolist() for at in range(fbank.num_frames_ready)]


def main():
    cases = {}
    for name, case in CASES.items():
        frames = features(**case)
        # The first and the last are those that are mirrored.
        chosen = [0, len(frames) // 2, len(frames) - 1][:FRAMES]
        rows = {str(at): [round(value, 4) for value in frames[at]] for at in chosen}
        scale = case.pop("scale", 1.0)
        cases[name] = dict(config=case, scale=scale, frames=len(frames), rows=rows)
    text = json.dumps(cases, indent=1)
    pathlib.Path(__file__).with_name("fbank.json").write_text(text.replace(",\n    ", ", ") + "\n")


if __name__ == "__main__":
    main()
