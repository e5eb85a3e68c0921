// Log-softmax of rows of logits, for decoding on the CPU: with fused multiply-adds if available, while the softmax of
// training uses only operations that every instruction set has.
#include "instructions.h"
#include "softmax.h"

namespace {

struct LogSoftmax {
  template <int LANES>
  INLINE static void run(float* x, int64_t count) {
    float largest;
    double total;
    seqloom::largest_and_sum(x, count, &largest, &total);
    const double sum = seqloom::sum_of_exponentials<false>(x, count, largest);
    const auto shift = static_cast<float>(largest + std::log(sum));
    for (int64_t i = 0; i < count; ++i) x[i] -= shift;
  }
};

}  // namespace

void seqloom::log_softmax_rows(float* x, int64_t rows, int64_t count) {
  const int lanes = seqloom::lanes();
  seqloom::parallel_for(0, rows, seqloom::grain(seqloom::EXPONENTIAL * count), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) seqloom::on<LogSoftmax>(lanes, x + row * count, count);
  });
}

extern "C" int seqloom_log_softmax(float* x, int64_t count) {
  return seqloom::guarded([&] { seqloom::log_softmax_rows(x, 1, count); });
}
