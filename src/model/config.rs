//! `[model]`: which network, and its sizes.
//!
//! Only the keys, their defaults and the rules among them. It depends on no tensor.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::ConfigError;

mod recurrent;
mod transformer;

pub use recurrent::RecurrentConfig;
pub use transformer::{Activation, EncoderKind, Norm, NormPlace, Positions, TransformerConfig};

/// The largest width: a typing error should not run out of memory.
const WIDEST: u64 = 1 << 16;

/// The most layers: the deepest Transformer so far has 1,000 (Wang et al. 2022).
const DEEPEST: u64 = 4096;

/// The most weights: 4 TiB in f32.
const MOST_WEIGHTS: u64 = 1 << 40;

/// `[model]`: at most one network, by default `transformer`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// Transformer encoder-decoder (Vaswani et al. 2017).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transformer: Option<TransformerConfig>,
    /// Recurrent encoder-decoder with attention (Bahdanau et al. 2015, Luong et al. 2015).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recurrent: Option<RecurrentConfig>,
}

/// The network of a `[model]` table.
#[derive(Clone, Debug, PartialEq)]
pub enum NetworkConfig {
    /// `[model.transformer]`
    Transformer(TransformerConfig),
    /// `[model.recurrent]`
    Recurrent(RecurrentConfig),
}

/// Which embeddings share a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tied {
    /// Source, target and output have one matrix each.
    None,
    /// The output layer shares the target embedding.
    TargetOutput,
    /// All three share one matrix; needs a shared vocabulary.
    All,
}

impl ModelConfig {
    /// The networks' tables; a config has one of them.
    pub(crate) const NETWORKS: [&'static str; 2] = ["transformer", "recurrent"];

    /// Fills in the default network if the file has none.
    pub(crate) fn fill_in(&mut self) {
        if self.networks().is_empty() {
            self.transformer = Some(TransformerConfig::default());
        }
    }

    /// The network of the config, or the default.
    pub fn network(&self) -> NetworkConfig {
        match &self.recurrent {
            Some(config) => NetworkConfig::Recurrent(config.clone()),
            None => NetworkConfig::Transformer(self.transformer.clone().unwrap_or_default()),
        }
    }

    /// The networks that the config names; exactly one in a checked config.
    fn networks(&self) -> Vec<&'static str> {
        let are_there = [self.transformer.is_some(), self.recurrent.is_some()];
        let named = Self::NETWORKS.into_iter().zip(are_there).filter(|(_, is_there)| *is_there);
        named.map(|(name, _)| name).collect()
    }

    /// The rules among these keys.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        ConfigError::check_one("model", "network", &self.networks())?;
        let network = self.network();
        let table = network.table();
        match network {
            NetworkConfig::Transformer(config) => config.check(&table),
            NetworkConfig::Recurrent(config) => config.check(&table),
        }
    }

    /// The keys in which the networks of two experiments (as JSON) differ, except for dropout; for networks of two
    /// kinds, the names of both. Needed because heads, positions and the like are in no weight's shape.
    pub(crate) fn differences(one: &Value, other: &Value) -> Vec<String> {
        let network = |experiment: &Value| {
            // Keys that an older version did not write have their defaults.
            let model: ModelConfig = serde_json::from_value(experiment["model"].clone()).unwrap_or_default();
            model.network()
        };
        let (one, other) = (network(one), network(other));
        if one.name() != other.name() {
            return [one, other].map(|network| network.name().to_owned()).to_vec();
        }
        let (one, other) = (one.described(), other.described());
        let keys = [&one, &other].into_iter().filter_map(Value::as_object).flat_map(|keys| keys.keys());
        let differing: BTreeSet<&String> =
            keys.filter(|key| one[key.as_str()] != other[key.as_str()]).collect();
        differing.into_iter().cloned().collect()
    }
}

impl From<TransformerConfig> for NetworkConfig {
    fn from(config: TransformerConfig) -> NetworkConfig {
        NetworkConfig::Transformer(config)
    }
}

impl From<RecurrentConfig> for NetworkConfig {
    fn from(config: RecurrentConfig) -> NetworkConfig {
        NetworkConfig::Recurrent(config)
    }
}

impl NetworkConfig {
    /// The name of its table.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            NetworkConfig::Transformer(_) => "transformer",
            NetworkConfig::Recurrent(_) => "recurrent",
        }
    }

    /// The path of its table: `model.transformer`
    pub(crate) fn table(&self) -> String {
        format!("model.{}", self.name())
    }

    /// Width of the hidden states (D).
    pub fn width(&self) -> usize {
        match self {
            NetworkConfig::Transformer(config) => config.width,
            NetworkConfig::Recurrent(config) => config.width,
        }
    }

    /// Number of layers of encoder and decoder.
    pub(crate) fn layers(&self) -> usize {
        match self {
            NetworkConfig::Transformer(config) => config.encoder_layers + config.decoder_layers,
            NetworkConfig::Recurrent(config) => config.encoder_layers + config.decoder_layers,
        }
    }

    /// Whether it has a CTC head.
    pub fn has_ctc(&self) -> bool {
        match self {
            NetworkConfig::Transformer(config) => config.ctc(),
            NetworkConfig::Recurrent(_) => false,
        }
    }

    /// Which embeddings share a matrix.
    pub(crate) fn tied_embeddings(&self) -> Tied {
        match self {
            NetworkConfig::Transformer(config) => config.tied_embeddings,
            NetworkConfig::Recurrent(config) => config.tied_embeddings,
        }
    }

    /// (inputs, outputs) of the matrices that take most of the time.
    pub(crate) fn products(&self) -> Vec<[usize; 2]> {
        match self {
            NetworkConfig::Transformer(config) => {
                let (width, inner) = (config.width, config.feed_forward);
                vec![[width, width], [width, inner], [inner, width]]
            }
            NetworkConfig::Recurrent(config) => vec![[config.width, 3 * config.width]],
        }
    }

    /// The keys that make it smaller, for a hint.
    pub(crate) fn sizes(&self) -> String {
        let keys = match self {
            NetworkConfig::Transformer(_) => "`width`, `feed_forward` or the layers",
            NetworkConfig::Recurrent(_) => "`width` or the layers",
        };
        format!("{keys} of [{}]", self.table())
    }

    /// The keys that distinguish networks.
    fn described(&self) -> Value {
        let (keys, unused) = match self {
            NetworkConfig::Transformer(config) => {
                let learned = config.positions == Positions::Learned;
                (serde_json::to_value(config), (!learned).then_some("max_positions"))
            }
            NetworkConfig::Recurrent(config) => (serde_json::to_value(config), None),
        };
        let mut keys = keys.unwrap_or_default();
        if let Some(keys) = keys.as_object_mut() {
            keys.retain(|key, _| !key.ends_with("dropout") && Some(key.as_str()) != unused);
        }
        keys
    }
}
