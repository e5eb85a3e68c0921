//! TensorBoard's event files, as far as curves need them: records of (step, name, number) in a file that grows.
//!
//! Written by hand: the crates for this depend on a protobuf library and a dozen to a hundred others, for what is two
//! messages and a frame here. The format is that of TensorFlow's `event.proto` and `record_writer`.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crc::{CRC_32_ISCSI, Crc, Table};

use super::{Event, Recorder};
use crate::error::{Error, Result};
use crate::training::clock::wall_time;
use crate::training::metrics::{RunningStats, Validation};
use crate::training::pace::Pace;

/// CRC-32C is the polynomial of iSCSI.
static CRC32C: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);

/// Writes the metrics of a run to a TensorBoard event file.
#[derive(Debug)]
pub(crate) struct TensorBoard(EventFile);

impl TensorBoard {
    /// For the run in `folder`, whose next update is `first_step`.
    ///
    /// # Errors
    /// A folder or a file cannot be created.
    pub(crate) fn open(folder: &Path, first_step: u64) -> Result<TensorBoard> {
        EventFile::create(folder, wall_time(), first_step).map(TensorBoard)
    }
}

impl Recorder for TensorBoard {
    fn record(&mut self, event: &Event) -> Result<()> {
        let (step, mut scalars) = match event {
            Event::TrainingRow { step, learning_rate, window, pace, .. } => {
                (*step, of_training(window, *learning_rate, pace))
            }
            Event::Validation { step, found, .. } => (*step, of_validation(found)),
            _ => return Ok(()),
        };
        // NaN is in no curve, as it is not in `metrics.csv`.
        scalars.retain(|(_, value)| !value.is_nan());
        self.0.scalars(wall_time(), step, &scalars)
    }
}

fn of_training(window: &RunningStats, learning_rate: f64, pace: &Pace) -> Vec<(String, f64)> {
    let scalars = [
        ("loss", window.loss_per_token()),
        ("nll", window.nll_per_token()),
        ("perplexity", window.nll_per_token().exp()),
        ("gradient_norm", window.mean_gradient_norm()),
        ("learning_rate", learning_rate),
        ("skipped", window.skipped as f64),
        ("tokens_per_second", pace.speed.tokens_per_second),
        ("matrix_peak_share", pace.peak_share),
        ("padding", pace.padding),
        ("waiting", pace.waiting),
        ("memory_gib", pace.memory),
    ];
    scalars.map(|(name, value)| (format!("train/{name}"), value)).to_vec()
}

fn of_validation(found: &Validation) -> Vec<(String, f64)> {
    let likelihood =
        [("nll", found.nll), ("perplexity", found.nll.exp()), ("token_accuracy", found.token_accuracy)];
    let metrics = found.metrics.iter().map(|metric| (metric.kind.name, metric.value));
    likelihood.into_iter().chain(metrics).map(|(name, value)| (format!("valid/{name}"), value)).collect()
}

/// An event file, which TensorBoard reads while it is written.
#[derive(Debug)]
pub(crate) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Creates a file in `folder`/tensorboard, whose first update will be `first_step`. TensorBoard drops the events of
    /// earlier files from this step on: they belong to a session that was stopped.
    ///
    /// `wall_time`, here and below, is in seconds since 1970.
    ///
    /// # Errors
    /// A folder or a file cannot be created.
    pub(crate) fn create(folder: &Path, wall_time: f64, first_step: u64) -> Result<EventFile> {
        let folder = folder.join("tensorboard");
        fs::create_dir_all(&folder).map_err(|error| Error::file("make", &folder, &error))?;
        // TensorBoard reads the files of a folder in the order of their names.
        let name = format!("events.out.tfevents.{:010}.seqloom.{}", wall_time as u64, std::process::id());
        let path = folder.join(name);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(|error| Error::file("write", &path, &error))?;
        let mut events = EventFile { path, file };
        events.write(&event(wall_time, 0, FILE_VERSION, b"brain.Event:2"))?;
        events.write(&event(wall_time, first_step, SESSION_LOG, &SESSION_START))?;
        Ok(events)
    }

    /// Writes numbers by name at a step, as f32.
    ///
    /// # Errors
    /// The file cannot be written. Part of the record may be in it and make later records unreadable, so no more should
    /// be written.
    pub(crate) fn scalars(&mut self, wall_time: f64, step: u64, scalars: &[(String, f64)]) -> Result<()> {
        let values: Vec<u8> =
            scalars.iter().flat_map(|(tag, value)| value_field(tag, *value as f32)).collect();
        self.write(&event(wall_time, step, SUMMARY, &values))
    }

    /// A record is written whole, so that readers never see half a record.
    fn write(&mut self, event: &[u8]) -> Result<()> {
        self.file.write_all(&record(event)).map_err(|error| Error::file("write", &self.path, &error))
    }
}

