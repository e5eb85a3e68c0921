// Attention of the queries of one head over its keys and values, each read where a linear layer has left it.
//
// Scores are transposed, (keys, queries): so a softmax runs down a column, and a vector holds several queries. The
// numbers of a query do not depend on the other queries.
#pragma once

#include "small_gemm.h"
#include "softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace seqloom {

// Queries are padded to a multiple of this, which every vector length divides.
constexpr int64_t GROUP = 16;

// Alignment, as of an AVX-512 vector: one across two cache lines takes twice as long to load.
struct alignas(GROUP * sizeof(float)) Line {
  float numbers[GROUP];
};

// A matrix whose rows are `stride` numbers apart.
struct Matrix {
  float* at;
  int64_t stride;
};

// Transposes (rows, columns) to (columns, room), padded with zeros, times `scale`.
struct Turn {
  template <int LANES>
  INLINE static void run(const Matrix& from, int64_t rows, int64_t columns, float scale, float* to, int64_t room) {
    const int64_t whole = columns - columns % 4;
    int64_t row = 0;
    for (; row + 4 <= rows; row += 4) {
      for (int64_t column = 0; column < whole; column += 4) {
        four(from.at + row * from.stride + column, from.stride, scale, to + column * room + row, room);
      }
    }
    for (int64_t column = 0; column < columns; ++column) {
      for (int64_t r = column < whole ? row : 0; r < rows; ++r) {
        to[column * room + r] = scale * from.at[r * from.stride + column];
      }
      std::fill(to + column * room + rows, to + (column + 1) * room, 0.0f);
    }
  }

  INLINE static void four(const float* from, int64_t stride, float scale, float* to, int64_t room) {
    typedef Floats<4>::Type Four;
    Four row[4];
    for (int n = 0; n < 4; ++n) row[n] = scale * load<Four>(from + n * stride);
    const Four one = __builtin_shufflevector(row[0], row[1], 0, 4, 1, 5);
    const Four two = __builtin_shufflevector(row[2], row[3], 0, 4, 1, 5);
    const Four three = __builtin_shufflevector(row[0], row[1], 2, 6, 3, 7);
    const Four four = __builtin_shufflevector(row[2], row[3], 2, 6, 3, 7);
    store(to, __builtin_shufflevector(one, two, 0, 1, 4, 5));
    store(to + room, __builtin_shufflevector(one, two, 2, 3, 6, 7));
    store(to + 2 * room, __builtin_shufflevector(three, four, 0, 1, 4, 5));
    store(to + 3 * room, __builtin_shufflevector(three, four, 2, 3, 6, 7));
  }
};

// In place: the softmax of each column of the scores, (keys, room). With `causal` a query attends to no later key.
struct Softmax {
  template <int LANES>
  INLINE static void run(float* scores, int64_t keys, int64_t queries, int64_t room, bool causal) {
    typedef typename Floats<LANES>::Type Vector;
    typedef typename Floats<LANES>::Places Places;
    constexpr float LOWEST = -std::numeric_limits<float>::infinity();
    Places place;
    for (int lane = 0; lane < LANES; ++lane) place[lane] = causal ? lane : std::numeric_limits<int32_t>::max();
    for (int64_t first = 0; first < queries; first += LANES) {
      float* column = scores + first;
      const int64_t seen = causal ? std::min(keys, first + LANES) : keys;
      Vector most = Vector{} + LOWEST, sum = {};
      for (int64_t key = 0; key < seen; ++key) {
        const auto score = load<Vector>(column + key * room);
        const Places hidden = place < static_cast<int32_t>(key - first * causal);
        const Vector shown = hidden ? Vector{} + LOWEST : score;
        most = most > shown ? most : shown;
      }
      for (int64_t key = 0; key < seen; ++key) {
        float lane[LANES];
        store(lane, load<Vector>(column + key * room) - most);
        for (int n = 0; n < LANES; ++n) lane[n] = seqloom::exponential(lane[n]);
        const Places hidden = place < static_cast<int32_t>(key - first * causal);
        const Vector weight = hidden ? Vector{} : load<Vector>(lane);
        sum += weight;
        store(column + key * room, weight);
      }
      const Vector share = 1.0f / sum;
      for (int64_t key = 0; key < seen; ++key) store(column + key * room, share * load<Vector>(column + key * room));
      for (int64_t key = seen; key < keys; ++key) store(column + key * room, Vector{});
    }
  }
};

// Queries, keys and values of a head.
struct Head {
  Matrix query, key, value;
};

struct HeadShape {
  int64_t queries, keys, width;
  bool causal;

  // The queries, padded.
  int64_t room() const { return (queries + GROUP - 1) / GROUP * GROUP; }
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(width)); }
};

// `out`, (queries, width), gets the attention of a head, and `weights`, (keys, room), its softmax; `turned`, (width,
// room), is a buffer for the transposed queries.
inline void attend(int lanes, const HeadShape& shape, const Head& head, const Matrix& out, float* weights, float* turned) {
  const int64_t room = shape.room(), filled = (shape.queries + lanes - 1) / lanes * lanes;
  on<Turn>(lanes, head.query, shape.queries, shape.width, shape.scale(), turned, room);
  const Factors<RowMajor> scores{{head.key.at, head.key.stride}, turned, room, weights, room, shape.keys, shape.width, filled,
                                 Nonzero::EVERYWHERE};
  on<Gemm>(lanes, scores);
  on<Softmax>(lanes, weights, shape.keys, shape.queries, room, shape.causal);
  const Factors<Transposed> mixed{{weights, room}, head.value.at, head.value.stride, out.at, out.stride, shape.queries, shape.keys,
                                  shape.width, shape.causal ? Nonzero::UP_TO_ROW : Nonzero::EVERYWHERE};
  on<Gemm>(lanes, mixed);
}

}  // namespace seqloom
