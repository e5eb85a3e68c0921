//! MP3 and OGG Vorbis, decoded by symphonia (MPL-2.0).

use std::io::{Read, Seek, SeekFrom};

use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream};

use super::{Header, Sink, Source, unreadable};
use crate::error::{Error, Result};

/// A compressed file whose header was read.
pub(super) struct Compressed {
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    header: Header,
}

/// What symphonia reads from.
struct Media<R> {
    source: R,
    bytes: u64,
}

impl Compressed {
    pub(super) fn open(mut source: impl Source) -> Result<Self> {
        let bytes = source.seek(SeekFrom::End(0)).map_err(unreadable)?;
        source.seek(SeekFrom::Start(0)).map_err(unreadable)?;
        let stream = MediaSourceStream::new(Box::new(Media { source, bytes }), Default::default());
        let probe = symphonia::default::get_probe();
        let format =
            probe.probe(&Hint::new(), stream, Default::default(), Default::default()).map_err(damaged)?;
        let track = format.default_track(TrackType::Audio).ok_or_else(no_track)?;
        let parameters =
            track.codec_params.as_ref().and_then(|parameters| parameters.audio()).ok_or_else(no_track)?;
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(parameters, &AudioDecoderOptions::default())
            .map_err(damaged)?;
        let channels = parameters.channels.as_ref().map_or(0, |channels| channels.count());
        let header = Header {
            sample_rate: parameters.sample_rate.unwrap_or(0),
            channels: u16::try_from(channels).unwrap_or(u16::MAX),
            // Of an MP3 file it may be an estimate.
            frames: None,
        };
        Ok(Compressed { track: track.id, format, decoder, header })
    }

    pub(super) fn header(&self) -> Header {
        self.header
    }

    pub(super) fn decode(mut self, start: u64, sink: &mut Sink) -> Result<()> {
        let (mut samples, channels) = (Vec::<f32>::new(), usize::from(self.header.channels));
        // In samples of all channels.
        let mut skip = start.saturating_mul(channels as u64);
        while let Some(packet) = self.format.next_packet().map_err(damaged)? {
            if packet.track_id != self.track {
                continue;
            }
            let block = self.decoder.decode(&packet).map_err(damaged)?;
            let spec = block.spec();
            if spec.channels().count() != channels || spec.rate() != self.header.sample_rate {
                return Err(Error::input(
                    "a recording must keep its sample rate and channels, but it changes them",
                ));
            }
            block.copy_to_vec_interleaved(&mut samples);
            let dropped = skip.min(samples.len() as u64);
            skip -= dropped;
            if !sink(&samples[dropped as usize..])? {
                break;
            }
        }
        Ok(())
    }
}

impl<R: Source> MediaSource for Media<R> {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.bytes)
    }
}

impl<R: Read> Read for Media<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.source.read(buffer)
    }
}

impl<R: Seek> Seek for Media<R> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.source.seek(to)
    }
}

fn no_track() -> Error {
    Error::input("an MP3 or OGG file must hold an audio track, but it holds none")
}

fn damaged(error: SymphoniaError) -> Error {
    match error {
        SymphoniaError::IoError(error) => unreadable(error),
        error => {
            Error::input(format!("an MP3 or OGG file must follow its format, but this one does not: {error}"))
        }
    }
}
