//! Recordings that cannot be read, or do not fit: each is named with its file and line, and affects no other.

use std::io::Cursor;

use hound::{SampleFormat, WavSpec, WavWriter};

use super::{RATE, TRAIN, clip, decode, scene, table, trained, wav, words};
use crate::support::run::Scene;

/// A WAV file with these channels, of integers or of floats.
fn sound(channels: u16, samples: &[f32], sample_format: SampleFormat) -> Vec<u8> {
    let bits_per_sample = if sample_format == SampleFormat::Float { 32 } else { 16 };
    let spec = WavSpec { channels, sample_rate: RATE, bits_per_sample, sample_format };
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = WavWriter::new(&mut bytes, spec).unwrap();
    for &sample in samples.iter().flat_map(|sample| std::iter::repeat_n(sample, channels.into())) {
        match sample_format {
            SampleFormat::Float => writer.write_sample(sample).unwrap(),
            SampleFormat::Int => writer.write_sample((sample * 32_767.0) as i16).unwrap(),
        }
    }
    writer.finalize().unwrap();
    bytes.into_inner()
}

/// The bytes with others in one place.
fn with(mut bytes: Vec<u8>, at: usize, others: &[u8]) -> Vec<u8> {
    bytes[at..at + others.len()].copy_from_slice(others);
    bytes
}

/// Names, bytes (none for a file that is missing), and a part of the message.
fn bad_files() -> Vec<(&'static str, Option<Vec<u8>>, &'static str)> {
    let (good, quiet) = (clip("ab"), vec![0.1; 4000]);
    let half = good.len() / 2;
    let mut broken = quiet.clone();
    broken[7] = f32::NAN;
    let lies = with(good.clone(), 40, &1_000_000u32.to_le_bytes());
    let lies_message = "the data must have 1000000 bytes (62.500 s) as the header declares, but it has";
    let rate = "the sample rate must be from 4000 to 192000 Hz, but it is 0";
    let nan = "samples must be finite and within ±1000000, but sample 7 is NaN";
    let short = "a recording must have at least 200 samples (25 ms at 8000 Hz), but it has 100 samples";
    let text = "a recording must be a WAV or FLAC file, but its first bytes are `hell`";
    let int = SampleFormat::Int;
    vec![
        ("empty", Some(Vec::new()), "a recording must have a header, but the file is empty"),
        ("lies", Some(lies), lies_message),
        ("cut", Some(good[..half].to_vec()), "as the header declares, but it has"),
        ("cut_in_the_header", Some(good[..30].to_vec()), "the file is cut off"),
        ("no_rate", Some(with(good, 24, &[0; 4])), rate),
        ("many_channels", Some(sound(24, &quiet, int)), "the recording must have 1 channel, but it has 24"),
        ("stereo", Some(sound(2, &quiet, int)), "the recording must have 1 channel, but it has 2"),
        ("nan", Some(sound(1, &broken, SampleFormat::Float)), nan),
        ("text", Some(b"hello, world\n".to_vec()), text),
        ("short", Some(wav(&quiet[..100], RATE)), short),
        ("missing", None, "no such file or directory"),
    ]
}

fn write_bad_files(scene: &Scene) {
    for (name, bytes, _) in bad_files() {
        bytes.iter().for_each(|bytes| scene.write(format!("data/clips/{name}.wav"), bytes));
    }
}

/// The names of good and of bad recordings in turns, a good one last.
fn in_turns() -> Vec<String> {
    let bad = bad_files().into_iter().map(|(name, ..)| name.to_owned());
    let words = words(bad.len() + 1);
    let mut all: Vec<String> = bad.zip(&words).flat_map(|(bad, word)| [word.clone(), bad]).collect();
    all.extend(words.last().cloned());
    all
}

#[test]
fn a_recording_that_cannot_be_decoded_is_named_with_its_row() {
    let scene = trained();
    write_bad_files(&scene);
    for (name, _, message) in bad_files() {
        scene.write("data/in.csv", table(&[name.to_owned(), words(1)[0].clone()]));
        let refused = scene.decode(&["--input", "data/in.csv"], "");
        let file = format!("data/clips/{name}.wav");
        refused.refused_naming(2, &["error: data/in.csv:2: ", &file, message]);
    }
}

