// The memory layout of packed weights, and of inputs for 8-bit products.
//
// Weights are packed in panels of a few vectors of outputs, input by input, so that a panel is read sequentially.
//   f32: as they are.
//   bf16: half the memory, rounded; they become f32 again in a register, by a shift, so inputs and sums stay f32.
//   int8: a scale for each output; each row of inputs is rounded to 8 bits by its own largest number, and sums are exact.
#pragma once

#include "shim.h"

namespace seqloom {

enum Kind : int { F32 = 0, BF16 = 1, INT8 = 2 };

// Inputs of int8 per instruction, which multiplies and sums four products.
constexpr int64_t QUAD = 4;
// That instruction takes inputs from 0 to 255; this offset is subtracted from the sums again.
constexpr int32_t ZERO_POINT = 128;

// Vectors per panel, and rows per tile. Of 32 registers 24 hold sums, six rows by four vectors, which need fewer loads
// per product than fourteen rows by two; of 16 registers ten do, since with twelve GCC spills two of them.
constexpr int vectors(int lanes) { return lanes == 16 ? 4 : 2; }
constexpr int most_rows(int lanes) { return lanes == 16 ? 6 : 5; }

struct PackedWeights {
  int kind, lanes;
  int64_t outputs, inputs;
  // The panels; the last one is padded with zeros.
  at::Tensor weights;
  // One per output of all panels.
  std::vector<float> bias, scales;
  // The contribution of ZERO_POINT to the sums; empty for signed inputs.
  std::vector<int32_t> offsets;

  int64_t panel() const { return vectors(lanes) * lanes; }
  int64_t panels() const { return (outputs + panel() - 1) / panel(); }
  // Whether inputs are signed, for products with AVX2.
  bool signed_inputs() const { return kind == INT8 && lanes == 8; }
  // Number of inputs, padded to quads for int8.
  int64_t depth() const { return kind == INT8 ? (inputs + QUAD - 1) / QUAD * QUAD : inputs; }
};

// A row rounded to 8 bits, plus ZERO_POINT; returns the value of one unit, which is not finite if the row has such a
// number.
float quantize(const float* x, int64_t count, uint8_t* out);

}  // namespace seqloom
