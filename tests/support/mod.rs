//! Shared by several tests: golden files, the distance between two tensors, and runs of the binary (`run`).

pub mod fork_server;
pub mod run;

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use seqloom::data::source::SourceShape;
use seqloom::model::{NetworkConfig, RecurrentConfig, TransformerConfig};
use seqloom::runtime::gpus;
use serde::de::DeserializeOwned;
use tch::{Device, Kind, Tensor};

/// A file of tests/golden/, made by its make_golden.py or make_speech.py.
pub struct Golden {
    /// The value of the metadata key `config`.
    config: serde_json::Map<String, serde_json::Value>,
    tensors: BTreeMap<String, Tensor>,
}

impl Golden {
    /// Reads `tests/golden/NAME.safetensors`.
    pub fn read(name: &str) -> Golden {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.safetensors"));
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let config = &metadata.metadata().as_ref().unwrap()["config"];
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file.iter().map(|(name, view)| (name.to_owned(), tensor(&view))).collect();
        Golden { config: serde_json::from_str(config).unwrap(), tensors }
    }

    /// One number of the config.
    pub fn number(&self, key: &str) -> f64 {
        self.config[key].as_f64().unwrap()
    }

    /// The sources of its network: frames, or tokens of a vocabulary.
    pub fn source(&self) -> SourceShape {
        match self.config.get("source_bins") {
            Some(_) => SourceShape::Frames(self.number("source_bins") as usize),
            None => SourceShape::Tokens(self.number("source_vocabulary") as usize),
        }
    }

    /// The config as a model's, without the sizes of the vocabularies and of the frames.
    pub fn network(&self) -> NetworkConfig {
        let mut config = self.config.clone();
        config.retain(|key, _| !key.ends_with("_vocabulary") && key != "source_bins");
        match config.remove("network") {
            Some(_) => from_json::<RecurrentConfig>(config).into(),
            None => from_json::<TransformerConfig>(config).into(),
        }
    }

    /// A tensor by its name.
    pub fn get(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("no golden tensor {name}"))
    }

    /// The tensors whose name starts with `prefix`, under the rest of their name.
    pub fn under(&self, prefix: &str) -> BTreeMap<&str, &Tensor> {
        self.tensors.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?, tensor))).collect()
    }
}

fn from_json<T: DeserializeOwned>(map: serde_json::Map<String, serde_json::Value>) -> T {
    serde_json::from_value(serde_json::Value::Object(map)).unwrap()
}

fn tensor(view: &safetensors::tensor::TensorView) -> Tensor {
    let kind = match view.dtype() {
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        Dtype::I64 => Kind::Int64,
        other => panic!("golden files hold no {other:?}"),
    };
    let shape: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
    Tensor::from_data_size(view.data(), &shape, kind)
}

/// The CPU, and the first GPU where there is one: the same must hold on each.
pub fn devices() -> Vec<Device> {
    let gpu = gpu();
    if gpu.is_none() {
        eprintln!("there is no GPU here: tried on the CPU alone");
    }
    [Device::Cpu].into_iter().chain(gpu).collect()
}

/// The first GPU, where there is one.
pub fn gpu() -> Option<Device> {
    (gpus() > 0).then_some(Device::Cuda(0))
}

/// Largest absolute difference; the shapes must be the same, and nothing may be NaN.
pub fn distance(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size(), "the shapes differ");
    let double = |x: &Tensor| x.detach().to_device(Device::Cpu).to_kind(Kind::Double);
    let largest = (double(a) - double(b)).abs().max();
    let largest = largest.double_value(&[]);
    assert!(!largest.is_nan(), "a tensor holds NaN");
    largest
}

/// Fails with `what` when two tensors are further apart than `tolerance`.
pub fn assert_close(a: &Tensor, b: &Tensor, tolerance: f64, what: &str) {
    let distance = distance(a, b);
    assert!(distance <= tolerance, "{what}: {distance:.1e} apart, {tolerance:.0e} allowed");
}

/// Fails with `what` when two tensors are not the same bit for bit.
pub fn assert_same(a: &Tensor, b: &Tensor, what: &str) {
    assert!(a.equal(b), "{what}: not the same bits, {:.1e} apart", distance(a, b));
}
