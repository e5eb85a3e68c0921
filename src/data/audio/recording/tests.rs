//! Files of every format, whole and damaged.

use std::io::Cursor;

use hound::{SampleFormat, WavSpec, WavWriter};

use super::*;
use crate::data::audio::synthetic::voice;

const FLAC: &[u8] = include_bytes!("../../../../tests/golden/audio/mono_16.flac");
const FLAC_STEREO: &[u8] = include_bytes!("../../../../tests/golden/audio/stereo_24.flac");

fn spec(channels: u16, sample_rate: u32, bits_per_sample: u16) -> WavSpec {
    WavSpec { channels, sample_rate, bits_per_sample, sample_format: SampleFormat::Int }
}

/// A WAV file by hound. `hound` writes WAVE_FORMAT_EXTENSIBLE above 16 bits.
fn wav<S: hound::Sample + Copy>(spec: WavSpec, samples: &[S]) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = WavWriter::new(&mut bytes, spec).unwrap();
    samples.iter().for_each(|sample| writer.write_sample(*sample).unwrap());
    writer.finalize().unwrap();
    bytes.into_inner()
}

/// A second of 16-bit samples at 8 kHz, behind a header of 44 bytes.
fn second() -> Vec<u8> {
    wav(spec(1, 8000, 16), &(0..8000).map(|at| (at % 1000) as i16).collect::<Vec<_>>())
}

fn read(bytes: &[u8], options: &ReadOptions) -> Result<Recording> {
    read_recording_from(Cursor::new(bytes.to_vec()), options)
}

fn refused(bytes: &[u8]) -> String {
    read(bytes, &ReadOptions::default()).unwrap_err().message().to_owned()
}

fn part(start: f64, end: f64) -> ReadOptions {
    ReadOptions { start: Some(start), end: Some(end), ..ReadOptions::default() }
}

fn with(bytes: &[u8], at: usize, value: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + value.len()].copy_from_slice(value);
    bytes
}

fn with_u32(bytes: &[u8], at: usize, value: u32) -> Vec<u8> {
    with(bytes, at, &value.to_le_bytes())
}

#[test]
fn all_sample_formats_have_full_scale_at_one() {
    let expected = Recording { samples: vec![-1.0, 0.0, 0.5, 0.75], sample_rate: 11025 };
    let eight: Vec<i8> = vec![-128, 0, 64, 96];
    assert_eq!(read(&wav(spec(1, 11025, 8), &eight), &ReadOptions::default()).unwrap(), expected);
    for bits in [16, 24, 32] {
        let unit = 1_i64 << (bits - 1);
        let samples = [-unit, 0, unit / 2, unit / 4 * 3].map(|sample| sample as i32);
        let bytes = wav(spec(1, 11025, bits), &samples);
        assert_eq!(read(&bytes, &ReadOptions::default()).unwrap(), expected, "{bits} bits");
    }
    let float = WavSpec { sample_format: SampleFormat::Float, ..spec(1, 11025, 32) };
    let bytes = wav(float, &expected.samples);
    assert_eq!(read(&bytes, &ReadOptions::default()).unwrap(), expected);
    // The same with format tag 3 in place of WAVE_FORMAT_EXTENSIBLE.
    assert_eq!(u16::from_le_bytes([bytes[20], bytes[21]]), 0xfffe);
    assert_eq!(read(&with(&bytes, 20, &[3, 0]), &ReadOptions::default()).unwrap(), expected);
}

#[test]
fn a_flac_file_has_the_original_samples() {
    let recording = read(FLAC, &ReadOptions::default()).unwrap();
    assert_eq!((recording.sample_rate, recording.samples.len()), (8000, 1600));
    let apart =
        recording.samples.iter().zip(voice(1600, 8000)).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
    assert!(apart <= 1.0 / 32768.0, "{apart}");
    let segment = read(FLAC, &part(0.05, 0.1)).unwrap();
    assert_eq!(segment.samples, recording.samples[400..800]);
}

#[test]
fn several_channels_are_refused_or_mixed_down() {
    let frames: Vec<i16> = (0..48).map(|sample| sample * 100).collect();
    let message = refused(&wav(spec(24, 8000, 16), &frames));
    assert_eq!(message, "the recording must have 1 channel, but it has 24");
    let mixed = ReadOptions { mix_down: true, ..ReadOptions::default() };
    let bytes = wav(spec(2, 8000, 16), &[8192_i16, 16384, -8192, 8192]);
    assert_eq!(read(&bytes, &mixed).unwrap().samples, [0.375, 0.0]);
    assert_eq!(refused(FLAC_STEREO), "the recording must have 1 channel, but it has 2");
    let recording = read(FLAC_STEREO, &mixed).unwrap();
    assert_eq!((recording.sample_rate, recording.samples.len()), (16000, 400));
    assert!((recording.samples[399] - 0.75 * voice(400, 8000)[399]).abs() < 1e-6);
}

