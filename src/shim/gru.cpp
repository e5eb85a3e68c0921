// The gated recurrent unit (Cho et al. 2014, in the form of cuDNN and PyTorch), on the CPU in f32: one step of rows for
// decoding, and differentiable whole sequences for training.
//
//   r = sigmoid(input_r + hidden_r), z = sigmoid(input_z + hidden_z), n = tanh(input_n + r * hidden_n)
//   state' = n + z * (state - n)
//
// `input` and `hidden` are the outputs of linear layers for the step's input and the state: the gates r, z and n,
// concatenated. Each result depends on its own inputs alone, not on its position.
#include "instructions.h"
#include "sigmoid.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The inputs of a step of a row, and what is kept for the gradient: r, z and n; or null.
struct Row {
  const float *input, *hidden, *state;
  float *out, *gates;
};

struct Step {
  template <int LANES>
  INLINE static void run(const Row& row, int64_t width) {
    const float *input = row.input, *hidden = row.hidden;
    for (int64_t i = 0; i < width; ++i) {
      const float r = seqloom::sigmoid(input[i] + hidden[i]);
      const float z = seqloom::sigmoid(input[width + i] + hidden[width + i]);
      const float n = seqloom::hyperbolic_tangent(input[2 * width + i] + r * hidden[2 * width + i]);
      row.out[i] = n + z * (row.state[i] - n);
      if (row.gates) {
        row.gates[i] = r;
        row.gates[width + i] = z;
        row.gates[2 * width + i] = n;
      }
    }
  }
};

// The gradients of a row of a step: `of_input` and `of_hidden` of the gates before their activations; `of_state` is
// that of the next state and becomes that of the previous one.
struct RowBack {
  const float *gates, *hidden, *state;
  float *of_input, *of_hidden, *of_state;
};

struct StepBack {
  template <int LANES>
  INLINE static void run(const RowBack& row, int64_t width) {
    for (int64_t i = 0; i < width; ++i) {
      const float r = row.gates[i], z = row.gates[width + i], n = row.gates[2 * width + i], gradient = row.of_state[i];
      const float of_n = gradient * (1.0f - z) * (1.0f - n * n);
      const float of_z = gradient * (row.state[i] - n) * z * (1.0f - z);
      const float of_r = of_n * row.hidden[2 * width + i] * r * (1.0f - r);
      row.of_input[i] = row.of_hidden[i] = of_r;
      row.of_input[width + i] = row.of_hidden[width + i] = of_z;
      row.of_input[2 * width + i] = of_n;
      row.of_hidden[2 * width + i] = of_n * r;
      row.of_state[i] = gradient * z;
    }
  }
};

// input, hidden: (R, 3 H); state, out: (R, H); gates: (R, 3 H) or undefined. Rows of `input` may be strided.
void step(const Tensor& input, const Tensor& hidden, const Tensor& state, const Tensor& out, const Tensor& gates) {
  const int64_t width = state.size(1), apart = input.stride(0);
  const float *from = input.const_data_ptr<float>(), *of_state = hidden.const_data_ptr<float>();
  const float* before = state.const_data_ptr<float>();
  float *to = out.data_ptr<float>(), *keep = gates.defined() ? gates.data_ptr<float>() : nullptr;
  const int lanes = seqloom::lanes();
  seqloom::parallel_for(0, state.size(0), seqloom::grain(3 * seqloom::EXPONENTIAL * width), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t three = 3 * width * r;
      const Row row{from + r * apart, of_state + three, before + r * width, to + r * width, keep ? keep + three : nullptr};
      seqloom::on<Step>(lanes, row, width);
    }
  });
}

void check(const Tensor& input, const Tensor& state, int64_t rows) {
  const auto is_f32 = [](const Tensor& tensor) { return tensor.is_cpu() && tensor.scalar_type() == at::kFloat; };
  TORCH_CHECK(is_f32(input) && is_f32(state) && state.dim() == 2, "a GRU needs f32 on the CPU");
  TORCH_CHECK(state.size(0) == rows && input.size(-1) == 3 * state.size(1) && input.stride(-1) == 1,
              "a GRU needs three gates for each number of its state");
}

// Whole sequences; without a gradient only the states are kept.
struct Sequence {
  // The states after each step, (T, B, H), and for the gradient the gates and their hidden part, (T, B, 3 H) each.
  Tensor states, gates, hidden;

