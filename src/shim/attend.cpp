// Attention of single queries over keys and values that lie in slots: for decoding, on the CPU.
//
// A slot holds the keys and values of one position. Each row names the slots that it looks at, so that rows of any length
// stand side by side without padding, several rows share what they have in common, and rows come and go without a copy.
// A row's numbers do not depend on the other rows.
#include "softmax.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>

namespace {

using seqloom::LANES;

// One row looks at `length` slots: slots[0] and so on, or from slot `first` on where there is no list.
struct Row {
  const float* query;
  const int32_t* slots;
  int64_t first, length;
  float* out;
  // Where the weights go, summed over the heads; or nowhere.
  float* seen;
};

struct Shape {
  int64_t heads, head_width, slot_stride;
};

inline float halves(const float (&sums)[LANES]) {
  float eight[8], four[4];
  for (int i = 0; i < 8; ++i) eight[i] = sums[i] + sums[i + 8];
  for (int i = 0; i < 4; ++i) four[i] = eight[i] + eight[i + 4];
  return (four[0] + four[2]) + (four[1] + four[3]);
}

inline float dot(const float* a, const float* b, int64_t count) {
  float sums[LANES] = {};
  const int64_t even = count - count % LANES;
  for (int64_t i = 0; i < even; i += LANES) {
    for (int64_t lane = 0; lane < LANES; ++lane) sums[lane] += a[i + lane] * b[i + lane];
  }
  for (int64_t i = even; i < count; ++i) sums[i - even] += a[i] * b[i];
  return halves(sums);
}

EVERY_X86 void attend_row(const Row& row, const float* keys, const float* values, Shape shape, float* weights) {
  const auto slot = [&](int64_t at) { return (row.slots ? row.slots[at] : row.first + at) * shape.slot_stride; };
  const float scale = 1.0f / std::sqrt(static_cast<float>(shape.head_width));
  for (int64_t head = 0; head < shape.heads; ++head) {
    const int64_t begin = head * shape.head_width;
    float largest = -std::numeric_limits<float>::infinity();
    for (int64_t at = 0; at < row.length; ++at) {
      weights[at] = scale * dot(row.query + begin, keys + slot(at) + begin, shape.head_width);
      largest = largest > weights[at] ? largest : weights[at];
    }
    float sum = 0.0f;
    for (int64_t at = 0; at < row.length; ++at) {
      weights[at] = seqloom::exponential(weights[at] - largest);
      sum += weights[at];
    }
    float* out = row.out + begin;
    std::fill(out, out + shape.head_width, 0.0f);
    for (int64_t at = 0; at < row.length; ++at) {
      const float weight = weights[at] / sum, *value = values + slot(at) + begin;
      for (int64_t i = 0; i < shape.head_width; ++i) out[i] += weight * value[i];
      if (row.seen) row.seen[at] += weight;
    }
  }
}

}  // namespace

// query: (R, >= D) rows of f32; keys_values: (slots, 2 D), keys before values; starts, lengths: R of each. With `slots`
// row r looks at slots[starts[r]] and so on, without it at slot starts[r] and so on. out: (R, D). `seen`, (R, most) and zero,
// takes the weights, summed over the heads.
extern "C" int seqloom_attend(at::Tensor** out, float* seen, int64_t most, const at::Tensor* query,
                              const at::Tensor* keys_values, const int32_t* slots, const int64_t* starts,
                              const int64_t* lengths, int64_t heads) {
  return seqloom::guarded([&] {
    const int64_t rows = query->size(0), width = keys_values->size(1) / 2, stride = query->stride(0);
    TORCH_CHECK(query->scalar_type() == at::kFloat && keys_values->scalar_type() == at::kFloat && query->stride(1) == 1,
                "attention wants rows of f32");
    TORCH_CHECK(keys_values->is_contiguous() && query->size(1) == width, "attention wants keys beside values");
    at::Tensor result = at::empty({rows, width}, query->options());
    const float* keys = keys_values->const_data_ptr<float>();
    const Shape shape{heads, width / heads, 2 * width};
    const float* from = query->const_data_ptr<float>();
    float* to = result.data_ptr<float>();
    at::parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
      std::vector<float> weights(*std::max_element(lengths + begin, lengths + end));
      for (int64_t r = begin; r < end; ++r) {
        const Row row{from + r * stride, slots ? slots + starts[r] : nullptr, starts[r], lengths[r], to + r * width,
                      seen ? seen + r * most : nullptr};
        attend_row(row, keys, keys + width, shape, weights.data());
      }
    });
    *out = new at::Tensor(std::move(result));
  });
}
