//! WAV: RIFF chunks with PCM of 8, 16, 24 or 32 bits, or floats of 32 or 64.
//!
//! Written here because streaming writers leave the length open, and because chunks of an odd length have a byte of
//! padding: files that a strict reader refuses. RF64, the form for more than 4 GiB, is read, too.

use std::io::{BufReader, Read, Seek, SeekFrom};

use super::{Header, Sink, Source, fill, unreadable};
use crate::error::{Error, Result};

/// A WAV file whose header was read.
pub(super) struct Wav<R: Source> {
    source: BufReader<R>,
    format: Format,
    frames: u64,
    /// Where the data begins.
    data: u64,
}

/// What the chunk `fmt ` declares.
#[derive(Clone, Copy)]
struct Format {
    sample: SampleFormat,
    channels: u16,
    sample_rate: u32,
}

/// The form of one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SampleFormat {
    U8,
    S16,
    S24,
    S32,
    F32,
    F64,
}

/// The last 14 bytes of the GUIDs whose first two are a format tag.
const SUBFORMAT: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];

/// From here on a 32-bit length is no length but what streaming writers put down: ffmpeg 2^32 - 1, sox 2^31 - 4097 and
/// others.
const OPEN: u64 = 0x7fff_0000;

/// Frames that are read at once.
const BLOCK: u64 = 4096;

impl<R: Source> Wav<R> {
    pub(super) fn open(source: R) -> Result<Self> {
        let mut source = BufReader::new(source);
        let total = source.seek(SeekFrom::End(0)).map_err(unreadable)?;
        source.seek(SeekFrom::Start(0)).map_err(unreadable)?;
        let head: [u8; 12] = read(&mut source)?;
        if &head[8..] != b"WAVE" {
            return Err(Error::input("a RIFF file must be of type WAVE, but it is not"));
        }
        let riff_end = 8 + u64::from(u32_at(&head, 4));
        let (mut format, mut long_size) = (None, None);
        loop {
            let chunk: [u8; 8] =
                read(&mut source).map_err(|_| Error::input("a WAV file must have data, but it has none"))?;
            let size = u64::from(u32_at(&chunk, 4));
            let start = source.stream_position().map_err(unreadable)?;
            match (&chunk[..4], format) {
                (b"fmt ", _) => format = Some(Format::read(&mut source, size)?),
                (b"ds64", _) => {
                    long_size =
                        Some(u64::from_le_bytes(read::<16>(&mut source)?[8..].try_into().expect("8 bytes")))
                }
                (b"data", None) => {
                    return Err(Error::input("the chunk `fmt ` must come before `data`, but there is none"));
                }
                (b"data", Some(format)) => {
                    let size = long_size.filter(|_| size == u64::from(u32::MAX)).unwrap_or(size);
                    let open =
                        (OPEN..=u64::from(u32::MAX)).contains(&size) || (size == 0 && riff_end <= start);
                    let frames = format.frames(size, open, total.saturating_sub(start))?;
                    return Ok(Wav { source, format, frames, data: start });
                }
                _ => {}
            }
            // A chunk of an odd length is padded by one byte.
            source.seek(SeekFrom::Start(start + size + size % 2)).map_err(unreadable)?;
        }
    }

    pub(super) fn header(&self) -> Header {
        let Format { channels, sample_rate, .. } = self.format;
        Header { sample_rate, channels, frames: Some(self.frames) }
    }

    pub(super) fn decode(mut self, start: u64, sink: &mut Sink) -> Result<()> {
        let size = self.format.frame_bytes();
        self.source.seek(SeekFrom::Start(self.data + start * size)).map_err(unreadable)?;
        let (mut left, mut samples) = (self.frames - start, Vec::new());
        let mut block = vec![0; (size * BLOCK.min(left)) as usize];
        while left > 0 {
            let frames = BLOCK.min(left);
            let bytes = &mut block[..(size * frames) as usize];
            self.source.read_exact(bytes).map_err(unreadable)?;
            samples.clear();
            self.format.sample.convert(bytes, &mut samples);
            if !sink(&samples)? {
                break;
            }
            left -= frames;
        }
        Ok(())
    }
}

