// Rows of logits become log-probabilities, for decoding on the CPU: with fused multiply-adds wherever there are any, where the
// softmax of training keeps to what every instruction set has.
#include "instructions.h"
#include "softmax.h"

#include <ATen/Parallel.h>

namespace {

INLINE void log_softmax(float* x, int64_t count) {
  float largest;
  double total;
  seqloom::largest_and_sum(x, count, &largest, &total);
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

}  // namespace

void seqloom::log_softmax_rows(float* x, int64_t rows, int64_t count) {
  static const auto log_softmax = FOR_THIS_MACHINE(log_softmax);
  at::parallel_for(0, rows, 8, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) log_softmax(x + row * count, count);
  });
}