#[test]
fn a_segment_is_read_without_the_rest() {
    let segment = read(&second(), &part(0.25, 0.5)).unwrap();
    assert_eq!(segment.samples.len(), 2000);
    assert!(segment.samples.iter().zip(2000..).all(|(sample, at)| *sample == (at % 1000) as f32 / 32768.0));
    let rest = ReadOptions { start: Some(0.9), ..ReadOptions::default() };
    assert_eq!(read(&second(), &rest).unwrap().samples.len(), 800);
    assert_eq!(read(&second(), &part(0.9, 1.009)).unwrap().samples.len(), 800);
}

#[test]
fn a_segment_outside_the_recording_is_refused() {
    let message = |start, end| read(&second(), &part(start, end)).unwrap_err().message().to_owned();
    let must = "the segment must lie in the recording of 1.000 s, but it is";
    assert_eq!(message(0.5, 1.02), format!("{must} 0.5 to 1.02 s"));
    assert_eq!(message(1.0, 2.0), format!("{must} 1 to 2 s"));
    assert_eq!(message(1e300, 2e300), format!("{must} {} to {} s", 1e300, 2e300));
    let must = "a segment must end after its start, and start at 0 or later, but it is";
    assert_eq!(message(0.5, 0.5), format!("{must} 0.5 to 0.5 s"));
    assert_eq!(message(-0.1, 0.5), format!("{must} -0.1 to 0.5 s"));
    assert_eq!(message(f64::NAN, 0.5), format!("{must} NaN to 0.5 s"));
}

#[test]
fn streaming_writers_leave_the_length_open() {
    let whole = read(&second(), &ReadOptions::default()).unwrap();
    for (riff, data) in [(u32::MAX, u32::MAX), (0x7fff_f024, 0x7fff_f000), (0, 0), (36, 0)] {
        let bytes = with_u32(&with_u32(&second(), 4, riff), 40, data);
        assert_eq!(read(&bytes, &ReadOptions::default()).unwrap(), whole, "{riff:x} {data:x}");
        // Stopped inside a sample.
        assert_eq!(read(&bytes[..47], &ReadOptions::default()).unwrap().samples, whole.samples[..1]);
    }
}

#[test]
fn other_chunks_are_skipped_with_their_padding() {
    let second = second();
    let odd = [&second[..36], b"LIST\x03\0\0\0abc\0", &second[36..], b"LIST\x04\0\0\0abcd"].concat();
    assert_eq!(read(&odd, &ReadOptions::default()).unwrap().samples.len(), 8000);
    // Chunks behind an empty one are no samples.
    let empty = [&with_u32(&second[..44], 40, 0)[..], b"LIST\x04\0\0\0abcd"].concat();
    assert_eq!(
        refused(&with_u32(&empty, 4, empty.len() as u32 - 8)),
        "a recording must have samples, but it has none"
    );
}

#[test]
fn a_length_of_64_bits_is_read() {
    let second = second();
    let mut sizes = b"ds64\x1c\0\0\0".to_vec();
    [16044_u64, 16000, 8000].iter().for_each(|size| sizes.extend(size.to_le_bytes()));
    sizes.extend([0; 4]);
    let data = with_u32(&second[12..], 28, u32::MAX);
    let bytes = [b"RF64\xff\xff\xff\xffWAVE".as_slice(), &sizes, &data, b"LIST\x04\0\0\0abcd"].concat();
    assert_eq!(read(&bytes, &ReadOptions::default()).unwrap().samples.len(), 8000);
}

#[test]
fn invalid_headers_are_refused() {
    let second = second();
    let must = "the data must have 16000 bytes (1.000 s) as the header declares, but it has 8000 (0.500 s)";
    assert_eq!(refused(&second[..8044]), must);
    assert_eq!(
        refused(&with_u32(&second, 40, 15999)),
        "the data must have whole frames of 2 bytes, but it has 15999 bytes"
    );
    let rate = "the sample rate must be from 4000 to 192000 Hz, but it is";
    for hertz in [0, 100, 4_000_000_000] {
        assert_eq!(refused(&with_u32(&second, 24, hertz)), format!("{rate} {hertz}"));
    }
    assert_eq!(
        refused(&with(&second, 22, &[0, 0])),
        "0 channels of 16 bits must have a block align of 0 bytes, but it is 2"
    );
    let coding = "the samples must be PCM of 8, 16, 24 or 32 bits or floats of 32 or 64, but they are";
    assert_eq!(refused(&with(&second, 20, &[7, 0])), format!("{coding} mu-law of 16 bits (format tag 7)"));
    assert_eq!(refused(&with(&second, 34, &[12, 0])), format!("{coding} PCM of 12 bits (format tag 1)"));
    assert_eq!(refused(&second[..36]), "a WAV file must have data, but it has none");
    assert_eq!(refused(&second[..30]), "the file is cut off");
    assert_eq!(
        refused(&second[..44]),
        "the data must have 16000 bytes (1.000 s) as the header declares, but it has 0 (0.000 s)"
    );
    assert_eq!(
        refused(&wav::<i16>(spec(1, 8000, 16), &[])),
        "a recording must have samples, but it has none"
    );
    assert_eq!(refused(&FLAC[..1000]), "the file is cut off");
}

