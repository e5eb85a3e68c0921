//! The weights by name: created once, in a fixed order, from the seed.
//!
//! The initial values of a weight are a function of (seed, name), so that adding a weight changes no other. A variable
//! store of tch would rename duplicates, broadcast on load and draw from the process-wide generator.

use std::collections::HashMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal, Uniform};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::runtime::seed_for;
use crate::shim::clear_gradients;

/// One trainable weight.
#[derive(Debug)]
pub struct Param {
    /// Its full name, such as `encoder.layers.0.self_attention.query.weight`.
    pub name: String,
    /// Its value, f32, a leaf that collects gradients.
    pub tensor: Tensor,
    /// Whether weight decay applies: to matrices of linear layers, not to biases, norms or embeddings.
    pub weight_decay: bool,
}

/// Where the initial values come from.
#[derive(Debug)]
enum Init {
    /// Drawn from a seed.
    Seed(u64),
    /// Zero, until values are loaded.
    Zero,
    /// The weights of another set, by name.
    Shared(HashMap<String, Tensor>),
    /// None: weights have shapes but no values.
    Outline,
}

/// All weights of a model, in the order of creation.
#[derive(Debug)]
pub struct Params {
    device: Device,
    first: Init,
    compute: Kind,
    params: Vec<Param>,
    /// The index of each weight.
    places: HashMap<String, usize>,
}

impl Params {
    /// An empty set; weights are added on `device` and initialised from `seed`.
    pub fn new(device: Device, seed: u64) -> Params {
        Params { first: Init::Seed(seed), ..Params::blank(device) }
    }

    /// An empty set for weights to load: added weights are zero.
    pub(crate) fn blank(device: Device) -> Params {
        let (params, places) = (Vec::new(), HashMap::new());
        Params { device, first: Init::Zero, compute: Kind::Float, params, places }
    }

    /// An empty set for another instance of the same model: added weights are those of this set, shared and not copied.
    /// So another thread can have a model over the same weights.
    pub(crate) fn sharing(&self) -> Params {
        let weights = self.params.iter().map(|param| (param.name.clone(), param.tensor.shallow_clone()));
        let first = Init::Shared(weights.collect());
        Params { first, compute: self.compute, ..Params::blank(self.device) }
    }

    /// An empty set whose weights have names and shapes and take no memory: to inspect a network before it is built.
    pub(crate) fn outline() -> Params {
        Params { first: Init::Outline, ..Params::blank(Device::Cpu) }
    }

    /// Number of parameters.
    pub(crate) fn parameter_count(&self) -> f64 {
        let of_weight = |param: &Param| param.tensor.size().iter().map(|&size| size as f64).product::<f64>();
        self.params.iter().map(of_weight).sum()
    }

    /// The same set with matrix products in the precision `compute`. The weights themselves stay f32: they are cast for
    /// each pass.
    pub fn with_compute_kind(self, compute: Kind) -> Params {
        Params { compute, ..self }
    }

