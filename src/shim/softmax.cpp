// The loops behind softmax.h.
#include "softmax.h"

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

EVERY_X86 double exponentials(float* x, int64_t count, float largest) {
  return sum_of_exponentials<true>(x, count, largest);
}

}  // namespace seqloom
