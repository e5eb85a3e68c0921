// Activations for decoding on the CPU. Each result depends on its own input alone, not on its position.
//
// GELU computes the normal distribution with Hastings' erf (Abramowitz and Stegun 1964, 7.1.26), whose error is 1.5e-7.
#include "instructions.h"
#include "sigmoid.h"

#include <ATen/ops/empty.h>

namespace {

struct Silu {
  template <int LANES>
  INLINE static void run(const float* x, int64_t count, float* out) {
    for (int64_t i = 0; i < count; ++i) out[i] = x[i] * seqloom::sigmoid(x[i]);
  }
};

struct Gelu {
  template <int LANES>
  INLINE static void run(const float* x, int64_t count, float* out) {
    for (int64_t i = 0; i < count; ++i) {
      const float t = 1.0f / (1.0f + 0.3275911f * 0.70710678118654752f * std::fabs(x[i]));
      float y = 1.061405429f;
      y = y * t - 1.453152027f;
      y = y * t + 1.421413741f;
      y = y * t - 0.284496736f;
      y = y * t + 0.254829592f;
      // The tail of the distribution beyond |x|.
      const float beyond = 0.5f * y * t * seqloom::exponential(-0.5f * x[i] * x[i]);
      out[i] = x[i] * (x[i] < 0.0f ? beyond : 1.0f - beyond);
    }
  }
};

struct Tanh {
  template <int LANES>
  INLINE static void run(const float* x, int64_t count, float* out) {
    for (int64_t i = 0; i < count; ++i) out[i] = seqloom::hyperbolic_tangent(x[i]);
  }
};

template <typename Activation>
at::Tensor each(const at::Tensor& input) {
  TORCH_CHECK(input.is_cpu() && input.scalar_type() == at::kFloat, "an activation needs f32 on the CPU");
  const at::Tensor x = input.contiguous();
  at::Tensor out = at::empty(x.sizes(), x.options());
  const float* from = x.const_data_ptr<float>();
  float* to = out.data_ptr<float>();
  const int lanes = seqloom::lanes();
  seqloom::parallel_for(0, x.numel(), seqloom::grain(seqloom::EXPONENTIAL), [&](int64_t begin, int64_t end) {
    seqloom::on<Activation>(lanes, from + begin, end - begin, to + begin);
  });
  return out;
}

}  // namespace

extern "C" int seqloom_silu(at::Tensor** out, const at::Tensor* x) {
  return seqloom::guarded([&] { *out = new at::Tensor(each<Silu>(*x)); });
}

extern "C" int seqloom_gelu(at::Tensor** out, const at::Tensor* x) {
  return seqloom::guarded([&] { *out = new at::Tensor(each<Gelu>(*x)); });
}

extern "C" int seqloom_tanh(at::Tensor** out, const at::Tensor* x) {
  return seqloom::guarded([&] { *out = new at::Tensor(each<Tanh>(*x)); });
}