    /// The device of the weights.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The root of the tree of names.
    pub fn root(&mut self) -> VarBuilder<'_> {
        VarBuilder { params: self, prefix: String::new() }
    }

    /// All weights, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Param> {
        self.params.iter()
    }

    /// The weight at an index.
    pub(crate) fn at(&self, place: usize) -> &Param {
        &self.params[place]
    }

    /// The weight of that name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.places.get(name).map(|&place| &self.params[place].tensor)
    }

    /// A checksum of all values, SHA-256 in hexadecimal: equal for weights of the same bits.
    ///
    /// # Errors
    /// Errors of libtorch.
    pub(crate) fn sha256(&self) -> Result<String> {
        let mut hash = Sha256::new();
        for param in &self.params {
            let values = param.tensor.detach().to_device(Device::Cpu).contiguous().view([-1]);
            hash.update(Vec::<u8>::try_from(values.view_dtype(Kind::Uint8))?);
        }
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Number of weights.
    pub fn len(&self) -> usize {
        self.params.len()
    }

    /// True when no weight was added.
    pub fn is_empty(&self) -> bool {
        self.params.is_empty()
    }

    /// Clears all gradients.
    pub fn clear_gradients(&self) {
        clear_gradients(&self.params.iter().map(|param| &param.tensor).collect::<Vec<_>>());
    }

    /// Adds a weight; `first` draws its values, one after the other, and row `zero_row` is zero.
    fn add(
        &mut self,
        name: String,
        shape: &[i64],
        decays: bool,
        zero_row: Option<i64>,
        mut first: impl FnMut(&mut ChaCha8Rng) -> f32,
    ) -> Tensor {
        let place = self.params.len();
        assert!(self.places.insert(name.clone(), place).is_none(), "two weights are named {name}");
        let tensor = match &self.first {
            Init::Seed(seed) => {
                let count = shape.iter().product::<i64>() as usize;
                let mut values = Vec::new();
                let there = values.try_reserve_exact(count);
                assert!(there.is_ok(), "out of memory: no memory for the {count} numbers of `{name}`");
                let mut generator = ChaCha8Rng::seed_from_u64(seed_for(*seed, 0, &name));
                values.extend((0..count).map(|_| first(&mut generator)));
                if let Some(row) = zero_row {
                    let width = shape[1] as usize;
                    values[row as usize * width..][..width].fill(0.0);
                }
                Tensor::from_slice(&values).view(shape).to_device(self.device).set_requires_grad(true)
            }
            Init::Zero => Tensor::zeros(shape, (Kind::Float, self.device)).set_requires_grad(true),
            Init::Shared(weights) => weights[&name].shallow_clone(),
            // One element, expanded to the shape.
            Init::Outline => Tensor::zeros([], (Kind::Float, Device::Cpu)).expand(shape, false),
        };
        self.params.push(Param { name, tensor: tensor.shallow_clone(), weight_decay: decays });
        tensor
    }
}

/// A node in the tree of names, to which layers add their weights.
pub struct VarBuilder<'a> {
    params: &'a mut Params,
    prefix: String,
}

impl VarBuilder<'_> {
    /// The child node `name`.
    pub fn sub(&mut self, name: impl std::fmt::Display) -> VarBuilder<'_> {
        VarBuilder { prefix: format!("{}{name}.", self.prefix), params: self.params }
    }

    /// A matrix of a linear layer, (outputs, inputs), Xavier uniform (Glorot and Bengio 2010): within sqrt(6 / (inputs
    /// + outputs)).
    pub fn matrix(&mut self, name: &str, outputs: i64, inputs: i64) -> Tensor {
        let name = self.full(name);
        let bound = (6.0 / (inputs + outputs) as f64).sqrt() as f32;
        let uniform = Uniform::new_inclusive(-bound, bound).expect("the bound is finite and positive");
        self.params.add(name, &[outputs, inputs], true, None, |generator| uniform.sample(generator))
    }

    /// An embedding, (rows, width), normal with standard deviation width^-1/2; row `zero_row` is zero.
    pub(crate) fn embedding(&mut self, name: &str, rows: i64, width: i64, zero_row: Option<i64>) -> Tensor {
        let name = self.full(name);
        let deviation = (width as f32).powf(-0.5);
        let normal =
            |generator: &mut ChaCha8Rng| deviation * Distribution::<f32>::sample(&StandardNormal, generator);
        self.params.add(name, &[rows, width], false, zero_row, normal)
    }

    /// A vector of one value: a bias (0) or a norm's weight (1).
    pub fn vector(&mut self, name: &str, size: i64, value: f32) -> Tensor {
        let name = self.full(name);
        self.params.add(name, &[size], false, None, |_| value)
    }

    /// A number for a layer, unique within the model: its weights so far.
    pub(crate) fn next_layer_number(&self) -> usize {
        self.params.len()
    }

    /// The device of the weights.
    pub(crate) fn device(&self) -> Device {
        self.params.device
    }

    /// Whether weights have shapes but no values, so that buffers need not be built either.
    pub(crate) fn is_outline(&self) -> bool {
        matches!(self.params.first, Init::Outline)
    }

    /// The precision of matrix products.
    pub(crate) fn compute(&self) -> Kind {
        self.params.compute
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}
