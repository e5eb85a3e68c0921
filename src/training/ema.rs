//! An exponential moving average of the weights (Polyak and Juditsky 1992): used for validation, saving and decoding,
//! while training continues with the weights themselves.

use tch::Tensor;

use super::EmaConfig;
use super::optimizer::take;
use super::partition::partition_by_size;
use crate::error::Result;
use crate::model::params::Params;
use crate::runtime::threads;
use crate::shim::optimizer::lerp;

/// Prefix of the trained weights in a checkpoint whose model file holds their average.
const TRAINED: &str = "trained/";

/// One averaged tensor per weight, in the order of the weights.
#[derive(Debug)]
pub(crate) struct Ema {
    decay: f64,
    averages: Vec<Tensor>,
}

impl Ema {
    /// Starts from the current weights.
    pub(crate) fn new(config: &EmaConfig, params: &Params) -> Ema {
        let averages = params.iter().map(|param| param.tensor.detach().copy()).collect();
        Ema { decay: config.decay, averages }
    }

    /// Adds the weights after update `step`, which counts from 1.
    pub(crate) fn update(&mut self, params: &Params, step: u64) {
        let _guard = tch::no_grad_guard();
        // A lower decay at the start, so that the initial weights are soon forgotten.
        let decay = self.decay.min((1.0 + step as f64) / (10.0 + step as f64));
        let pairs = self.averages.iter().zip(params.iter());
        let pairs = pairs.map(|(average, param)| (average.shallow_clone(), param.tensor.detach())).collect();
        let parts = partition_by_size(pairs, params.device(), |(average, _): &(Tensor, Tensor)| average);
        threads::each(parts, |part| {
            let _guard = tch::no_grad_guard();
            let (averages, weights): (Vec<&Tensor>, Vec<&Tensor>) =
                part.iter().map(|pair| (&pair.0, &pair.1)).unzip();
            lerp(&averages, &weights, 1.0 - decay);
        });
    }

    /// Swaps averages and weights. A second swap restores them, bit for bit.
    pub(crate) fn exchange(&mut self, params: &Params) {
        let _guard = tch::no_grad_guard();
        for (average, param) in self.averages.iter_mut().zip(params.iter()) {
            let trained = param.tensor.detach().copy();
            param.tensor.shallow_clone().copy_(average);
            average.copy_(&trained);
        }
    }

    /// The averages under their weights' names, and the trained weights under separate names.
    pub(crate) fn state(&self, params: &Params) -> [Vec<(String, Tensor)>; 2] {
        let averages = params.iter().zip(&self.averages);
        let averages = averages.map(|(param, average)| (param.name.clone(), average.shallow_clone()));
        let trained = params.iter().map(|param| (format!("{TRAINED}{}", param.name), param.tensor.detach()));
        [averages.collect(), trained.collect()]
    }

    /// Restores a checkpoint: the averages from `params`, where the model file was loaded, the trained weights from
    /// `saved`.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub(crate) fn restore(&mut self, params: &Params, saved: &mut Vec<(String, Tensor)>) -> Result<()> {
        let _guard = tch::no_grad_guard();
        for (average, param) in self.averages.iter_mut().zip(params.iter()) {
            average.f_copy_(&param.tensor)?;
            let trained = take(saved, &format!("{TRAINED}{}", param.name), average)?;
            param.tensor.shallow_clone().f_copy_(&trained)?;
        }
        Ok(())
    }
}
