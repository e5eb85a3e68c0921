// Attention of single queries over keys and values that lie in slots: for decoding, on the CPU.
//
// A slot holds the keys and values of one position. Each row names the slots that it looks at, so that rows of any length
// stand side by side without padding, several rows share what they have in common, and rows come and go without a copy.
// A row's numbers do not depend on the other rows.
#include "instructions.h"
#include "softmax.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>

namespace {

// Floats that go together; the same sums in the same order on every instruction set that has fused multiply-adds.
constexpr int64_t LANES = 16;
typedef float Floats __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef float Eight __attribute__((vector_size(32)));
typedef float Four __attribute__((vector_size(16)));
// Vectors of a head that stay in registers.
constexpr int64_t TOGETHER = 4;

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

INLINE const Floats& at(const float* x) { return *reinterpret_cast<const Floats*>(x); }

INLINE float sum(const Floats& x) {
  const Eight eight = __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7) +
                      __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15);
  const Four four =
      __builtin_shufflevector(eight, eight, 0, 1, 2, 3) + __builtin_shufflevector(eight, eight, 4, 5, 6, 7);
  return (four[0] + four[2]) + (four[1] + four[3]);
}

INLINE float dot(const float* a, const float* b, int64_t count) {
  Floats sums = {};
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES) sums += at(a + i) * at(b + i);
  float total = sum(sums);
  for (; i < count; ++i) total += a[i] * b[i];
  return total;
}

// The sum of `weights[n]` times the values of slot n, for VECTORS vectors of a head.
template <int VECTORS, typename Slot>
INLINE void weighted(const float* weights, int64_t length, const float* values, Slot slot, float* out) {
  Floats sums[VECTORS] = {};
  for (int64_t n = 0; n < length; ++n) {
    const float* value = values + slot(n);
    for (int v = 0; v < VECTORS; ++v) sums[v] += weights[n] * at(value + v * LANES);
  }
  for (int v = 0; v < VECTORS; ++v) *reinterpret_cast<Floats*>(out + v * LANES) = sums[v];
}

template <typename Slot>
INLINE void weighted(const float* weights, int64_t length, const float* values, Slot slot, int64_t count, float* out) {
  int64_t i = 0;
  for (; i + TOGETHER * LANES <= count; i += TOGETHER * LANES) {
    weighted<TOGETHER>(weights, length, values + i, slot, out + i);
  }
  for (; i + LANES <= count; i += LANES) weighted<1>(weights, length, values + i, slot, out + i);
  for (; i < count; ++i) {
    out[i] = 0.0f;
    for (int64_t n = 0; n < length; ++n) out[i] += weights[n] * values[slot(n) + i];
  }
}

// weights become exp(weights - largest) over their sum.
INLINE void softmax(float* weights, int64_t length, float largest) {
  float total = 0.0f;
  for (int64_t n = 0; n < length; ++n) weights[n] = seqloom::exponential(weights[n] - largest);
  for (int64_t n = 0; n < length; ++n) total += weights[n];
  const float share = 1.0f / total;
  for (int64_t n = 0; n < length; ++n) weights[n] *= share;
}

INLINE void attend_row(const Row& row, const float* keys, const float* values, Shape shape, float* weights) {
  const auto slot = [&](int64_t n) __attribute__((always_inline)) {
    return (row.slots ? row.slots[n] : row.first + n) * shape.slot_stride;
  };
  const float scale = 1.0f / std::sqrt(static_cast<float>(shape.head_width));
  for (int64_t head = 0; head < shape.heads; ++head) {
    const int64_t begin = head * shape.head_width;
    float largest = -std::numeric_limits<float>::infinity();
    for (int64_t n = 0; n < row.length; ++n) {
      weights[n] = scale * dot(row.query + begin, keys + slot(n) + begin, shape.head_width);
      largest = largest > weights[n] ? largest : weights[n];
    }
    softmax(weights, row.length, largest);
    weighted(weights, row.length, values + begin, slot, shape.head_width, row.out + begin);
    if (row.seen) {
      for (int64_t n = 0; n < row.length; ++n) row.seen[n] += weights[n];
    }
  }
}

#define ATTEND(name, attributes)                                                                               \
  attributes void name(const Row& row, const float* keys, const float* values, Shape shape, float* weights) {  \
    attend_row(row, keys, values, shape, weights);                                                             \
  }
ATTEND(attend_anywhere, )
#ifdef SEQLOOM_X86
ATTEND(attend_512, __attribute__((target("avx512f,avx512bw,fma"))))
ATTEND(attend_256, __attribute__((target("avx2,fma"))))
#endif

// The one for this machine.
auto attend_here() -> void (*)(const Row&, const float*, const float*, Shape, float*) {
#ifdef SEQLOOM_X86
  switch (seqloom::widest()) {
    case 16: return attend_512;
    case 8: return attend_256;
  }
#endif
  return attend_anywhere;
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
    static const auto attend = attend_here();
    at::parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
      std::vector<float> weights(*std::max_element(lengths + begin, lengths + end));
      for (int64_t r = begin; r < end; ++r) {
        const Row row{from + r * stride, slots ? slots + starts[r] : nullptr, starts[r], lengths[r], to + r * width,
                      seen ? seen + r * most : nullptr};
        attend(row, keys, keys + width, shape, weights.data());
      }
    });
    *out = new at::Tensor(std::move(result));
  });
}
