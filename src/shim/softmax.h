// The parts of softmax on the CPU: exponentials and sums, in the same order on every instruction set.
#pragma once

#include "shim.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace seqloom {

// Parallel partial sums: the same additions in the same order on every instruction set.
constexpr int64_t PARTS = 16;

// The cost of an exponential, in multiplications.
constexpr int64_t EXPONENTIAL = 16;

// e^x for x <= 0 to 2 units in the last place (the polynomial of Cephes' expf). NaN stays NaN.
INLINE float exponential(float x) {
  x = x < -87.0f ? -87.0f : x;
  // Adding a number this large rounds to the nearest integer, on any machine.
  constexpr float LARGE = 0x1.8p23f;
  const float whole = (x * 1.44269504088896341f + LARGE) - LARGE;
  float rest = x - whole * 0.693359375f;
  rest = rest - whole * -2.12194440e-4f;
  float y = 1.9875691500e-4f;
  y = y * rest + 1.3981999507e-3f;
  y = y * rest + 8.3334519073e-3f;
  y = y * rest + 4.1665795894e-2f;
  y = y * rest + 1.6666665459e-1f;
  y = y * rest + 5.0000001201e-1f;
  y = y * (rest * rest) + rest + 1.0f;
  // 2^whole. The low bits of a number from 2^23 on are the integer itself, so no conversion is needed, which would be
  // undefined for NaN.
  const float shifted = whole + (0x1p23f + 127.0f);
  uint32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits <<= 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return y * power;
}

// The sum of exp(x - largest); with KEEP the exponentials replace x.
template <bool KEEP>
INLINE double sum_of_exponentials(float* x, int64_t count, float largest) {
  float sums[PARTS] = {};
  const int64_t even = count - count % PARTS;
  for (int64_t i = 0; i < even; i += PARTS) {
    for (int64_t part = 0; part < PARTS; ++part) {
      const float value = exponential(x[i + part] - largest);
      if (KEEP) x[i + part] = value;
      sums[part] += value;
    }
  }
  for (int64_t i = even; i < count; ++i) {
    const float value = exponential(x[i] - largest);
    if (KEEP) x[i] = value;
    sums[0] += value;
  }
  double sum = 0.0;
  for (const float each : sums) sum += each;
  return sum;
}

// A row's largest logit, and their sum.
INLINE void largest_and_sum(const float* x, int64_t count, float* largest, double* sum) {
  float most[PARTS], sums[PARTS] = {};
  std::fill(most, most + PARTS, -std::numeric_limits<float>::infinity());
  const int64_t even = count - count % PARTS;
  for (int64_t i = 0; i < even; i += PARTS) {
    for (int64_t part = 0; part < PARTS; ++part) {
      const float value = x[i + part];
      most[part] = most[part] > value ? most[part] : value;
      sums[part] += value;
    }
  }
  for (int64_t i = even; i < count; ++i) {
    most[0] = std::max(most[0], x[i]);
    sums[0] += x[i];
  }
  *largest = *std::max_element(most, most + PARTS);
  *sum = 0.0;
  for (const float each : sums) *sum += each;
}

// The log-softmax of rows of logits, in place, on all threads.
void log_softmax_rows(float* x, int64_t rows, int64_t count);

}  // namespace seqloom