#[test]
fn a_recording_that_cannot_be_decoded_affects_no_other_row() {
    let scene = trained();
    write_bad_files(&scene);
    let rows = in_turns();
    let good: Vec<String> = rows.iter().step_by(2).cloned().collect();
    scene.write("data/all.csv", table(&rows));
    scene.write("data/good.csv", table(&good));
    for method in ["attention", "joint"] {
        let method = format!("decoding.method={method}");
        let more = ["--beam", "2", "--set", &method, "--on-error", "skip"];
        let (alone, all) = (decode(&scene, "data/good.csv", &more), decode(&scene, "data/all.csv", &more));
        let among: Vec<&str> = all.stdout.lines().step_by(2).collect();
        assert_eq!(among, alone.stdout.lines().collect::<Vec<_>>());
        let note = format!(
            "note: skipped rows: {} (their outputs are empty); the first: data/all.csv:3: ",
            bad_files().len()
        );
        assert!(all.stderr.contains(&note), "no {note:?} in\n{}", all.stderr);
    }
}

#[test]
fn a_recording_that_cannot_be_trained_on_is_named_with_its_row() {
    let scene = scene();
    write_bad_files(&scene);
    for (name, _, message) in bad_files() {
        for (before, line) in [(0, 2), (2, 4)] {
            let rows = [&words(before)[..], &[name.to_owned()], &words(5)[2..]].concat();
            scene.write("data/bad.csv", table(&rows));
            let place = format!("error: data/bad.csv:{line}: ");
            for key in ["data.train", "data.valid"] {
                // The sample rate of the first recording is that of the features.
                let refused = scene.train(&["--out", "bad", "--set", &format!("{key}=data/bad.csv")]);
                refused.refused_naming(2, &[&place, &format!("data/clips/{name}.wav"), message]);
            }
        }
    }
}

#[test]
fn several_channels_are_mixed_down_if_the_config_allows_it() {
    let scene = scene();
    let words = words(TRAIN);
    for word in &words {
        let stereo = sound(2, &super::samples(word, RATE), SampleFormat::Int);
        scene.write(format!("data/stereo/clips/{word}.wav"), stereo);
    }
    scene.write("data/stereo/train.csv", table(&words));
    let set = ["--set", "training.steps=2", "--set", "data.source.audio.mix_down=true"];
    let train =
        |out: &str, more: &[&str]| scene.train(&[&["--out", out], &set[..], more].concat()).succeeded();
    train("mono", &[]);
    train("stereo", &["--set", "data.train=data/stereo/train.csv"]);
    assert_eq!(scene.text("mono/metrics.csv"), scene.text("stereo/metrics.csv"));
}

#[test]
fn a_target_with_more_tokens_than_its_recording_has_positions_is_an_error_or_is_counted() {
    let scene = scene();
    let rows = table(&words(20)) + "clips/a.wav,abcdabcd\nclips/a.wav,aaa\n";
    scene.write("data/clips/a.wav", clip("a"));
    scene.write("data/in.csv", rows);
    let train = |more: &[&str]| {
        let set = ["--out", "run", "--set", "training.steps=1", "--set", "data.train=data/in.csv"];
        scene.train(&[&set, more].concat())
    };
    let message = "data/in.csv:22: a recording must have at least 8 positions of 4 frames for CTC";
    train(&[]).refused_naming(2, &[message, "but it has 5\n", "data.too_long = \"skip\""]);
    let skipped = train(&["--set", "data.too_long=skip"]).succeeded().stderr;
    let counted = "21 training pairs; 1 skipped because their recordings are too short for CTC, the first at data/in.csv:22\n";
    assert!(skipped.contains(counted), "{skipped}");
    std::fs::remove_dir_all(scene.path("run")).unwrap();
    let without = train(&["--set", "model.transformer.ctc=false"]).succeeded().stderr;
    assert!(without.contains("22 training pairs\n"), "{without}");
}

