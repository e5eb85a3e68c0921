//! An exponential moving average of the weights (Polyak and Juditsky 1992): used for validation, saving and decoding, while
//! training continues with the weights themselves.

use tch::Tensor;

use super::EmaConfig;
use super::optimizer::take;
use super::partition::partition_by_size;
use crate::error::Result;
use crate::model::params::Params;
use crate::runtime::threads;
use crate::shim::optimizer::lerp;

/// What the trained weights are called in a checkpoint whose model file holds their average.
const TRAINED: &str = "trained/";

/// One averaged tensor for each weight, in their order.
#[derive(Debug)]
pub struct Ema {
    decay: f64,
    averages: Vec<Tensor>,
}

impl Ema {
    /// Begins at the weights as they are.
    pub fn new(config: &EmaConfig, params: &Params) -> Ema {
        let averages = params.iter().map(|param| param.tensor.detach().copy()).collect();
        Ema { decay: config.decay, averages }
    }

    /// Takes the weights of one more update in; `step` counts from 1.
    pub fn update(&mut self, params: &Params, step: u64) {
        let _guard = tch::no_grad_guard();
        // The first weights are not worth remembering: the average is young as long as training is.
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

    /// Exchanges averages and weights. Twice is as if nothing had been, to the last bit.
    pub fn exchange(&mut self, params: &Params) {
        let _guard = tch::no_grad_guard();
        for (average, param) in self.averages.iter_mut().zip(params.iter()) {
            let trained = param.tensor.detach().copy();
            param.tensor.shallow_clone().copy_(average);
            average.copy_(&trained);
        }
    }

    /// The averages under their weights' names, and the trained weights under names of their own.
    pub fn state(&self, params: &Params) -> [Vec<(String, Tensor)>; 2] {
        let averages = params.iter().zip(&self.averages);
        let averages = averages.map(|(param, average)| (param.name.clone(), average.shallow_clone()));
        let trained = params.iter().map(|param| (format!("{TRAINED}{}", param.name), param.tensor.detach()));
        [averages.collect(), trained.collect()]
    }

    /// Takes the averages from `params`, where a checkpoint's model file has put them, and the trained weights out of
    /// what was saved beside it.
    ///
    /// # Errors
    /// A tensor that is missing, or of another shape.
    pub fn restore(&mut self, params: &Params, saved: &mut Vec<(String, Tensor)>) -> Result<()> {
        let _guard = tch::no_grad_guard();
        for (average, param) in self.averages.iter_mut().zip(params.iter()) {
            average.f_copy_(&param.tensor)?;
            let trained = take(saved, &format!("{TRAINED}{}", param.name), average)?;
            param.tensor.shallow_clone().f_copy_(&trained)?;
        }
        Ok(())
    }
}
