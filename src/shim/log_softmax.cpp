// Rows of logits become log-probabilities, for decoding on the CPU: with fused multiply-adds wherever there are any, where the
// softmax of training keeps to what every instruction set has.
#include "instructions.h"
#include "softmax.h"

#include <ATen/Parallel.h>

namespace {

using seqloom::LANES;

INLINE float largest_of(const float* x, int64_t count) {
  float most[LANES];
  std::fill(most, most + LANES, -std::numeric_limits<float>::infinity());
  const int64_t even = count - count % LANES;
  for (int64_t i = 0; i < even; i += LANES) {
    for (int64_t lane = 0; lane < LANES; ++lane) most[lane] = most[lane] > x[i + lane] ? most[lane] : x[i + lane];
  }
  for (int64_t i = even; i < count; ++i) most[0] = std::max(most[0], x[i]);
  return *std::max_element(most, most + LANES);
}

INLINE void log_softmax(float* x, int64_t count) {
  const float largest = largest_of(x, count);
  const double sum = seqloom::sum_of_exponentials<false>(x, count, largest);
  const auto shift = static_cast<float>(largest + std::log(sum));
  for (int64_t i = 0; i < count; ++i) x[i] -= shift;
}

#define LOG_SOFTMAX(name, attributes) \
  attributes void name(float* x, int64_t count) { log_softmax(x, count); }
LOG_SOFTMAX(log_softmax_anywhere, )
#ifdef SEQLOOM_X86
LOG_SOFTMAX(log_softmax_512, __attribute__((target("avx512f,avx512bw,fma"))))
LOG_SOFTMAX(log_softmax_256, __attribute__((target("avx2,fma"))))
#endif

// The one for this machine.
auto log_softmax_here() -> void (*)(float*, int64_t) {
#ifdef SEQLOOM_X86
  switch (seqloom::widest()) {
    case 16: return log_softmax_512;
    case 8: return log_softmax_256;
  }
#endif
  return log_softmax_anywhere;
}

}  // namespace

void seqloom::log_softmax_rows(float* x, int64_t rows, int64_t count) {
  static const auto log_softmax = log_softmax_here();
  at::parallel_for(0, rows, 8, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) log_softmax(x + row * count, count);
  });
}