#[test]
fn a_recording_longer_than_the_limit_is_an_error_or_is_counted() {
    let scene = scene();
    let train = |more: &[&str]| {
        let set = ["--out", "run", "--set", "training.steps=1", "--set", "data.source.audio.max_seconds=0.6"];
        scene.train(&[&set, more].concat())
    };
    let first = words(TRAIN).iter().position(|word| word.len() == 4).unwrap() + 2;
    let word = &words(TRAIN)[first - 2];
    let message = format!(
        "data/train.csv:{first}: data/clips/{word}.wav: a recording may last 0.6 s (`data.source.audio.max_seconds`)"
    );
    train(&[]).refused_naming(2, &[&message, "lasts 0.7\n", "data.too_long = \"skip\""]);
    let skipped = train(&["--set", "data.too_long=skip"]).succeeded().stderr;
    let long = words(TRAIN).iter().filter(|word| word.len() == 4).count();
    let counted = format!("{} training pairs; {long} skipped", TRAIN - long);
    assert!(skipped.contains(&counted), "no {counted:?} in {skipped}");
}

/// A recording of three hours: a header, and a hole.
fn three_hours(scene: &Scene, name: &str) {
    let bytes = 3 * 3600 * 2 * RATE;
    let header = with(clip("a")[..44].to_vec(), 40, &bytes.to_le_bytes());
    scene.write(name, with(header, 4, &(bytes + 36).to_le_bytes()));
    let file = std::fs::OpenOptions::new().write(true).open(scene.path(name)).unwrap();
    file.set_len(u64::from(bytes) + 44).unwrap();
}

#[test]
fn a_recording_of_hours_is_refused_or_skipped_unread() {
    let scene = trained();
    three_hours(&scene, "data/clips/hours.wav");
    scene.write("data/hours.csv", table(&words(20)) + "clips/hours.wav,abc\n");
    let train_on = |out: &str, set: &str, more: &[&str]| {
        let set = format!("data.train={set}");
        scene.train(&[&["--out", out, "--set", "training.steps=1", "--set", &set], more].concat())
    };
    let train = |more: &[&str]| train_on("run", "data/hours.csv", more);
    let message = "data/hours.csv:22: data/clips/hours.wav: a recording may last 40 s";
    train(&[]).refused_naming(2, &[message, "lasts 10800.0\n"]);
    let skipped = train(&["--set", "data.too_long=skip"]).succeeded().stderr;
    let counted = "20 training pairs; 1 skipped because a side is too long, the first at data/hours.csv:22\n";
    assert!(skipped.contains(counted), "{skipped}");
    scene.write("data/few.csv", table(&words(20)));
    train_on("few", "data/few.csv", &[]).succeeded();
    assert!(scene.read("run/features/train") == scene.read("few/features/train"));
    scene.decode(&["--input", "data/clips/hours.wav"], "").refused_naming(2, &["this one lasts 10800.0"]);
    let others = decode(&scene, "data/hours.csv", &["--on-error", "skip"]).stdout;
    let few = decode(&scene, "data/few.csv", &["--on-error", "skip"]).stdout;
    assert!(others.starts_with(&few) && others.lines().count() == 21);
}

/// A NumPy matrix of 32-bit floats.
fn npy(frames: usize, bins: usize) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({frames}, {bins}), }}\n");
    let values = (0..frames * bins).flat_map(|n| ((n % 17) as f32).to_le_bytes());
    let length = (header.len() as u16).to_le_bytes();
    b"\x93NUMPY\x01\x00".iter().copied().chain(length).chain(header.bytes()).chain(values).collect()
}