#[test]
fn a_file_that_is_not_a_recording_is_named() {
    assert_eq!(refused(b""), "a recording must have a header, but the file is empty");
    assert_eq!(refused(b"hello"), "a recording must be a WAV or FLAC file, but its first bytes are `hell`");
    assert_eq!(
        refused(&[0, 255, 10]),
        r"a recording must be a WAV or FLAC file, but its first bytes are `\x00\xff\n`"
    );
    assert_eq!(
        refused(b"NIST_1A\n   1024\n"),
        "a recording must be a WAV or FLAC file, but it is a NIST SPHERE file"
    );
    assert_eq!(refused(b"RIFF\0\0\0\0AVI LIST"), "a RIFF file must be of type WAVE, but it is not");
    assert_eq!(refused(b"RIFF"), "the file is cut off");
}

#[test]
fn file_types_are_detected_by_content_and_named_in_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    std::fs::write(&path, FLAC).unwrap();
    assert_eq!(read_recording(&path, &ReadOptions::default()).unwrap().samples.len(), 1600);
    std::fs::write(&path, "text").unwrap();
    let error = read_recording(&path, &ReadOptions::default()).unwrap_err();
    assert!(error.message().starts_with(&format!("{}: a recording must be", path.display())));
    let error = read_recording(folder.path(), &ReadOptions::default()).unwrap_err();
    assert!(error.message().ends_with("is a directory"), "{error}");
    let error = read_recording(&folder.path().join("no.wav"), &ReadOptions::default()).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    #[cfg(unix)]
    {
        let error = read_recording(Path::new("/dev/zero"), &ReadOptions::default()).unwrap_err();
        assert_eq!(
            error.message(),
            "/dev/zero: a recording must be a regular file, but it is a pipe or a device"
        );
    }
}

#[test]
fn samples_must_be_finite() {
    let float = WavSpec { sample_format: SampleFormat::Float, ..spec(1, 8000, 32) };
    for value in [f32::NAN, f32::INFINITY, -1e30] {
        let message = format!("samples must be finite and within ±1000000, but sample 2 is {value}");
        assert_eq!(refused(&wav(float, &[0.0, 0.5, value, 0.0])), message);
    }
}

/// Counts what is read, and has an hour of zeros behind a header.
struct Counted {
    header: Cursor<Vec<u8>>,
    place: u64,
    length: u64,
    read: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = buffer.len().min((self.length - self.place) as usize);
        buffer[..read].fill(0);
        self.header.set_position(self.place);
        let _ = self.header.read(&mut buffer[..read])?;
        self.place += read as u64;
        self.read.fetch_add(read as u64, std::sync::atomic::Ordering::Relaxed);
        Ok(read)
    }
}

impl Seek for Counted {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.place = match to {
            SeekFrom::Start(place) => place,
            SeekFrom::End(by) => self.length.saturating_add_signed(by),
            SeekFrom::Current(by) => self.place.saturating_add_signed(by),
        };
        Ok(self.place)
    }
}

#[test]
fn only_the_segment_of_an_hour_is_read_and_longer_recordings_are_refused_unread() {
    let bytes = 3600 * 2 * 8000;
    let header = with_u32(&second()[..44], 40, bytes);
    let read = std::sync::Arc::default();
    let hour = || Counted {
        header: Cursor::new(header.clone()),
        place: 0,
        length: u64::from(bytes) + 44,
        read: std::sync::Arc::clone(&read),
    };
    let count = || read.swap(0, std::sync::atomic::Ordering::Relaxed);
    let short = ReadOptions { max_seconds: 30.0, ..ReadOptions::default() };
    let error = read_recording_from(hour(), &short).unwrap_err();
    assert_eq!(error.message(), "a recording must have at most 30 s, but it has 3600.000 s");
    assert!(count() < 20_000);
    let options = ReadOptions { max_seconds: 30.0, ..part(1800.0, 1810.0) };
    let seconds = |options| {
        let read = read_recording_from(hour(), options).unwrap();
        read.samples.len() as f64 / f64::from(read.sample_rate)
    };
    assert_eq!(seconds(&options), 10.0);
    assert!(count() < 200_000);
    assert_eq!(seconds(&ReadOptions::default()), 3600.0);
}