impl Format {
    fn read(source: &mut impl Read, size: u64) -> Result<Format> {
        let mut bytes = [0; 40];
        let wanted = size.min(40) as usize;
        if wanted < 16 {
            return Err(Error::input(format!(
                "the chunk `fmt ` must have at least 16 bytes, but it has {size}"
            )));
        }
        if fill(source, &mut bytes[..wanted])? < wanted {
            return Err(Error::input("the file is cut off"));
        }
        let tag = match u16_at(&bytes, 0) {
            // WAVE_FORMAT_EXTENSIBLE: the tag is in a GUID.
            0xfffe if bytes[26..] == SUBFORMAT => u16_at(&bytes, 24),
            tag => tag,
        };
        let (channels, bits) = (u16_at(&bytes, 2), u16_at(&bytes, 14));
        let sample = SampleFormat::of(tag, bits)?;
        let format = Format { sample, channels, sample_rate: u32_at(&bytes, 4) };
        let align = u64::from(u16_at(&bytes, 12));
        if channels == 0 || align != format.frame_bytes() {
            let message = format!(
                "{channels} channels of {bits} bits must have a block align of {} bytes, but it is {align}",
                format.frame_bytes()
            );
            return Err(Error::input(message));
        }
        Ok(format)
    }

    fn frame_bytes(&self) -> u64 {
        u64::from(self.channels) * self.sample.bytes() as u64
    }

    /// The frames in a data chunk of `size` bytes; `open` when it reaches to the end of the file.
    fn frames(&self, size: u64, open: bool, there: u64) -> Result<u64> {
        let frame = self.frame_bytes();
        let seconds = |bytes: u64| format!("{:.3}", (bytes / frame) as f64 / f64::from(self.sample_rate));
        match open {
            // A writer that was stopped may have left a part of a frame.
            true => Ok(there / frame),
            false if size > there => {
                let (must, is) = (seconds(size), seconds(there));
                let message = format!(
                    "the data must have {size} bytes ({must} s) as the header declares, but it has {there} ({is} s)"
                );
                Err(Error::input(message).hint("the file is cut off"))
            }
            false if !size.is_multiple_of(frame) => Err(Error::input(format!(
                "the data must have whole frames of {frame} bytes, but it has {size} bytes"
            ))),
            false => Ok(size / frame),
        }
    }
}

impl SampleFormat {
    fn of(tag: u16, bits: u16) -> Result<Self> {
        let coding = match (tag, bits) {
            (1, 8) => return Ok(SampleFormat::U8),
            (1, 16) => return Ok(SampleFormat::S16),
            (1, 24) => return Ok(SampleFormat::S24),
            (1, 32) => return Ok(SampleFormat::S32),
            (3, 32) => return Ok(SampleFormat::F32),
            (3, 64) => return Ok(SampleFormat::F64),
            (1, _) => "PCM",
            (3, _) => "floats",
            (2 | 17, _) => "ADPCM",
            (6, _) => "A-law",
            (7, _) => "mu-law",
            _ => "a coding unknown here",
        };
        let must = "the samples must be PCM of 8, 16, 24 or 32 bits or floats of 32 or 64";
        let message = format!("{must}, but they are {coding} of {bits} bits (format tag {tag})");
        Err(Error::input(message).hint("convert it: `ffmpeg -i FILE -c:a pcm_s16le out.wav`"))
    }

    pub(super) fn bytes(self) -> usize {
        match self {
            SampleFormat::U8 => 1,
            SampleFormat::S16 => 2,
            SampleFormat::S24 => 3,
            SampleFormat::S32 | SampleFormat::F32 => 4,
            SampleFormat::F64 => 8,
        }
    }

    /// Appends the samples in `bytes`, full scale ±1.
    pub(super) fn convert(self, bytes: &[u8], samples: &mut Vec<f32>) {
        fn each<const N: usize>(bytes: &[u8], samples: &mut Vec<f32>, value: impl Fn([u8; N]) -> f32) {
            samples.extend(bytes.as_chunks::<N>().0.iter().map(|sample| value(*sample)));
        }
        match self {
            SampleFormat::U8 => each(bytes, samples, |[x]| (f32::from(x) - 128.0) / 128.0),
            SampleFormat::S16 => each(bytes, samples, |x| f32::from(i16::from_le_bytes(x)) / 32_768.0),
            SampleFormat::S24 => {
                each(bytes, samples, |[a, b, c]| {
                    (i32::from_le_bytes([0, a, b, c]) >> 8) as f32 / 8_388_608.0
                });
            }
            SampleFormat::S32 => each(bytes, samples, |x| i32::from_le_bytes(x) as f32 / 2_147_483_648.0),
            SampleFormat::F32 => each(bytes, samples, f32::from_le_bytes),
            SampleFormat::F64 => each(bytes, samples, |x| f64::from_le_bytes(x) as f32),
        }
    }
}

fn read<const N: usize>(source: &mut impl Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    source.read_exact(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
