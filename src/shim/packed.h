// How weights stand in memory for products, and inputs for those of 8 bits.
//
// Weights are packed in panels of a few vectors of outputs: input by input, so that a panel is read from front to back.
//   f32   as they are
//   bf16  half the memory, rounded; they become f32 again in a register, by a shift, so inputs and sums stay f32
//   int8  a scale for each output; each row of inputs is rounded to 8 bits by its own largest number, and sums are exact
#pragma once

#include "shim.h"

namespace seqloom {

enum Kind : int { F32 = 0, BF16 = 1, INT8 = 2 };

// Inputs of int8 that one instruction multiplies with four weights and adds up.
constexpr int64_t QUAD = 4;
// Inputs are 0 to 255 to that instruction; this much is taken away from the sums again.
constexpr int32_t MIDDLE = 128;

// Vectors of a panel, and rows that it meets at once. Of 32 registers 24 hold sums, six rows by four vectors, which want fewer
// loads for each product than fourteen rows by two; of 16 registers ten do, for with twelve GCC keeps two of them in memory.
constexpr int vectors(int lanes) { return lanes == 16 ? 4 : 2; }
constexpr int most_rows(int lanes) { return lanes == 16 ? 6 : 5; }

struct Packed {
  int kind, lanes;
  int64_t outputs, inputs;
  // Panels, one after the other; the last one is filled up with zeros.
  at::Tensor weights;
  // For each output of all panels.
  std::vector<float> bias, scales;
  // What MIDDLE adds to the sums; nothing where inputs keep their sign.
  std::vector<int32_t> offsets;

  int64_t panel() const { return vectors(lanes) * lanes; }
  int64_t panels() const { return (outputs + panel() - 1) / panel(); }
  // Whether inputs keep their sign, for products by AVX2.
  bool centred() const { return kind == INT8 && lanes == 8; }
  // Inputs that take part: of int8 whole quads.
  int64_t depth() const { return kind == INT8 ? (inputs + QUAD - 1) / QUAD * QUAD : inputs; }
};

// A row as 8 bits around MIDDLE; what one of them is worth, which is no finite number where one of the row is none.
float quantised(const float* x, int64_t count, uint8_t* out);

}  // namespace seqloom