  Sequence(const Tensor& input, const Tensor& first, const Tensor& weight, const Tensor& bias, bool keep) {
    const int64_t steps = input.size(0), rows = input.size(1), width = first.size(1);
    states = at::empty({steps, rows, width}, first.options());
    if (keep) gates = at::empty({steps, rows, 3 * width}, first.options()), hidden = at::empty_like(gates);
    const Tensor across = weight.t();
    Tensor state = first;
    for (int64_t t = 0; t < steps; ++t) {
      Tensor of_state = keep ? hidden[t] : at::empty({rows, 3 * width}, first.options());
      at::addmm_out(of_state, bias, state, across);
      step(input[t], of_state, state, states[t], keep ? gates[t] : Tensor());
      state = states[t];
    }
  }
};

struct Gru : torch::autograd::Function<Gru> {
  static Tensor forward(AutogradContext* context, const Tensor& input, const Tensor& first, const Tensor& weight,
                        const Tensor& bias) {
    const Sequence made(input, first, weight, bias, true);
    context->save_for_backward({first, weight, made.states, made.gates, made.hidden});
    return made.states;
  }

  // From the last step to the first; the weight's gradient is one product over all steps.
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &first = saved[0], &weight = saved[1], &states = saved[2], &gates = saved[3], &hidden = saved[4];
    const int64_t steps = states.size(0), rows = states.size(1), width = states.size(2);
    const Tensor gradient = gradients[0].contiguous();
    const Tensor of_input = at::empty_like(gates), of_hidden = at::empty_like(gates);
    Tensor of_state = at::zeros({rows, width}, first.options());
    const int lanes = seqloom::lanes();
    for (int64_t t = steps - 1; t >= 0; --t) {
      of_state.add_(gradient[t]);
      const Tensor before = (t > 0 ? states[t - 1] : first).contiguous();
      const auto at = [&](const Tensor& tensor) { return tensor.data_ptr<float>() + 3 * width * rows * t; };
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t three = 3 * width * r;
        const RowBack row{at(gates) + three,    at(hidden) + three,    before.const_data_ptr<float>() + width * r,
                          at(of_input) + three, at(of_hidden) + three, of_state.data_ptr<float>() + width * r};
        seqloom::on<StepBack>(lanes, row, width);
      }
      of_state.addmm_(of_hidden[t], weight);
    }
    variable_list out(4);
    out[0] = of_input;
    out[1] = of_state;
    const Tensor all = of_hidden.view({-1, 3 * width});
    if (context->needs_input_grad(2)) {
      out[2] = at::mm(of_hidden[0].t(), first);
      if (steps > 1) {
        const Tensor later = all.narrow(0, rows, (steps - 1) * rows), before = states.view({-1, width});
        out[2].addmm_(later.t(), before.narrow(0, 0, (steps - 1) * rows));
      }
    }
    if (context->needs_input_grad(3)) out[3] = all.sum(0);
    return out;
  }
};

}  // namespace

// input: (T, B, 3 H); first: (B, H); weight: (3 H, H); bias: (3 H); out: (T, B, H)
extern "C" int seqloom_gru(Tensor** out, const Tensor* input, const Tensor* first, const Tensor* weight,
                           const Tensor* bias) {
  return seqloom::guarded([&] {
    TORCH_CHECK(input->dim() == 3 && input->size(0) > 0 && input->is_contiguous(), "a GRU needs steps of rows");
    check(*input, *first, input->size(1));
    const Tensor state = first->contiguous();
    const bool learns = at::GradMode::is_enabled();
    *out = new Tensor(learns ? Gru::apply(*input, state, *weight, *bias)
                             : Sequence(*input, state, *weight, *bias, false).states);
  });
}

// input, hidden: (R, 3 H); state, out: (R, H). Not differentiable.
extern "C" int seqloom_gru_step(Tensor** out, const Tensor* input, const Tensor* hidden, const Tensor* state) {
  return seqloom::guarded([&] {
    TORCH_CHECK(input->dim() == 2 && hidden->sizes() == input->sizes(), "a step of a GRU needs rows");
    check(*input, *state, input->size(0));
    check(*hidden, *state, input->size(0));
    Tensor made = at::empty(state->sizes(), state->options());
    step(*input, hidden->contiguous(), state->contiguous(), made, Tensor());
    *out = new Tensor(std::move(made));
  });
}
