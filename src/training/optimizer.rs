//! AdamW (Loshchilov and Hutter 2019), Adam (Kingma and Ba 2015) and SGD with momentum, with their own state, so that
//! it can be saved by name. One fused call for all weights with the same settings.

use tch::{Kind, Tensor};
use wildmatch::WildMatch;

use super::partition::partition_by_size;
use super::{AdamConfig, AdamWConfig, SgdConfig, TrainingConfig};
use crate::error::{Error, Result};
use crate::model::params::{Param, Params};
use crate::runtime::threads;
use crate::shim::optimizer::{
    AdamStep, AdamTensors, SgdStep, SgdTensors, fused_adam, fused_sgd, norms, scale,
};

/// The update rule.
#[derive(Clone, Debug)]
enum Rule {
    AdamW(AdamWConfig),
    Adam(AdamConfig),
    Sgd(SgdConfig),
}

impl Rule {
    fn new(config: &TrainingConfig) -> Rule {
        match (&config.adam, &config.sgd) {
            (Some(adam), _) => Rule::Adam(adam.clone()),
            (_, Some(sgd)) => Rule::Sgd(sgd.clone()),
            (None, None) => Rule::AdamW(config.adamw.clone().unwrap_or_default()),
        }
    }

    /// The names of its state in a checkpoint: the prefix, and the tensors of each weight.
    fn names(&self) -> (&'static str, &'static [&'static str]) {
        match self {
            Rule::AdamW(_) => ("adamw", &["first", "second"]),
            Rule::Adam(_) => ("adam", &["first", "second"]),
            Rule::Sgd(_) => ("sgd", &["momentum"]),
        }
    }

    fn weight_decay(&self) -> f64 {
        match self {
            Rule::AdamW(config) => config.weight_decay,
            Rule::Adam(config) => config.weight_decay,
            Rule::Sgd(config) => config.weight_decay,
        }
    }

    /// Betas and epsilon of both kinds of Adam; `decoupled` is the difference between them.
    fn adam(&self) -> Option<(bool, [f64; 3])> {
        match self {
            Rule::AdamW(config) => Some((true, [config.beta1, config.beta2, config.epsilon])),
            Rule::Adam(config) => Some((false, [config.beta1, config.beta2, config.epsilon])),
            Rule::Sgd(_) => None,
        }
    }
}

impl Rule {
    /// One fused call for weights with the same settings.
    fn step(&self, moving: &[Moving], learning_rate: f64, weight_decay: f64) -> Result<()> {
        let weights = moving.iter().map(|one| &one.weight).collect();
        let gradients = moving.iter().map(|one| &one.gradient).collect();
        let state = |n: usize| moving.iter().map(|one| &one.state[n]).collect::<Vec<_>>();
        if let Rule::Sgd(SgdConfig { momentum, nesterov, .. }) = *self {
            // Without momentum the kernel takes no buffers.
            let momenta = if momentum > 0.0 { state(0) } else { Vec::new() };
            let tensors = SgdTensors { weights, gradients, momenta };
            return fused_sgd(&tensors, SgdStep { learning_rate, momentum, nesterov, weight_decay });
        }
        let (decoupled, [beta1, beta2, epsilon]) = self.adam().unwrap_or_default();
        let steps = moving.iter().map(|one| &one.step).collect();
        let tensors = AdamTensors { weights, gradients, first: state(0), second: state(1), steps };
        fused_adam(&tensors, AdamStep { decoupled, learning_rate, beta1, beta2, weight_decay, epsilon })
    }
}

/// A weight to update, its gradient and its state; shallow clones, not copies.
struct Moving {
    weight: Tensor,
    gradient: Tensor,
    /// As [`Rule::names`] names it.
    state: Vec<Tensor>,
    /// Number of steps so far.
    step: Tensor,
}

/// Weights with the same settings.
#[derive(Clone, Debug, PartialEq)]
struct Group {
    learning_rate_factor: f64,
    weight_decay: f64,
    /// Indices of the weights in [`Params`].
    members: Vec<usize>,
}

/// The rule, the state of every weight, and the number of steps made.
#[derive(Debug)]
pub struct Optimizer {
    rule: Rule,
    groups: Vec<Group>,
    /// For each weight the tensors that [`Rule::names`] names.
    state: Vec<Vec<Tensor>>,
    step: Tensor,
}

impl Optimizer {
    /// Zero state for every weight of `params`.
    ///
    /// # Errors
    /// A group whose pattern matches no weight.
    pub fn new(config: &TrainingConfig, params: &Params) -> Result<Optimizer> {
        let rule = Rule::new(config);
        let zeros = |param: &Param| param.tensor.zeros_like().set_requires_grad(false);
        let state =
            params.iter().map(|param| rule.names().1.iter().map(|_| zeros(param)).collect()).collect();
        let groups = groups(config, params, rule.weight_decay())?;
        Ok(Optimizer { rule, groups, state, step: Tensor::zeros([], (Kind::Float, params.device())) })
    }