#[test]
fn precomputed_features_are_cached_once_with_any_speeds() {
    let scene = scene();
    let mut rows = "source,target\n".to_owned();
    for (word, n) in words(12).iter().zip(0..) {
        scene.write(format!("data/{word}.npy"), npy(40 + n, 8));
        rows += &format!("{word}.npy,{word}\n");
    }
    scene.write("data/npy.csv", rows);
    let bytes = |out: &str, speeds: &str| {
        let speeds = format!("data.source.audio.augment.speeds={speeds}");
        let sets = ["data.train=data/npy.csv", "data.valid=data/npy.csv", "training.steps=3"];
        let sets = sets.into_iter().chain([speeds.as_str()]).flat_map(|set| ["--set", set]);
        let arguments: Vec<&str> = ["--out", out].into_iter().chain(sets).collect();
        scene.train(&arguments).succeeded();
        scene.read(format!("{out}/features/train")).len()
    };
    assert_eq!(bytes("three", "[0.9, 1.0, 1.1]"), bytes("one", "[1.0]"));
}

#[test]
fn a_recording_shorter_than_a_frame_after_a_speed_change_keeps_its_own_speed() {
    let scene = scene();
    scene.write("data/clips/tiny.wav", wav(&super::samples("a", RATE)[400..605], RATE));
    scene.write("data/tiny.csv", table(&words(10)) + "clips/tiny.wav,a\n");
    let train = |out: &str, speeds: &str| {
        let speeds = format!("data.source.audio.augment.speeds={speeds}");
        let set = ["--out", out, "--set", "data.train=data/tiny.csv", "--set", "training.steps=6"];
        scene.train(&[&set[..], &["--set", &speeds]].concat()).succeeded();
        scene.read(format!("{out}/features/train")).len()
    };
    // The others have features at the other speed, each 40 bins of 4 bytes a frame, and 8 bytes in the index.
    let bytes = |word: &String| {
        let samples = (super::samples(word, RATE).len() as f64 / 1.1).round() as usize;
        8 + 4 * 40 * (1 + (samples - 200) / 80)
    };
    assert_eq!(
        train("fast", "[1.0, 1.1]") - train("own", "[1.0]"),
        words(10).iter().map(bytes).sum::<usize>()
    );
}

#[test]
fn a_recording_too_long_to_decode_is_refused_or_truncated() {
    let scene = trained();
    let all: Vec<f32> = words(62).iter().flat_map(|word| super::samples(word, RATE)).collect();
    let long = [&all[..], &all].concat();
    assert!(long.len() > 40 * RATE as usize);
    scene.write("data/long.wav", wav(&long, RATE));
    scene.write("data/beginning.wav", wav(&long[..40 * RATE as usize], RATE));
    scene.write("data/in.csv", "source\nlong.wav\n");
    scene.write("data/cut.csv", "source\nbeginning.wav\n");
    let limits = ["--set", "decoding.max_length=12"];
    scene
        .decode(&[&["--input", "data/in.csv"], &limits[..]].concat(), "")
        .refused_naming(2, &["data/in.csv:2: a recording may last 40 s", "but this one lasts", "--truncate"]);
    let cut =
        scene.decode(&[&["--input", "data/in.csv", "--truncate"], &limits[..]].concat(), "").succeeded();
    let whole = scene.decode(&[&["--input", "data/cut.csv"], &limits[..]].concat(), "").succeeded();
    assert_eq!(cut.stdout, whole.stdout);
}

#[test]
fn missing_recordings_and_mismatched_features_are_named() {
    let scene = trained();
    std::fs::create_dir_all(scene.path("none")).unwrap();
    let train = |more: &[&str]| scene.train(&[&["--out", "other"], more].concat());
    train(&["--set", "data.train=none"])
        .refused_naming(2, &["none: a folder of recordings must have a file"]);
    train(&["--from", "runs/copy", "--set", "data.source.audio.fbank.bins=20"]).refused_naming(
        2,
        &["[data.source] must describe the sources of the model", "40 log-mel bins at 8000 Hz"],
    );
    let refused = train(&["--set", "data.source.audio.max_seconds=0.1", "--set", "data.too_long=skip"]);
    refused.refused_naming(2, &["no pair is left: all 60", "raise `data.source.audio.max_seconds`"]);
}
