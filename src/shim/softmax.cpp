// The loops behind softmax.h.
#include "softmax.h"

#include <ATen/Parallel.h>

namespace seqloom {

// A row's largest logit, and their sum.
EVERY_X86 void largest_and_sum(const float* x, int64_t count, float* largest, double* sum) {
  float most[LANES], sums[LANES] = {};
  std::fill(most, most + LANES, -std::numeric_limits<float>::infinity());
  const int64_t even = count - count % LANES;
  for (int64_t i = 0; i < even; i += LANES) {
    for (int64_t lane = 0; lane < LANES; ++lane) {
      const float value = x[i + lane];
      most[lane] = most[lane] > value ? most[lane] : value;
      sums[lane] += value;
    }
  }
  for (int64_t i = even; i < count; ++i) {
    most[0] = std::max(most[0], x[i]);
    sums[0] += x[i];
  }
  *largest = *std::max_element(most, most + LANES);
  *sum = 0.0;
  for (const float part : sums) *sum += part;
}

namespace {

// The sum of exp(x - largest); with KEEP these take the place of x.
template <bool KEEP>
INLINE double sum_of(float* x, int64_t count, float largest) {
  float sums[LANES] = {};
  const int64_t even = count - count % LANES;
  for (int64_t i = 0; i < even; i += LANES) {
    for (int64_t lane = 0; lane < LANES; ++lane) {
      const float value = exponential(x[i + lane] - largest);
      if (KEEP) x[i + lane] = value;
      sums[lane] += value;
    }
  }
  for (int64_t i = even; i < count; ++i) {
    const float value = exponential(x[i] - largest);
    if (KEEP) x[i] = value;
    sums[0] += value;
  }
  double sum = 0.0;
  for (const float part : sums) sum += part;
  return sum;
}

EVERY_X86 double sum_of_exponentials(float* x, int64_t count, float largest) {
  return sum_of<false>(x, count, largest);
}

EVERY_X86 void subtract(float* x, int64_t count, float value) {
  for (int64_t i = 0; i < count; ++i) x[i] -= value;
}

}  // namespace

EVERY_X86 double exponentials(float* x, int64_t count, float largest) { return sum_of<true>(x, count, largest); }

void log_softmax_rows(float* x, int64_t rows, int64_t count) {
  at::parallel_for(0, rows, 8, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      float* logits = x + row * count;
      float largest;
      double total;
      largest_and_sum(logits, count, &largest, &total);
      subtract(logits, count, static_cast<float>(largest + std::log(sum_of_exponentials(logits, count, largest))));
    }
  });
}

}  // namespace seqloom
