//! Recordings: mono samples from WAV and FLAC files, with the feature `symphonia` from MP3 and OGG, and raw samples.
//!
//! The format is detected by the first bytes of a file, not by its name. What a header declares is checked before memory is used
//! for it: the data is read in blocks, and no block is larger than what was read. Nothing here resamples.

#[cfg(feature = "symphonia")]
mod compressed;
mod flac;
#[cfg(test)]
mod tests;
mod wav;

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use super::SAMPLE_RATES;
use crate::error::{Error, Result, counted};

/// A mono recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// The samples. Full scale of the integer formats is ±1.
    pub samples: Vec<f32>,
    /// Samples in a second.
    pub sample_rate: u32,
}

/// What is read of a recording, and what is refused.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadOptions {
    /// Where the part begins, in seconds.
    pub start: Option<f64>,
    /// Where the part ends, in seconds.
    pub end: Option<f64>,
    /// Take the mean of several channels. Otherwise they are an error.
    pub mix_down: bool,
    /// A longer part is an error. It needs 4 bytes a sample.
    pub max_seconds: f64,
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions { start: None, end: None, mix_down: false, max_seconds: 3600.0 }
    }
}

/// How long a recording is, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Length {
    /// The samples of one channel.
    pub samples: usize,
    /// Samples in a second.
    pub sample_rate: u32,
}

/// A file, or bytes with a cursor.
pub(crate) trait Source: Read + Seek + Send + Sync + 'static {}

impl<R: Read + Seek + Send + Sync + 'static> Source for R {}

/// What a header declares. A frame has one sample of each channel.
#[derive(Clone, Copy, Debug)]
struct Header {
    sample_rate: u32,
    channels: u16,
    frames: Option<u64>,
}

/// Takes interleaved samples. `false` is enough.
type Sink<'a> = dyn FnMut(&[f32]) -> Result<bool> + 'a;

enum Decoder<R: Source> {
    Wav(wav::Wav<R>),
    Flac(flac::Flac<R>),
    #[cfg(feature = "symphonia")]
    Compressed(compressed::Compressed),
}

/// The largest sample that is taken for sound: 120 dB above full scale. The power of larger ones could overflow.
const LOUDEST: f32 = 1e6;

/// Segments are often written with two decimals: an end that is this much behind the recording's is its end. In
/// seconds.
const OVERSHOOT: f64 = 0.01;

/// Reads a recording, or a part of it.
///
/// # Errors
/// The file can't be read, is no recording, or is damaged; the part lies outside; it is longer than `max_seconds`;
/// there is no sample, or one that is not finite; there are several channels without `mix_down`.
pub fn read_recording(path: &Path, options: &ReadOptions) -> Result<Recording> {
    read_recording_from(open(path)?, options).map_err(|error| error.at(path.display()))
}

/// The length of a recording, or of a part of it, without its samples: as its header declares it, or else counted. There is
/// no limit.
///
/// # Errors
/// As [`read_recording`].
pub(crate) fn read_length(path: &Path, options: &ReadOptions) -> Result<Length> {
    let options = ReadOptions { max_seconds: f64::INFINITY, ..options.clone() };
    length_of(open(path)?, &options).map_err(|error| error.at(path.display()))
}

fn length_of(source: impl Source, options: &ReadOptions) -> Result<Length> {
    let decoder = Decoder::open(source)?;
    let header = decoder.header();
    let part = Part::new(&header, options)?;
    let most = part.wanted.unwrap_or(u64::MAX);
    let mut samples = 0;
    match header.frames {
        Some(frames) => samples = most.min(frames - part.start),
        None => decoder.decode(part.start, &mut |block| {
            samples = most.min(samples + (block.len() / part.channels) as u64);
            Ok(samples < most)
        })?,
    }
    Ok(Length { samples: usize::try_from(samples).unwrap_or(usize::MAX), sample_rate: part.sample_rate })
}

/// Opens a regular file: the format of a pipe cannot be found out.
fn open(path: &Path) -> Result<File> {
    let failed = |error: std::io::Error| Error::file("read", path, &error);
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        return Err(failed(ErrorKind::IsADirectory.into()));
    }
    if !metadata.is_file() {
        return Err(Error::input("a recording must be a regular file, but it is a pipe or a device")
            .at(path.display()));
    }
    File::open(path).map_err(failed)
}

/// Samples per second, by the header of a file.
///
/// # Errors
/// The file cannot be read, or is no recording; no recording has such a rate.
pub(crate) fn read_sample_rate(path: &Path) -> Result<u32> {
    let file = File::open(path).map_err(|error| Error::file("read", path, &error))?;
    let rate = Decoder::open(file).map(|decoder| decoder.header().sample_rate);
    rate.and_then(check_rate).map_err(|error| error.at(path.display()))
}

/// Reads a recording from an open file or from bytes.
///
/// # Errors
/// As [`read_recording`].
pub(crate) fn read_recording_from(source: impl Source, options: &ReadOptions) -> Result<Recording> {
    let decoder = Decoder::open(source)?;
    let header = decoder.header();
    let mut part = Part::new(&header, options)?;
    decoder.decode(part.start, &mut |samples| part.push(samples))?;
    part.finish(&header)
}

