// Products of matrices with a few dozen rows and columns, as in each head of attention, without packing, with the sums
// in registers.
//
// Each result is one chain of multiply-adds, in the order of the inner index, for any shape: so AVX2 and AVX-512 are
// bit-identical.
#pragma once

#include "instructions.h"

#include <algorithm>

namespace seqloom {

template <int LANES>
struct Floats {
  typedef float Type __attribute__((vector_size(LANES * 4)));
  typedef int32_t Places __attribute__((vector_size(LANES * 4)));
};
template <>
struct Floats<1> {
  typedef float Type;
};

// The left factor, with rows `stride` numbers apart.
struct RowMajor {
  const float* at;
  int64_t stride;

  INLINE const float* from(int64_t row, int64_t n) const { return at + row * stride + n; }
  INLINE int64_t to_next_row() const { return stride; }
  INLINE int64_t to_next() const { return 1; }
};

// The same, with columns `stride` numbers apart.
struct Transposed {
  const float* at;
  int64_t stride;

  INLINE const float* from(int64_t row, int64_t n) const { return at + n * stride + row; }
  INLINE int64_t to_next_row() const { return 1; }
  INLINE int64_t to_next() const { return stride; }
};

// Skips the zero triangle of the left factor.
enum class Nonzero { EVERYWHERE, UP_TO_ROW, FROM_ROW };

// out = left right: (rows, columns) = (rows, inner) (inner, columns). Strides are between rows.
template <typename Left>
struct Factors {
  Left left;
  const float* right;
  int64_t right_stride;
  float* out;
  int64_t out_stride, rows, inner, columns;
  Nonzero nonzero;
};

// ROWS rows of VECTORS vectors, from a row and a column on.
template <int WIDTH, int ROWS, int VECTORS, typename Left>
INLINE void tile(const Factors<Left>& of, int64_t row, int64_t column) {
  typedef typename Floats<WIDTH>::Type Vector;
  const int64_t begin = of.nonzero == Nonzero::FROM_ROW ? std::min(row, of.inner) : 0;
  const int64_t end = of.nonzero == Nonzero::UP_TO_ROW ? std::min(row + ROWS, of.inner) : of.inner;
  const float *left = of.left.from(row, begin), *right = of.right + begin * of.right_stride + column;
  const int64_t next_row = of.left.to_next_row(), next = of.left.to_next(), right_stride = of.right_stride;
  Vector sums[ROWS][VECTORS] = {};
  for (int64_t n = begin; n < end; ++n, left += next, right += right_stride) {
    Vector values[VECTORS];
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; ++v) values[v] = load<Vector>(right + v * WIDTH);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) {
      const float factor = left[r * next_row];
#pragma GCC unroll 2
      for (int v = 0; v < VECTORS; ++v) sums[r][v] += factor * values[v];
    }
  }
  float* out = of.out + row * of.out_stride + column;
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; ++v) store(out + r * of.out_stride + v * WIDTH, sums[r][v]);
  }
}

// The last rows, fewer than those of a full tile.
template <int WIDTH, int ROWS, int VECTORS, typename Left>
INLINE void rest(const Factors<Left>& of, int64_t row, int64_t column) {
  if (of.rows - row == ROWS) return tile<WIDTH, ROWS, VECTORS>(of, row, column);
  if constexpr (ROWS > 1) rest<WIDTH, ROWS - 1, VECTORS>(of, row, column);
}

// All rows of VECTORS vectors, from a column on.
template <int WIDTH, int ROWS, int VECTORS, typename Left>
INLINE void strip(const Factors<Left>& of, int64_t column) {
  int64_t row = 0;
  for (; row + ROWS <= of.rows; row += ROWS) tile<WIDTH, ROWS, VECTORS>(of, row, column);
  rest<WIDTH, ROWS - 1, VECTORS>(of, row, column);
}

// The last columns, fewer than twice the vector width.
template <int WIDTH, int ROWS, typename Left>
INLINE void narrow_strips(const Factors<Left>& of, int64_t column) {
  if (column + WIDTH <= of.columns) {
    strip<WIDTH, ROWS, 1>(of, column);
    column += WIDTH;
  }
  if constexpr (WIDTH > 1) narrow_strips<WIDTH / 2, ROWS>(of, column);
}

struct Gemm {
  template <int LANES, typename Left>
  INLINE static void run(const Factors<Left>& of) {
    // With two vectors per row, this many sums fit into the registers.
    constexpr int ROWS = LANES == 16 ? 8 : 4;
    int64_t column = 0;
    for (; column + 2 * LANES <= of.columns; column += 2 * LANES) strip<LANES, ROWS, 2>(of, column);
    narrow_strips<LANES, ROWS>(of, column);
  }
};

}  // namespace seqloom
