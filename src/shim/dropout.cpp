// Dropout with a mask that is a function of (seed, index), on all threads, with the residual added in the same pass.
#include "dropout_mask.h"
#include "instructions.h"

#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>

namespace {

using seqloom::BLOCK, seqloom::DropoutMask;

inline float to_float(float x) { return x; }
inline float to_float(c10::BFloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.x) << 16;
  float out;
  std::memcpy(&out, &bits, sizeof out);
  return out;
}

using Half = c10::BFloat16;

// out = x * factor, + residual if there is one, for the blocks from `begin` to `end`. A dropped NaN is 0 * NaN, so it
// is not hidden.
struct Drop {
  template <int LANES, typename Out, typename In>
  INLINE static void run(Out* out, const In* x, const float* residual, int64_t count, int64_t begin, int64_t end,
                         DropoutMask draw) {
    float factor[BLOCK];
    for (int64_t block = begin; block < end; ++block) {
      draw.factors(block, factor);
      const int64_t at = block * BLOCK, length = std::min(BLOCK, count - at);
      if (residual) {
        for (int64_t i = 0; i < length; ++i) out[at + i] = Out(residual[at + i] + to_float(x[at + i]) * factor[i]);
      } else {
        for (int64_t i = 0; i < length; ++i) out[at + i] = Out(to_float(x[at + i]) * factor[i]);
      }
    }
  }
};

// The result has the residual's type, or without one that of x.
at::Tensor dropped(const at::Tensor& input, const at::Tensor* residual, double p, uint64_t seed) {
  const bool half = input.scalar_type() == at::kBFloat16;
  TORCH_CHECK(input.is_cpu() && (half || input.scalar_type() == at::kFloat), "dropout needs f32 or bf16 on the CPU");
  TORCH_CHECK(!residual || (residual->is_cpu() && residual->scalar_type() == at::kFloat &&
                            residual->sizes() == input.sizes()),
              "dropout needs a residual of f32, of the same shape");
  TORCH_CHECK(input.numel() <= std::numeric_limits<uint32_t>::max(), "dropout needs fewer than 2^32 elements");
  const at::Tensor x = input.contiguous();
  const at::Tensor base = residual ? residual->contiguous() : at::Tensor();
  at::Tensor out = at::empty(x.sizes(), residual ? base.options() : x.options());
  const DropoutMask draw(p, seed);
  const float* add = residual ? base.const_data_ptr<float>() : nullptr;
  const int64_t count = x.numel(), blocks = (count + BLOCK - 1) / BLOCK;
  const int lanes = seqloom::lanes();
  seqloom::parallel_for(0, blocks, 256, [&](int64_t begin, int64_t end) {
    const auto drop = [&](auto* to, const auto* from) {
      seqloom::on<Drop>(lanes, to, from, add, count, begin, end, draw);
    };
    if (half && residual) {
      drop(out.data_ptr<float>(), x.const_data_ptr<Half>());
    } else if (half) {
      drop(out.data_ptr<Half>(), x.const_data_ptr<Half>());
    } else {
      drop(out.data_ptr<float>(), x.const_data_ptr<float>());
    }
  });
  return out;
}

// Dropout is linear, so its gradient is the same dropout of the gradient: only the seed is kept.
struct Dropout : torch::autograd::Function<Dropout> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const std::optional<at::Tensor>& residual, double p, int64_t seed) {
    context->saved_data["p"] = p;
    context->saved_data["seed"] = seed;
    context->saved_data["residual"] = residual.has_value();
    context->saved_data["type"] = static_cast<int64_t>(x.scalar_type());
    return dropped(x, residual ? &*residual : nullptr, p, static_cast<uint64_t>(seed));
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const double p = context->saved_data["p"].toDouble();
    const auto seed = static_cast<uint64_t>(context->saved_data["seed"].toInt());
    const auto type = static_cast<at::ScalarType>(context->saved_data["type"].toInt());
    const at::Tensor residual = context->saved_data["residual"].toBool() ? gradients[0] : at::Tensor();
    return {dropped(gradients[0].to(type), nullptr, p, seed), residual, at::Tensor(), at::Tensor()};
  }
};

}  // namespace

extern "C" int seqloom_dropout(at::Tensor** out, const at::Tensor* x, const at::Tensor* residual, double p,
                               uint64_t seed) {
  return seqloom::guarded([&] {
    const auto base = residual ? std::optional<at::Tensor>(*residual) : std::nullopt;
    *out = new at::Tensor(Dropout::apply(*x, base, p, static_cast<int64_t>(seed)));
  });
}