// Fields of the messages, by number. `Event` has a time, a step, and one of three things:
const WALL_TIME: u8 = 1;
const STEP: u8 = 2;
const FILE_VERSION: u8 = 3;
const SUMMARY: u8 = 5;
const SESSION_LOG: u8 = 7;
/// `SessionLog` with `status` (1) `START` (1).
const SESSION_START: [u8; 2] = [1 << 3 | VARINT, 1];
/// `Summary` has `Value`s, and a `Value` a name and a number.
const VALUE: u8 = 1;
const TAG: u8 = 1;
const SIMPLE_VALUE: u8 = 2;

// A protobuf field: its number and wire type in one byte, then the value in the form of that type.
const VARINT: u8 = 0;
const EIGHT_BYTES: u8 = 1;
const LENGTH_FIRST: u8 = 2;
const FOUR_BYTES: u8 = 5;

/// An `Event` with one field besides time and step.
fn event(wall_time: f64, step: u64, field: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![WALL_TIME << 3 | EIGHT_BYTES];
    out.extend(wall_time.to_le_bytes());
    out.push(STEP << 3 | VARINT);
    varint(step, &mut out);
    bytes_field(field, content, &mut out);
    out
}

/// A `Value` as a field of its `Summary`.
fn value_field(tag: &str, value: f32) -> Vec<u8> {
    let mut content = Vec::new();
    bytes_field(TAG, tag.as_bytes(), &mut content);
    content.push(SIMPLE_VALUE << 3 | FOUR_BYTES);
    content.extend(value.to_le_bytes());
    let mut out = Vec::new();
    bytes_field(VALUE, &content, &mut out);
    out
}

/// A string field, or a nested message.
fn bytes_field(field: u8, content: &[u8], out: &mut Vec<u8>) {
    out.push(field << 3 | LENGTH_FIRST);
    varint(content.len() as u64, out);
    out.extend(content);
}

/// Seven bits per byte, the low ones first; the eighth bit marks that more follow.
fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A framed record: length, checksum of the length, content, checksum of the content.
fn record(content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u64).to_le_bytes();
    let mut out = length.to_vec();
    out.extend(masked_crc(&length).to_le_bytes());
    out.extend(content);
    out.extend(masked_crc(content).to_le_bytes());
    out
}

