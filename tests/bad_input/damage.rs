//! Damaged files of seqloom: any changed byte of a checkpoint is detected.

use std::path::{Path, PathBuf};

use seqloom::checkpoint::model_file;
use seqloom::checkpoint::tensors::load_into;
use seqloom::model::TransformerConfig;
use seqloom::model::network::Network;
use seqloom::model::params::Params;
use tch::Device;

use crate::support::run::Scene;

const MODEL: &str = "model.safetensors";

/// A model file in its own folder, to be rewritten again and again.
struct ModelFile {
    scene: Scene,
    bytes: Vec<u8>,
    /// The end of the header, where the weights start.
    header_end: usize,
}

impl ModelFile {
    fn new() -> ModelFile {
        let scene = Scene::trained();
        let bytes = scene.read(scene.checkpoint("runs/copy", "best").join(MODEL));
        let header_end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let file = ModelFile { scene, bytes, header_end };
        file.with(&file.bytes).unwrap();
        file
    }

    /// Reads a file of these bytes.
    fn with(&self, bytes: &[u8]) -> seqloom::error::Result<()> {
        // Some file systems flush a file that is overwritten, which is slow; a new one stays in memory.
        let _ = std::fs::remove_file(self.scene.path(MODEL));
        self.scene.write(MODEL, bytes);
        model_file::read(&self.scene.path(MODEL)).map(|_| ())
    }

    #[track_caller]
    fn refuses(&self, bytes: &[u8], what: &str) {
        let error = self.with(bytes).expect_err(what);
        assert!(error.message().contains(MODEL), "{what}: {error}");
        assert!(error.to_string().lines().count() <= 3, "{what}: {error}");
    }
}

#[test]
fn a_truncated_model_file_is_refused_at_any_length() {
    let file = ModelFile::new();
    let (header, all) = (file.header_end, file.bytes.len());
    for length in
        [0, 1, 7, 8, 9, header / 2, header - 1, header, header + 1, (header + all) / 2, all - 4, all - 1]
    {
        file.refuses(&file.bytes[..length], &format!("cut to {length} of {all} bytes"));
    }
    file.refuses(&[&file.bytes[..], b"\0"].concat(), "one byte too many");
}

#[test]
fn a_model_file_with_any_byte_changed_is_refused() {
    let file = ModelFile::new();
    let (header, all) = (file.header_end, file.bytes.len());
    let spread =
        |from: usize, to: usize, count: usize| (0..count).map(move |n| from + n * (to - from) / count);
    let positions =
        (0..8).chain(spread(8, header, 150)).chain(spread(header, all, 40)).chain([header - 1, all - 1]);
    for position in positions {
        // A bit at either end, and the one between upper and lower case.
        for bit in [0x01, 0x20, 0x80] {
            let mut bytes = file.bytes.clone();
            bytes[position] ^= bit;
            file.refuses(&bytes, &format!("bit {bit:#04x} of byte {position}, the header ends at {header}"));
        }
    }
}

/// JSON that means the same is not the same file.
#[test]
fn a_change_without_meaning_is_refused_as_well() {
    let file = ModelFile::new();
    let text = String::from_utf8_lossy(&file.bytes[..file.header_end]).into_owned();
    let exponent = text.find("1e-8").unwrap() + 1;
    let mut bytes = file.bytes.clone();
    bytes[exponent] = b'E';
    file.refuses(&bytes, "1E-8 in place of 1e-8");

    // The header is padded with spaces to a multiple of eight; a space more is a header that reads the same.
    let padded = file.header_end as u64;
    let mut bytes = padded.to_le_bytes().to_vec();
    bytes.extend(&file.bytes[8..file.header_end]);
    bytes.extend(b"        ");
    bytes.extend(&file.bytes[file.header_end..]);
    file.refuses(&bytes, "more padding");
}

#[test]
fn a_truncated_or_changed_checkpoint_is_refused_with_a_message() {
    let scene = Scene::trained();
    let checkpoint = scene.checkpoint("runs/copy", "latest");
    scene.write("runs/copy/best", scene.read("runs/copy/latest"));
    let path = checkpoint.join(MODEL);
    let whole = scene.read(&path);
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    let place = path.display().to_string();
    let resume = ["--resume", "--set", "training.steps=701"];
    for (bytes, reason) in [
        (&whole[..200], format!("error: {place} is damaged or not a model file: ")),
        (&whole[..whole.len() - 100], format!("error: {place} is damaged or not a model file: ")),
        (
            &changed[..],
            format!("error: {place} is damaged: its content does not match its checksum\nhint: use "),
        ),
    ] {
        scene.write(&path, bytes);
        scene.decode(&[], "ab\n").refused_naming(1, &[&reason, "hint: "]);
        scene.seqloom(&["inspect", "runs/copy"]).refused_naming(1, &[&reason]);
        let hint = format!(
            "error: {place} is damaged: it does not match manifest.json\nhint: write the name of another checkpoint, such as step-"
        );
        scene.train(&resume).refused_naming(1, &[&hint]);
    }
}

