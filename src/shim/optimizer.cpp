// Operations over all tensors at once, by libtorch's fused kernels, on any device.
#include "shim.h"

#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/stack.h>

using seqloom::guarded;
using seqloom::list;

extern "C" {

// `decoupled`: weight decay as in AdamW; without it the decay is added to the gradient, as in Adam.
int seqloom_fused_adam(at::Tensor* const* weights, at::Tensor* const* gradients, at::Tensor* const* first,
                       at::Tensor* const* second, at::Tensor* const* steps, int64_t count, bool decoupled,
                       double learning_rate, double beta1, double beta2, double weight_decay, double epsilon) {
  return guarded([&] {
    const auto step = [&](auto kernel) {
      kernel(list(weights, count), list(gradients, count), list(first, count), list(second, count), {},
             list(steps, count), learning_rate, beta1, beta2, weight_decay, epsilon, /*amsgrad=*/false,
             /*maximize=*/false);
    };
    using Tensors = at::TensorList;
    if (decoupled) {
      step([](Tensors w, Tensors g, Tensors m, Tensors v, Tensors n, Tensors s, auto... rest) {
        at::_fused_adamw_(w, g, m, v, n, s, rest...);
      });
    } else {
      step([](Tensors w, Tensors g, Tensors m, Tensors v, Tensors n, Tensors s, auto... rest) {
        at::_fused_adam_(w, g, m, v, n, s, rest...);
      });
    }
  });
}

// The first step expects a momentum buffer of zeros; without momentum there are no buffers.
int seqloom_fused_sgd(at::Tensor* const* weights, at::Tensor* const* gradients, at::Tensor* const* momenta,
                      int64_t count, int64_t momentum_count, double learning_rate, double momentum, bool nesterov, double weight_decay) {
  return guarded([&] {
    at::_fused_sgd_(list(weights, count), list(gradients, count), list(momenta, momentum_count), weight_decay, momentum,
                    learning_rate, /*dampening=*/0.0, nesterov, /*maximize=*/false, /*is_first_step=*/false);
  });
}

// Without an existing gradient, the next backward pass stores its own instead of adding to zeros.
int seqloom_set_gradients(at::Tensor* const* tensors, at::Tensor* const* gradients, int64_t count) {
  return guarded([&] {
    for (int64_t i = 0; i < count; ++i) tensors[i]->mutable_grad() = gradients ? *gradients[i] : at::Tensor();
  });
}

// The norm of each tensor, on their device.
int seqloom_norms(at::Tensor** out, at::Tensor* const* tensors, int64_t count) {
  return guarded([&] { *out = new at::Tensor(at::stack(at::_foreach_norm(list(tensors, count), 2))); });
}

int seqloom_scale(at::Tensor* const* tensors, int64_t count, double factor) {
  return guarded([&] { at::_foreach_mul_(list(tensors, count), factor); });
}

// averages += share * (tensors - averages)
int seqloom_lerp(at::Tensor* const* averages, at::Tensor* const* tensors, int64_t count, double share) {
  return guarded([&] { at::_foreach_lerp_(list(averages, count), list(tensors, count), share); });
}

}  // extern "C"