/// Masked CRC-32C (rotated, plus a constant), for checksums over data that itself holds checksums.
fn masked_crc(bytes: &[u8]) -> u32 {
    CRC32C.checksum(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, B.4, has the checksums of 32 bytes of zeros and of ones; the mask is that of TensorFlow's `crc32c.h`:
    /// 0xe3069283 rotated right by 15 bits is 0x2507c60d, plus 0xa282ead8.
    #[test]
    fn checksums_follow_the_standard() {
        assert_eq!(CRC32C.checksum(b"123456789"), 0xe306_9283);
        assert_eq!(CRC32C.checksum(&[0; 32]), 0x8a91_36aa);
        assert_eq!(CRC32C.checksum(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(masked_crc(b"123456789"), 0xc78a_b0e5);
    }

    #[test]
    fn a_varint_has_seven_bits_a_byte() {
        let written = |value| {
            let mut out = Vec::new();
            varint(value, &mut out);
            out
        };
        assert_eq!(written(0), [0]);
        assert_eq!(written(127), [0x7f]);
        assert_eq!(written(300), [0xac, 0x02]);
        assert_eq!(written(u64::from(u32::MAX) + 1), [0x80, 0x80, 0x80, 0x80, 0x10]);
    }

    /// The three records as TensorBoard 2.21.0 writes them (`event_pb2.Event(...).SerializeToString()`, framed with its
    /// `masked_crc32c`).
    #[test]
    fn a_file_has_the_bytes_that_tensorboard_writes() {
        const VERSION: &str =
            "1800000000000000a37f4b2209000000c00b5ad6411a0d627261696e2e4576656e743a324ca9a464";
        const START: &str = "100000000000000095fbfe1809000000c00b5ad64110ad023a020801a62462fc";
        const SCALARS: &str = "2a00000000000000ae8d91f509000010c00b5ad64110ad022a1c0a100a09747261696e2f6e6c6c15\
                               0000403f0a080a017615cdcccc3d15363c83";
        // The version has step 0, which TensorBoard omits, since proto3 writes no zeros. Ours is two bytes longer.
        let version = event(1.5e9, 0, FILE_VERSION, b"brain.Event:2");
        let without_step = [&version[..9], &version[11..]].concat();
        let start = event(1.5e9, 301, SESSION_LOG, &SESSION_START);
        let values = [value_field("train/nll", 0.75), value_field("v", 0.1)].concat();
        let scalars = event(1_500_000_000.25, 301, SUMMARY, &values);
        for (ours, theirs) in [(without_step, VERSION), (start, START), (scalars, SCALARS)] {
            let hex: String = record(&ours).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, theirs);
        }
    }

    /// The contents of a file's records, whose checksums must be right.
    fn contents(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            let (content, rest) = (&bytes[12..12 + length], &bytes[16 + length..]);
            assert_eq!(bytes[8..12], masked_crc(&bytes[..8]).to_le_bytes());
            assert_eq!(bytes[12 + length..16 + length], masked_crc(content).to_le_bytes());
            found.push(content.to_vec());
            bytes = rest;
        }
        found
    }

    #[test]
    fn a_file_has_its_version_and_first_step_before_any_value() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = EventFile::create(folder.path(), 12.5, 7).unwrap();
        events.scalars(13.0, 8, &[("a".to_owned(), 1.5), ("b".to_owned(), f64::NAN)]).unwrap();
        events.scalars(14.0, 9, &[]).unwrap();
        let name = format!("tensorboard/events.out.tfevents.0000000012.seqloom.{}", std::process::id());
        let found = contents(&fs::read(folder.path().join(name)).unwrap());
        assert_eq!(found.len(), 4);
        assert_eq!(found[0], event(12.5, 0, FILE_VERSION, b"brain.Event:2"));
        assert_eq!(found[1], event(12.5, 7, SESSION_LOG, &[0x08, 0x01]));
        // Time 13, step 8, and a summary (5) of 20 bytes: two values (1) of 8, with tag (1) and number (2).
        let time = [&[0x09][..], &13f64.to_le_bytes()].concat();
        let one = [&[0x0a, 8, 0x0a, 1, b'a', 0x15][..], &1.5f32.to_le_bytes()].concat();
        let other = [&[0x0a, 8, 0x0a, 1, b'b', 0x15][..], &f32::NAN.to_le_bytes()].concat();
        assert_eq!(found[2], [&time[..], &[0x10, 8, 0x2a, 20], &one, &other].concat());
    }

    #[test]
    fn a_write_error_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tensorboard"), "a file").unwrap();
        let refused = EventFile::create(folder.path(), 12.5, 1).unwrap_err();
        assert!(refused.message().starts_with("cannot make "), "{refused}");
        assert!(refused.message().contains("tensorboard"), "{refused}");
        // A device that is always full.
        let path = PathBuf::from("/dev/full");
        let file = OpenOptions::new().append(true).open(&path).unwrap();
        let refused = EventFile { path, file }.scalars(1.0, 1, &[("a".to_owned(), 1.0)]).unwrap_err();
        assert_eq!(refused.message(), "cannot write /dev/full: no space left on device");
    }
}