    /// Updates every weight that has a gradient, in parallel on all threads.
    pub fn step(&mut self, params: &Params, learning_rate: f64) -> Result<()> {
        let _guard = tch::no_grad_guard();
        self.step += 1.0;
        let mut parts = Vec::new();
        for group in &self.groups {
            let moving = |&at: &usize| {
                let gradient = params.at(at).tensor.grad();
                gradient.defined().then(|| self.moving(params.at(at), gradient, at))
            };
            // Empty if all of them are frozen, or in an update without rows; the fused kernels need at least one
            // tensor.
            let members = group.members.iter().filter_map(moving).collect();
            let members = partition_by_size(members, params.device(), |one: &Moving| &one.weight);
            parts.extend(members.into_iter().map(|weights| (weights, group)));
        }
        let step = |(weights, group): (Vec<Moving>, &Group)| {
            let _guard = tch::no_grad_guard();
            self.rule.step(&weights, learning_rate * group.learning_rate_factor, group.weight_decay)
        };
        threads::each(parts, step).into_iter().collect()
    }

    fn moving(&self, param: &Param, gradient: Tensor, at: usize) -> Moving {
        let state = self.state[at].iter().map(Tensor::shallow_clone).collect();
        Moving { weight: param.tensor.shallow_clone(), gradient, state, step: self.step.shallow_clone() }
    }

    /// The state by name, for a checkpoint; the tensors are shared, not copied.
    pub(crate) fn state(&self, params: &Params) -> Vec<(String, Tensor)> {
        let (prefix, names) = self.rule.names();
        let of_weight = |(param, tensors): (&Param, &Vec<Tensor>)| {
            let name = param.name.clone();
            let tensors: Vec<Tensor> = tensors.iter().map(Tensor::shallow_clone).collect();
            names.iter().zip(tensors).map(move |(part, tensor)| (format!("{prefix}/{part}/{name}"), tensor))
        };
        let all = params.iter().zip(&self.state).flat_map(of_weight);
        all.chain([(format!("{prefix}/step"), self.step.shallow_clone())]).collect()
    }