#[test]
fn raw_samples_are_read_to_the_end_or_the_limit() {
    let raw = |bytes: &[u8], options| read_raw(bytes, 8000, &options);
    let second = second();
    let recording = raw(&second[44..], ReadOptions::default()).unwrap();
    assert_eq!(recording, read(&second, &ReadOptions::default()).unwrap());
    let message = |bytes, options| raw(bytes, options).unwrap_err().message().to_owned();
    assert_eq!(
        message(&[1, 2, 3], ReadOptions::default()),
        "raw samples must have 2 bytes each, but the last has 1"
    );
    assert_eq!(message(&[], ReadOptions::default()), "a recording must have samples, but it has none");
    let short = ReadOptions { max_seconds: 0.5, ..ReadOptions::default() };
    assert_eq!(message(&second[44..], short), "a recording must have at most 0.5 s, but it has more");
}

#[test]
fn the_length_is_that_of_the_samples_read() {
    let mut of_unknown_length = FLAC.to_vec();
    // The last 36 bits of the first 18 behind `fLaC` and the block's head count the samples; 0 is unknown.
    of_unknown_length[21] &= 0xf0;
    of_unknown_length[22..26].fill(0);
    for bytes in [&second()[..], FLAC, &of_unknown_length] {
        for options in [ReadOptions::default(), part(0.05, 0.1)] {
            let length = length_of(Cursor::new(bytes.to_vec()), &options).unwrap();
            assert_eq!(length, read(bytes, &options).unwrap().length());
        }
    }
}

/// Changes bytes, most of them near the start, where headers are; cuts; and doubles.
fn mutated(bytes: &[u8], rng: &mut impl rand::Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.random_range(1..6) {
        let near = if rng.random_bool(0.7) { bytes.len().min(64) } else { bytes.len() };
        let at = rng.random_range(0..near);
        bytes[at] = match rng.random_range(0..4) {
            0 => 0,
            1 => 0xff,
            2 => bytes[at] ^ (1 << rng.random_range(0..8)),
            _ => rng.random(),
        };
    }
    if rng.random_bool(0.2) {
        bytes.truncate(rng.random_range(1..=bytes.len()));
    }
    bytes
}

#[test]
fn damaged_files_never_panic() {
    use rand::SeedableRng;
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let float = WavSpec { sample_format: SampleFormat::Float, ..spec(2, 16000, 32) };
    let mut files =
        vec![second()[..2044].to_vec(), wav(float, &[0.5_f32; 200]), FLAC.to_vec(), FLAC_STEREO.to_vec()];
    if cfg!(feature = "symphonia") {
        files.push(include_bytes!("../../../../tests/golden/audio/mono.ogg").to_vec());
        files.push(include_bytes!("../../../../tests/golden/audio/mono.mp3").to_vec());
    }
    let rounds: usize = std::env::var("FUZZ_ROUNDS").map_or(2000, |rounds| rounds.parse().unwrap());
    let (mut read_well, mut refusals) = (0, 0);
    for file in &files {
        for _ in 0..rounds {
            let bytes = mutated(file, &mut rng);
            let options = ReadOptions { mix_down: true, max_seconds: 10.0, ..ReadOptions::default() };
            match read(&bytes, &options) {
                Ok(recording) => {
                    read_well += 1;
                    assert!(!recording.samples.is_empty() && recording.samples.iter().all(|x| x.is_finite()));
                }
                Err(_) => refusals += 1,
            }
        }
    }
    assert!(read_well > 100 && refusals > 100, "{read_well} read, {refusals} refused");
}

#[cfg(feature = "symphonia")]
#[test]
fn mp3_and_ogg_files_sound_like_the_original() {
    use crate::data::audio::synthetic::rms;
    let ogg: &[u8] = include_bytes!("../../../../tests/golden/audio/mono.ogg");
    let mp3: &[u8] = include_bytes!("../../../../tests/golden/audio/mono.mp3");
    for (bytes, rate, samples, most) in [(ogg, 8000, 1600, 0.3), (mp3, 16000, 3200, 0.5)] {
        let recording = read(bytes, &ReadOptions::default()).unwrap();
        assert_eq!(recording.sample_rate, rate);
        assert!(recording.samples.len().abs_diff(samples) <= 1200, "{}", recording.samples.len());
        let written = voice(samples, rate);
        let apart: Vec<f32> = recording.samples.iter().zip(&written).map(|(x, y)| x - y).collect();
        assert!(rms(&apart) < most * rms(&written), "{} of {}", rms(&apart), rms(&written));
        let segment = read(bytes, &part(0.05, 0.1)).unwrap();
        assert_eq!(segment.samples, recording.samples[rate as usize / 20..rate as usize / 10]);
    }
}
