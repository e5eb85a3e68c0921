// What tch does not bind, and the one kernel that libtorch lacks. src/shim.rs is the Rust side and says what each does.
#include <ATen/Parallel.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/headeronly/version.h>

#include <dlfcn.h>
#if __has_include(<malloc.h>)
#include <malloc.h>
#endif

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace {

thread_local std::string last_error;

// Runs `work`; an exception becomes 1 and a text that seqloom_last_error() hands out.
template <typename Work>
int guarded(Work work) {
  try {
    work();
    return 0;
  } catch (const std::exception& error) {
    last_error = error.what();
  }
  return 1;
}

// A full-period mix of 32 bits (lowbias32 of Chris Wellons' hash-prospector).
inline uint32_t mix(uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352dU;
  x ^= x >> 15;
  x *= 0x846ca68bU;
  return x ^ (x >> 16);
}

// One body for every instruction set: integer mixing and one multiplication vectorise without further help.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define EVERY_X86 __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define EVERY_X86
#endif

// out[i] = x[i] * scale where a random number of 32 bits, made of (seed, i), is at least `threshold`, else 0.
EVERY_X86 void drop(float* out, const float* x, int64_t begin, int64_t end, uint32_t threshold, float scale,
                    uint32_t seed_low, uint32_t seed_high) {
  for (int64_t i = begin; i < end; ++i) {
    const uint32_t random = mix(mix(static_cast<uint32_t>(i) ^ seed_low) + seed_high);
    out[i] = random >= threshold ? x[i] * scale : 0.0f;
  }
}

// The same plus a residual that is not dropped.
EVERY_X86 void drop_and_add(float* out, const float* x, const float* residual, int64_t begin, int64_t end,
                            uint32_t threshold, float scale, uint32_t seed_low, uint32_t seed_high) {
  for (int64_t i = begin; i < end; ++i) {
    const uint32_t random = mix(mix(static_cast<uint32_t>(i) ^ seed_low) + seed_high);
    out[i] = residual[i] + (random >= threshold ? x[i] * scale : 0.0f);
  }
}

at::Tensor dropped(const at::Tensor& input, const at::Tensor* residual, double p, uint64_t seed) {
  TORCH_CHECK(input.scalar_type() == at::kFloat, "dropout wants 32-bit floats");
  TORCH_CHECK(input.numel() <= std::numeric_limits<uint32_t>::max(), "dropout wants fewer than 2^32 elements");
  const at::Tensor x = input.contiguous();
  const at::Tensor base = residual ? residual->contiguous() : at::Tensor();
  at::Tensor out = at::empty_like(x, at::MemoryFormat::Contiguous);
  const float* from = x.const_data_ptr<float>();
  const float* add = residual ? base.const_data_ptr<float>() : nullptr;
  float* to = out.data_ptr<float>();
  const auto threshold = static_cast<uint32_t>(p * 4294967296.0);
  const auto scale = static_cast<float>(1.0 / (1.0 - p));
  const auto low = static_cast<uint32_t>(seed), high = static_cast<uint32_t>(seed >> 32);
  at::parallel_for(0, x.numel(), 1 << 14, [&](int64_t begin, int64_t end) {
    if (add) {
      drop_and_add(to, from, add, begin, end, threshold, scale, low, high);
    } else {
      drop(to, from, begin, end, threshold, scale, low, high);
    }
  });
  return out;
}

// Dropout is linear, so its gradient is the same dropout of the gradient: the seed is all that is kept.
struct Dropout : torch::autograd::Function<Dropout> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const std::optional<at::Tensor>& residual, double p, int64_t seed) {
    context->saved_data["p"] = p;
    context->saved_data["seed"] = seed;
    context->saved_data["residual"] = residual.has_value();
    return dropped(x, residual ? &*residual : nullptr, p, static_cast<uint64_t>(seed));
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const double p = context->saved_data["p"].toDouble();
    const auto seed = static_cast<uint64_t>(context->saved_data["seed"].toInt());
    const at::Tensor residual = context->saved_data["residual"].toBool() ? gradients[0] : at::Tensor();
    return {dropped(gradients[0], nullptr, p, seed), residual, at::Tensor(), at::Tensor()};
  }
};

std::vector<at::Tensor> list(at::Tensor* const* tensors, int64_t count) {
  std::vector<at::Tensor> out;
  out.reserve(count);
  for (int64_t i = 0; i < count; ++i) out.push_back(*tensors[i]);
  return out;
}

}  // namespace

extern "C" {

const char* seqloom_libtorch_version() { return TORCH_VERSION; }

const char* seqloom_last_error() { return last_error.c_str(); }

int seqloom_load(const char* library) {
  if (dlopen(library, RTLD_NOW | RTLD_GLOBAL)) return 0;
  const char* reason = dlerror();
  last_error = reason ? reason : "no reason given";
  return 1;
}

void seqloom_keep_pages() {
#if defined(__GLIBC__)
  // No block of its own per large tensor, and nothing handed back at the top: each step meets the pages of the last one.
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_TOP_PAD, 64 << 20);
#endif
}

int seqloom_clear_gradients(at::Tensor* const* tensors, int64_t count) {
  return guarded([&] {
    for (int64_t i = 0; i < count; ++i) tensors[i]->mutable_grad() = at::Tensor();
  });
}

int seqloom_dropout(at::Tensor** out, const at::Tensor* x, const at::Tensor* residual, double p, uint64_t seed) {
  return guarded([&] {
    const auto base = residual ? std::optional<at::Tensor>(*residual) : std::nullopt;
    *out = new at::Tensor(Dropout::apply(*x, base, p, static_cast<int64_t>(seed)));
  });
}

int seqloom_fused_adamw(at::Tensor* const* weights, at::Tensor* const* gradients, at::Tensor* const* first,
                        at::Tensor* const* second, at::Tensor* const* steps, int64_t count, double learning_rate,
                        double beta1, double beta2, double weight_decay, double epsilon) {
  return guarded([&] {
    at::_fused_adamw_(list(weights, count), list(gradients, count), list(first, count), list(second, count), {},
                      list(steps, count), learning_rate, beta1, beta2, weight_decay, epsilon, /*amsgrad=*/false,
                      /*maximize=*/false);
  });
}

}  // extern "C"