    /// Takes its state out of `saved`: the same names and shapes as in [`Optimizer::state`].
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub(crate) fn restore(&mut self, params: &Params, saved: &mut Vec<(String, Tensor)>) -> Result<()> {
        let _guard = tch::no_grad_guard();
        for (name, mut tensor) in self.state(params) {
            tensor.f_copy_(&take(saved, &name, &tensor)?)?;
        }
        Ok(())
    }
}

/// Takes the tensor `name` out of `saved`; shape and dtype must be those of `like`.
///
/// # Errors
/// The tensor is missing or has another shape.
pub(crate) fn take(saved: &mut Vec<(String, Tensor)>, name: &str, like: &Tensor) -> Result<Tensor> {
    let at = saved.iter().position(|(other, _)| other == name);
    let Some(at) = at else {
        return Err(Error::failure(format!("the saved training state lacks `{name}`")));
    };
    let (_, found) = saved.swap_remove(at);
    if found.size() != like.size() || found.kind() != like.kind() {
        let (found, wanted) = (found.size(), like.size());
        let message = format!("the saved `{name}` must have shape {wanted:?}, but it has {found:?}");
        return Err(Error::failure(message));
    }
    Ok(found)
}

/// Groups the weights by the settings of the first of `training.groups` that matches, and by weight decay.
fn groups(config: &TrainingConfig, params: &Params, decay: f64) -> Result<Vec<Group>> {
    for (n, group) in config.groups.iter().enumerate() {
        matching(params, &group.weights, &format!("training.groups[{n}].weights"))?;
    }
    let mut groups: Vec<Group> = Vec::new();
    for (at, param) in params.iter().enumerate() {
        let named = config.groups.iter().find(|group| WildMatch::new(&group.weights).matches(&param.name));
        let weight_decay = named.and_then(|group| group.weight_decay);
        let weight_decay = weight_decay.unwrap_or(if param.weight_decay { decay } else { 0.0 });
        let learning_rate_factor = named.map_or(1.0, |group| group.learning_rate_factor);
        let alike = groups.iter_mut().find(|group| {
            group.weight_decay == weight_decay && group.learning_rate_factor == learning_rate_factor
        });
        match alike {
            Some(group) => group.members.push(at),
            None => groups.push(Group { learning_rate_factor, weight_decay, members: vec![at] }),
        }
    }
    Ok(groups)
}

/// Freezes the weights that `training.freeze` matches: they get no gradient.
///
/// # Errors
/// A pattern matches no weight; no weight is left to train.
pub(crate) fn freeze(config: &TrainingConfig, params: &Params) -> Result<()> {
    for pattern in &config.freeze {
        for param in matching(params, pattern, "training.freeze")? {
            let _ = param.tensor.set_requires_grad(false);
        }
    }
    let moves = |name: &str| !config.freeze.iter().any(|pattern| WildMatch::new(pattern).matches(name));
    match params.iter().any(|param| moves(&param.name)) {
        true => Ok(()),
        false => {
            Err(Error::input("`training.freeze` must leave at least one weight to train, but it matches all"))
        }
    }
}

/// The weights whose name matches a pattern, in which `*` matches any text.
///
/// # Errors
/// No name matches; `key` is the pattern's key in the config.
fn matching<'p>(params: &'p Params, pattern: &str, key: &str) -> Result<Vec<&'p Param>> {
    let wild = WildMatch::new(pattern);
    let found: Vec<&Param> = params.iter().filter(|param| wild.matches(&param.name)).collect();
    if found.is_empty() {
        let example = params.iter().next().map_or("", |param| param.name.as_str());
        let message = format!("`{key}` must match the name of a weight, but `{pattern}` matches none");
        let hint =
            format!("a name looks like `{example}`; `seqloom inspect RUN --tensors` lists those of a run");
        return Err(Error::input(message).hint(hint));
    }
    Ok(found)
}

/// Scales the gradients down to the global norm `limit` (0: never); returns their norm before that.
pub fn clip_gradients(params: &Params, limit: f64) -> f64 {
    let _guard = tch::no_grad_guard();
    let gradients: Vec<Tensor> =
        params.iter().map(|param| param.tensor.grad()).filter(Tensor::defined).collect();
    if gradients.is_empty() {
        return 0.0;
    }
    let parts = || {
        let copies = gradients.iter().map(Tensor::shallow_clone).collect();
        partition_by_size(copies, params.device(), |gradient| gradient)
    };
    let norms = threads::each(parts(), |part: Vec<Tensor>| norms(&part.iter().collect::<Vec<_>>()));
    let norm = Tensor::cat(&norms, 0).norm().double_value(&[]);
    if limit > 0.0 && norm > limit && norm.is_finite() {
        threads::each(parts(), |part| scale(&part.iter().collect::<Vec<_>>(), limit / norm));
    }
    norm
}
