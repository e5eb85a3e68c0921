//! FLAC, decoded by claxon. There is no seeking: a part of a file costs all that lies before it.

use claxon::{Block, FlacReader};

use super::{Header, Sink, Source};
use crate::error::{Error, Result};

/// A FLAC file whose header was read.
pub(super) struct Flac<R: Source>(FlacReader<R>);

impl<R: Source> Flac<R> {
    pub(super) fn open(source: R) -> Result<Self> {
        FlacReader::new(source).map(Flac).map_err(damaged)
    }

    pub(super) fn header(&self) -> Header {
        let info = self.0.streaminfo();
        // At most 8 by the format.
        Header { sample_rate: info.sample_rate, channels: info.channels as u16, frames: info.samples }
    }

    pub(super) fn decode(mut self, start: u64, sink: &mut Sink) -> Result<()> {
        let info = self.0.streaminfo();
        let scale = 1.0 / (1_i64 << (info.bits_per_sample - 1)) as f32;
        let (mut blocks, mut buffer, mut samples) = (self.0.blocks(), Vec::new(), Vec::new());
        let mut skip = start;
        while let Some(block) = blocks.read_next_or_eof(buffer).map_err(damaged)? {
            let frames = u64::from(block.duration());
            let dropped = skip.min(frames);
            skip -= dropped;
            interleave(&block, info.channels, dropped as u32, scale, &mut samples)?;
            if !sink(&samples)? {
                break;
            }
            buffer = block.into_buffer();
        }
        Ok(())
    }
}

fn interleave(block: &Block, channels: u32, from: u32, scale: f32, samples: &mut Vec<f32>) -> Result<()> {
    if block.channels() != channels {
        return Err(Error::input(
            "all blocks of a FLAC file must have as many channels as its header, but one does not",
        ));
    }
    samples.clear();
    for at in from..block.duration() {
        samples.extend((0..channels).map(|channel| block.sample(channel, at) as f32 * scale));
    }
    Ok(())
}

fn damaged(error: claxon::Error) -> Error {
    match error {
        claxon::Error::IoError(error) => super::unreadable(error),
        error => {
            Error::input(format!("a FLAC file must follow its format, but this one is damaged: {error}"))
        }
    }
}
