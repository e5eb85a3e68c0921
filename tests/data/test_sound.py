"""data/sound.py: WAV files, rooms, noise."""

import io
import math
import random
import unittest
import wave

import support  # noqa: F401 (it finds the scripts)
from pairs import DataError
from sound import LOUDEST, at_level, in_room, power, read_wav, to_wav, white_noise, with_noise


class Sounds(unittest.TestCase):
    def test_samples_survive_a_wav_file(self):
        sound = [0.0, 1.0, -1.0, 32767.0, -32767.0, 123.0]
        self.assertEqual(read_wav(io.BytesIO(to_wav(sound, 8_000)), "it"), (sound, 8_000))

    def test_what_is_too_loud_is_made_softer_and_keeps_its_shape(self):
        sound, _ = read_wav(io.BytesIO(to_wav([-2.0 * LOUDEST, 1.0 * LOUDEST, 0.0], 8_000)), "it")
        self.assertEqual(sound, [-LOUDEST, round(LOUDEST / 2), 0])

    def test_a_stereo_recording_is_refused_with_its_name(self):
        file = io.BytesIO()
        with wave.open(file, "wb") as recording:
            recording.setparams((2, 2, 8_000, 0, "NONE", ""))
            recording.writeframes(bytes(8))
        with self.assertRaisesRegex(DataError, "it: must be mono with 16 bits, but has 2 channel"):
            read_wav(io.BytesIO(file.getvalue()), "it")

    def test_what_is_no_wav_is_refused_with_its_name(self):
        for content in (b"", b"RIFF", b"not a recording at all, only text"):
            with self.assertRaisesRegex(DataError, "it: cannot be read as WAV"):
                read_wav(io.BytesIO(content), "it")

    def test_a_level_is_the_mean_power_below_full_scale(self):
        sound = at_level([100.0, -100.0] * 50, -20)
        self.assertAlmostEqual(10 * math.log10(power(sound) / LOUDEST**2), -20)

    def test_a_level_that_would_clip_is_lowered(self):
        self.assertAlmostEqual(max(at_level([1.0] + [0.0] * 999, -10)), LOUDEST)

    def test_silence_has_no_level_and_stays_silent(self):
        self.assertEqual(at_level([0.0] * 5, -20), [0.0] * 5)

    def test_a_room_keeps_the_direct_sound_and_answers_within_its_time(self):
        click = [1_000.0] + [0.0] * 7_999
        room = in_room(random.Random(1), click, 8_000, 0.2)
        self.assertEqual((len(room), room[0]), (8_000, 1_000.0))
        answers = [number for number, sample in enumerate(room) if sample != 0.0]
        self.assertGreater(len(answers), 3)
        late = [number for number in answers if number > 1_600 * 6]
        self.assertEqual(late, [])

    def test_noise_has_the_ratio_that_was_asked_for(self):
        generator = random.Random(1)
        sound, pool = [3_000.0, -3_000.0] * 20_000, white_noise(generator, 30_000)
        noisy = with_noise(generator, sound, pool, 20)
        noise = [loud - soft for loud, soft in zip(noisy, sound, strict=True)]
        self.assertAlmostEqual(10 * math.log10(power(sound) / power(noise)), 20, delta=0.2)


if __name__ == "__main__":
    unittest.main()
