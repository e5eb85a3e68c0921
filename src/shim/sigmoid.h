// The sigmoid and the hyperbolic tangent. Each result depends on its input alone, on every instruction set.
#pragma once

#include "softmax.h"

namespace seqloom {

// With e = exp(-|x|) it is 1 / (1 + e) from 0 on, and e / (1 + e) below.
INLINE float sigmoid(float x) {
  const float e = exponential(-std::fabs(x));
  return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

// Near zero the polynomial of Cephes' tanhf, since the quotient of exponentials would cancel in 1 - e.
INLINE float hyperbolic_tangent(float x) {
  const float size = std::fabs(x), square = x * x;
  float y = -5.70498872745e-3f;
  y = y * square + 2.06390887954e-2f;
  y = y * square - 5.37397155531e-2f;
  y = y * square + 1.33314422036e-1f;
  y = y * square - 3.33332819422e-1f;
  const float near = y * square * x + x;
  const float e = exponential(-2.0f * size);
  const float far = std::copysign((1.0f - e) / (1.0f + e), x);
  return size < 0.625f ? near : far;
}

}  // namespace seqloom