/// Reads samples without a header, such as those of a pipe, to the end: of one channel, 16-bit signed integers,
/// little-endian.
///
/// # Errors
/// As [`read_recording`]; the bytes are not whole samples.
pub(crate) fn read_raw(mut source: impl Read, sample_rate: u32, options: &ReadOptions) -> Result<Recording> {
    let header = Header { sample_rate, channels: 1, frames: None };
    let mut part = Part::new(&header, options)?;
    let (sample, mut samples) = (wav::SampleFormat::S16, Vec::new());
    let mut block = vec![0; 4096 * sample.bytes()];
    loop {
        let read = fill(&mut source, &mut block)?;
        if !read.is_multiple_of(sample.bytes()) {
            let message = "raw samples must have 2 bytes each, but the last has 1";
            return Err(Error::input(message).hint("write them with `ffmpeg -i FILE -f s16le -ac 1 -`"));
        }
        samples.clear();
        sample.convert(&block[..read], &mut samples);
        let more = part.push(&samples)?;
        if !more || read < block.len() {
            return part.finish(&header);
        }
    }
}

impl<R: Source> Decoder<R> {
    fn open(mut source: R) -> Result<Self> {
        let mut first = [0; 12];
        let read = fill(&mut source, &mut first)?;
        source.seek(SeekFrom::Start(0)).map_err(unreadable)?;
        match &first[..read] {
            [] => Err(Error::input("a recording must have a header, but the file is empty")),
            [b'R', b'I', b'F', b'F', ..] | [b'R', b'F', b'6', b'4', ..] => {
                Ok(Decoder::Wav(wav::Wav::open(source)?))
            }
            [b'f', b'L', b'a', b'C', ..] => Ok(Decoder::Flac(flac::Flac::open(source)?)),
            [b'O', b'g', b'g', b'S', ..] | [b'I', b'D', b'3', ..] | [0xff, 0xe2..=0xff, ..] => {
                Self::compressed(source)
            }
            [b'N', b'I', b'S', b'T', ..] => {
                Err(unknown("it is a NIST SPHERE file").hint("convert it: `sph2pipe -f wav`"))
            }
            bytes => {
                let shown: String =
                    bytes.iter().take(4).map(|byte| byte.escape_ascii().to_string()).collect();
                Err(unknown(&format!("its first bytes are `{shown}`"))
                    .hint("convert it: `ffmpeg -i FILE out.wav`"))
            }
        }
    }

    #[cfg(feature = "symphonia")]
    fn compressed(source: R) -> Result<Self> {
        Ok(Decoder::Compressed(compressed::Compressed::open(source)?))
    }

    #[cfg(not(feature = "symphonia"))]
    fn compressed(_: R) -> Result<Self> {
        let hint =
            "convert it: `ffmpeg -i FILE out.wav`; a build with the cargo feature `symphonia` reads it";
        Err(unknown("it is an MP3 or OGG file").hint(hint))
    }

    fn header(&self) -> Header {
        match self {
            Decoder::Wav(wav) => wav.header(),
            Decoder::Flac(flac) => flac.header(),
            #[cfg(feature = "symphonia")]
            Decoder::Compressed(compressed) => compressed.header(),
        }
    }

    /// Hands on the samples from frame `start` on.
    fn decode(self, start: u64, sink: &mut Sink) -> Result<()> {
        match self {
            Decoder::Wav(wav) => wav.decode(start, sink),
            Decoder::Flac(flac) => flac.decode(start, sink),
            #[cfg(feature = "symphonia")]
            Decoder::Compressed(compressed) => compressed.decode(start, sink),
        }
    }
}

/// The part of a recording that is read: from frame `start` on, at most `wanted` frames.
struct Part {
    start: u64,
    wanted: Option<u64>,
    most: u64,
    max_seconds: f64,
    channels: usize,
    sample_rate: u32,
    samples: Vec<f32>,
}

impl Part {
    fn new(header: &Header, options: &ReadOptions) -> Result<Part> {
        let rate = check_rate(header.sample_rate)?;
        if header.channels == 0 || (header.channels > 1 && !options.mix_down) {
            let message = format!("the recording must have 1 channel, but it has {}", header.channels);
            return Err(Error::input(message).hint(
                "train with `data.source.audio.mix_down` = true, or convert it: `ffmpeg -i FILE -ac 1 out.wav`",
            ));
        }
        if header.frames == Some(0) {
            return Err(no_sample());
        }
        let (start, wanted) = span(header, options)?;
        // Casts saturate: without a limit, this is one.
        let most = (options.max_seconds.max(0.0) * f64::from(rate)) as u64;
        let part = Part {
            start,
            wanted,
            most,
            max_seconds: options.max_seconds,
            channels: usize::from(header.channels),
            sample_rate: rate,
            samples: Vec::new(),
        };
        match wanted.or(header.frames.map(|frames| frames - start)) {
            Some(frames) if frames > most => {
                Err(part.too_long(&format!("it has {} s", seconds(frames, rate))))
            }
            _ => Ok(part),
        }
    }

