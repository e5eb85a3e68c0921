//! AdamW (Loshchilov and Hutter 2019) with moments of our own, so that they can be saved by name.

use tch::{Device, Kind, Tensor};

use super::AdamWConfig;
use crate::error::{Error, Result};
use crate::model::params::{Param, Params};
use crate::shim::{AdamWStep, AdamWTensors, fused_adamw};

/// Name of the saved step count.
const STEP: &str = "adamw/step";

/// First and second moments of every weight, and the number of steps made.
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    moments: Vec<[Tensor; 2]>,
    step: Tensor,
}

impl AdamW {
    /// Zero moments for every weight of `params`.
    pub fn new(config: &AdamWConfig, params: &Params) -> AdamW {
        let moments = params.iter().map(|p| [p.tensor.zeros_like(), p.tensor.zeros_like()]);
        let moments = moments.map(|pair| pair.map(|moment| moment.set_requires_grad(false))).collect();
        AdamW { config: config.clone(), moments, step: Tensor::zeros([], (Kind::Float, params.device())) }
    }

    /// Moves every weight that has a gradient.
    pub fn step(&mut self, params: &Params, learning_rate: f64) -> Result<()> {
        let _guard = tch::no_grad_guard();
        self.step += 1.0;
        for decays in [true, false] {
            let mut tensors = AdamWTensors::default();
            let gradients: Vec<Tensor> = params.iter().map(|param| param.tensor.grad()).collect();
            for ((param, [first, second]), gradient) in params.iter().zip(&self.moments).zip(&gradients) {
                if param.decays == decays && gradient.defined() {
                    tensors.weights.push(&param.tensor);
                    tensors.gradients.push(gradient);
                    tensors.first.push(first);
                    tensors.second.push(second);
                    tensors.steps.push(&self.step);
                }
            }
            fused_adamw(&tensors, self.hyper_parameters(learning_rate, decays))?;
        }
        Ok(())
    }

    fn hyper_parameters(&self, learning_rate: f64, decays: bool) -> AdamWStep {
        AdamWStep {
            learning_rate,
            beta1: self.config.beta1,
            beta2: self.config.beta2,
            weight_decay: if decays { self.config.weight_decay } else { 0.0 },
            epsilon: self.config.epsilon,
        }
    }

    /// All of its state by name, for a checkpoint.
    pub fn state(&self, params: &Params) -> Vec<(String, Tensor)> {
        let moments = params.iter().zip(&self.moments).flat_map(|(param, [first, second])| {
            let [first_name, second_name] = names(param);
            [(first_name, first.shallow_clone()), (second_name, second.shallow_clone())]
        });
        moments.chain([(STEP.to_owned(), self.step.shallow_clone())]).collect()
    }

    /// Takes back what [`AdamW::state`] gave: the same names and shapes.
    pub fn restore(&mut self, params: &Params, mut saved: Vec<(String, Tensor)>) -> Result<()> {
        let _guard = tch::no_grad_guard();
        for (name, mut tensor) in self.state(params) {
            let at = saved.iter().position(|(other, _)| *other == name);
            let Some(at) = at else {
                return Err(Error::failure(format!("the optimizer's state lacks `{name}`")));
            };
            let (_, from) = saved.swap_remove(at);
            if from.size() != tensor.size() || from.kind() != tensor.kind() {
                let (saved, wanted) = (from.size(), tensor.size());
                return Err(Error::failure(format!(
                    "the optimizer's `{name}` must have shape {wanted:?}, but it has {saved:?}"
                )));
            }
            tensor.f_copy_(&from)?;
        }
        match saved.first() {
            Some((name, _)) => Err(Error::failure(format!("the optimizer does not know the saved `{name}`"))),
            None => Ok(()),
        }
    }
}

fn names(param: &Param) -> [String; 2] {
    [format!("adamw/first/{}", param.name), format!("adamw/second/{}", param.name)]
}

/// The norm of all gradients as one vector, before they are scaled down to `limit` (0: never).
pub fn clip_gradients(params: &Params, limit: f64) -> f64 {
    let _guard = tch::no_grad_guard();
    let mut gradients: Vec<Tensor> =
        params.iter().map(|param| param.tensor.grad()).filter(Tensor::defined).collect();
    if gradients.is_empty() {
        return 0.0;
    }
    let norms: Vec<Tensor> = gradients.iter().map(Tensor::norm).collect();
    let norm = Tensor::stack(&norms, 0).to_device(Device::Cpu).norm().double_value(&[]);
    if limit > 0.0 && norm > limit {
        for gradient in &mut gradients {
            *gradient *= limit / norm;
        }
    }
    norm
}