#[test]
fn resuming_refuses_a_checkpoint_with_a_changed_or_missing_file() {
    let scene = Scene::trained();
    let checkpoint = scene.checkpoint("runs/copy", "latest");
    let resume = ["--resume", "--set", "training.steps=701"];
    for name in ["training.safetensors", "state.json"] {
        let path = checkpoint.join(name);
        let place = path.display().to_string();
        let whole = scene.read(&path);
        for position in [9, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[position] ^= 1;
            scene.write(&path, &changed);
            let message = format!("error: {place} is damaged: it does not match manifest.json\nhint: ");
            scene.train(&resume).refused_naming(1, &[&message]);
        }
        scene.write(&path, &whole[..whole.len() - 1]);
        scene.train(&resume).refused_naming(1, &[&place, "it does not match manifest.json"]);
        std::fs::remove_file(scene.path(&path)).unwrap();
        scene.train(&resume).refused_naming(2, &[&place, "no such file"]);
        scene.write(&path, &whole);
    }
    let manifest = checkpoint.join("manifest.json");
    scene.write(&manifest, scene.text(&manifest).replacen(": \"", ": \"0", 1));
    scene.train(&resume).refused_naming(1, &["it does not match manifest.json"]);
    scene.write("runs/copy/latest", "the last one\n");
    let message =
        "error: runs/copy/latest must name a step, such as step-00001000, but it contains `the last one`";
    scene.train(&resume).refused_naming(1, &[message]);
}

#[test]
fn a_weight_of_another_shape_is_refused_with_its_name_and_both_shapes() {
    let scene = Scene::trained();
    let small = ["--out", "small", "--set", "model.transformer.width=16", "--set", "training.steps=700"];
    scene.train(&[&small[..], &["--set", "training.epochs=1"]].concat()).succeeded();
    for (path, bytes) in scene.files(&scene.checkpoint("small", "latest").display().to_string()) {
        let name = PathBuf::from(path.file_name().unwrap());
        scene.write(scene.checkpoint("runs/copy", "latest").join(name), bytes);
    }
    let finished = scene.train(&["--resume", "--set", "training.steps=701"]);
    finished.refused_naming(
        1,
        &["` must be Float [", "], but it is Float [", "\nhint: the weights belong to a model with"],
    );
    assert!(finished.stderr.contains("32]") && finished.stderr.contains("16]"), "{}", finished.stderr);
}

#[test]
fn weights_are_loaded_only_with_matching_names_and_shapes() {
    let model = |width| {
        let mut params = Params::new(Device::Cpu, 1);
        let config = TransformerConfig { width, heads: 2, feed_forward: 24, ..TransformerConfig::default() };
        Network::new(&config.into(), 9, 11, &mut params);
        params
    };
    let params = model(16);
    let named = |params: &Params| -> Vec<(String, tch::Tensor)> {
        params.iter().map(|param| (param.name.clone(), param.tensor.copy())).collect()
    };
    let refused = |saved: &[(String, tch::Tensor)]| {
        load_into(&params, saved, Path::new(MODEL)).expect_err("must be refused").message().to_owned()
    };
    load_into(&params, &named(&params), Path::new(MODEL)).unwrap();
    let first = params.iter().next().unwrap().name.clone();
    assert_eq!(
        refused(&named(&model(32))),
        format!("{MODEL}: `{first}` must be Float [9, 16], but it is Float [9, 32]")
    );
    // libtorch's own copy would broadcast this one over all rows.
    let mut saved = named(&params);
    saved[0].1 = saved[0].1.narrow(0, 0, 1);
    assert!(refused(&saved).ends_with("must be Float [9, 16], but it is Float [1, 16]"));
    let mut saved = named(&params);
    saved[0].1 = saved[0].1.to_kind(tch::Kind::BFloat16);
    assert!(refused(&saved).ends_with("must be Float [9, 16], but it is BFloat16 [9, 16]"));
    let saved = &named(&params)[1..];
    assert_eq!(refused(saved), format!("{MODEL}: the weight `{first}` is missing"));
    let mut saved = named(&params);
    saved.push(("extra".to_owned(), tch::Tensor::from(1.0f32)));
    assert_eq!(refused(&saved), format!("{MODEL}: the model has no weight named `extra`"));
}