    fn too_long(&self, but: &str) -> Error {
        let message = format!("a recording must have at most {} s, but {but}", self.max_seconds);
        Error::input(message).hint("cut it into segments")
    }

    fn push(&mut self, interleaved: &[f32]) -> Result<bool> {
        let room = self.wanted.map_or(u64::MAX, |wanted| wanted - self.samples.len() as u64);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        for frame in interleaved.chunks_exact(self.channels).take(room) {
            if let Some(sample) = frame.iter().find(|sample| sample.is_nan() || sample.abs() > LOUDEST) {
                let number = self.start + self.samples.len() as u64;
                let message =
                    format!("samples must be finite and within ±{LOUDEST}, but sample {number} is {sample}");
                return Err(Error::input(message));
            }
            self.samples.push(frame.iter().sum::<f32>() / self.channels as f32);
        }
        match self.samples.len() as u64 > self.most {
            true => Err(self.too_long("it has more")),
            false => Ok(self.wanted != Some(self.samples.len() as u64)),
        }
    }

    fn finish(self, header: &Header) -> Result<Recording> {
        let (read, rate) = (self.samples.len() as u64, self.sample_rate);
        let must = self.wanted.or(header.frames.map(|frames| frames - self.start));
        let slack = if header.frames.is_none() { overshoot(rate) } else { 0 };
        if let Some(must) = must.filter(|must| read + slack < *must) {
            let [must, ends] = [must, read].map(|frames| seconds(self.start + frames, rate));
            let message = format!("the recording must reach {must} s, but its data ends at {ends} s");
            return Err(Error::input(message).hint("the file is cut off, or the segment lies outside"));
        }
        match self.samples.is_empty() {
            true => Err(no_sample()),
            false => Ok(Recording { samples: self.samples, sample_rate: rate }),
        }
    }
}

fn check_rate(rate: u32) -> Result<u32> {
    if SAMPLE_RATES.contains(&rate) {
        return Ok(rate);
    }
    let (slowest, fastest) = (SAMPLE_RATES.start(), SAMPLE_RATES.end());
    Err(Error::input(format!("the sample rate must be from {slowest} to {fastest} Hz, but it is {rate}")))
}

/// The first frame that is wanted, and how many.
fn span(header: &Header, options: &ReadOptions) -> Result<(u64, Option<u64>)> {
    let (start, rate) = (options.start.unwrap_or(0.0), f64::from(header.sample_rate));
    let valid =
        start >= 0.0 && start.is_finite() && options.end.is_none_or(|end| end > start && end.is_finite());
    if !valid {
        let end = options.end.map_or("the end".to_owned(), |end| format!("{end}"));
        let message = format!(
            "a segment must end after its start, and start at 0 or later, but it is {start} to {end} s"
        );
        return Err(Error::input(message));
    }
    let first = (start * rate).round() as u64;
    let mut end = options.end.map(|end| (end * rate).round() as u64);
    if let Some(frames) = header.frames {
        if first >= frames || end.is_some_and(|end| end > frames + overshoot(header.sample_rate)) {
            let length = seconds(frames, header.sample_rate);
            let place =
                options.end.map_or(format!("begins at {start} s"), |end| format!("is {start} to {end} s"));
            return Err(Error::input(format!(
                "the segment must lie in the recording of {length} s, but it {place}"
            )));
        }
        end = end.map(|end| end.min(frames));
    }
    match end.map(|end| end.saturating_sub(first)) {
        Some(0) => Err(no_sample()),
        wanted => Ok((first, wanted)),
    }
}

fn overshoot(rate: u32) -> u64 {
    (OVERSHOOT * f64::from(rate)) as u64
}

fn seconds(frames: u64, rate: u32) -> String {
    format!("{:.3}", frames as f64 / f64::from(rate))
}

fn no_sample() -> Error {
    Error::input("a recording must have samples, but it has none")
}

fn unknown(but: &str) -> Error {
    Error::input(format!("a recording must be a WAV or FLAC file, but {but}"))
}

fn unreadable(error: std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::UnexpectedEof => Error::input("the file is cut off"),
        _ => Error::failure(format!("the recording cannot be read: {error}")),
    }
}

/// Reads until `buffer` is full or the source ends; the number of bytes read.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
    Ok(filled)
}

impl Recording {
    /// The length.
    pub(crate) fn length(&self) -> Length {
        Length { samples: self.samples.len(), sample_rate: self.sample_rate }
    }

    /// These samples alone.
    pub(crate) fn part(&self, range: Range<usize>) -> Recording {
        Recording { samples: self.samples[range].to_vec(), sample_rate: self.sample_rate }
    }

    /// The length for a message: `3200 samples (0.200 s)`.
    pub(crate) fn length_in_words(&self) -> String {
        let samples = self.samples.len();
        format!("{} ({} s)", counted(samples as u64, "sample"), seconds(samples as u64, self.sample_rate))
    }
}
