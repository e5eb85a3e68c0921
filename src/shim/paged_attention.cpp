// Attention of single queries over keys and values in slots (paged attention), for decoding on the CPU.
//
// A slot holds the keys and values of one position. Each row lists its slots, so that rows of any length need no
// padding, rows can share slots, and rows enter and leave without a copy. A row's numbers do not depend on the other
// rows.
#include "instructions.h"
#include "softmax.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <type_traits>

namespace {

// Floats per vector; the same sums in the same order on every instruction set with fused multiply-adds.
constexpr int64_t GROUP = 16;
typedef float Sixteen __attribute__((vector_size(GROUP * 4)));
typedef float Eight __attribute__((vector_size(GROUP * 2)));
typedef float Four __attribute__((vector_size(GROUP)));

// The same in two halves for registers of eight floats: GCC splits wider vectors float by float.
struct Halves {
  Eight low, high;
};

INLINE Halves operator+(const Halves& a, const Halves& b) { return {a.low + b.low, a.high + b.high}; }
INLINE Halves operator*(const Halves& a, const Halves& b) { return {a.low * b.low, a.high * b.high}; }
INLINE Halves operator*(float a, const Halves& b) { return {a * b.low, a * b.high}; }
INLINE void operator+=(Halves& a, const Halves& b) { a = a + b; }
INLINE Halves larger(const Halves& a, const Halves& b) {
  return {a.low > b.low ? a.low : b.low, a.high > b.high ? a.high : b.high};
}
INLINE Sixteen larger(const Sixteen& a, const Sixteen& b) { return a > b ? a : b; }
// Vectors of a head that stay in registers.
constexpr int64_t TOGETHER = 4;

// The slots of a row.
struct Slots {
  const int32_t* slots;
  int64_t length, stride;

  // The start of the row's n-th slot.
  INLINE int64_t operator()(int64_t n) const { return slots[n] * stride; }
};

struct Row {
  const float* query;
  Slots slots;
  // The slots of the next row, which are prefetched meanwhile.
  Slots next;
  float* out;
  // Output for the weights, summed over the heads; or null.
  float* attention_weights;
};

struct Shape {
  int64_t heads, head_width;
};

template <typename Vector>
INLINE Vector load_group(const float* from) {
  if constexpr (std::is_same_v<Vector, Halves>) {
    return {seqloom::load<Eight>(from), seqloom::load<Eight>(from + GROUP / 2)};
  } else {
    return seqloom::load<Vector>(from);
  }
}

INLINE void store_group(float* to, const Sixteen& vector) { seqloom::store(to, vector); }
INLINE void store_group(float* to, const Halves& vector) {
  seqloom::store(to, vector.low);
  seqloom::store(to + GROUP / 2, vector.high);
}

INLINE Eight folded(const Halves& x) { return x.low + x.high; }
INLINE Eight folded(const Sixteen& x) {
  return __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7) + __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15);
}

INLINE Four folded(const Eight& x) {
  return __builtin_shufflevector(x, x, 0, 1, 2, 3) + __builtin_shufflevector(x, x, 4, 5, 6, 7);
}

template <typename Vector>
INLINE float sum(const Vector& x) {
  const Four four = folded(folded(x));
  return (four[0] + four[2]) + (four[1] + four[3]);
}

// The sums of four vectors, each bit-identical to `sum`.
template <typename Vector>
INLINE Four sums(const Vector (&x)[4]) {
  Four four[4];
  for (int n = 0; n < 4; ++n) four[n] = folded(folded(x[n]));
  const Four one = __builtin_shufflevector(four[0], four[1], 0, 1, 4, 5) +
                   __builtin_shufflevector(four[0], four[1], 2, 3, 6, 7);
  const Four other = __builtin_shufflevector(four[2], four[3], 0, 1, 4, 5) +
                     __builtin_shufflevector(four[2], four[3], 2, 3, 6, 7);
  return __builtin_shufflevector(one, other, 0, 2, 4, 6) + __builtin_shufflevector(one, other, 1, 3, 5, 7);
}

template <typename Vector>
INLINE float dot(const float* a, const float* b, int64_t count) {
  Vector sums = {};
  int64_t i = 0;
  for (; i + GROUP <= count; i += GROUP) sums += load_group<Vector>(a + i) * load_group<Vector>(b + i);
  float total = sum(sums);
  for (; i < count; ++i) total += a[i] * b[i];
  return total;
}

// The dot product of the query with the key of each slot.
template <typename Vector>
INLINE void dot_products(const float* query, const float* keys, const Slots& slots, int64_t count, float* out) {
  int64_t n = 0;
  for (; n + 4 <= slots.length && count % GROUP == 0; n += 4) {
    const float* key[4] = {keys + slots(n), keys + slots(n + 1), keys + slots(n + 2), keys + slots(n + 3)};
    Vector parts[4] = {};
    for (int64_t i = 0; i < count; i += GROUP) {
      const auto part = load_group<Vector>(query + i);
      for (int m = 0; m < 4; ++m) parts[m] += part * load_group<Vector>(key[m] + i);
    }
    const Four four = sums(parts);
    for (int m = 0; m < 4; ++m) out[n + m] = four[m];
  }
  for (; n < slots.length; ++n) out[n] = dot<Vector>(query, keys + slots(n), count);
}

// Prefetches one head of a row's slots: they are scattered, and the processor cannot predict a list.
INLINE void prefetch(const float* numbers, const Slots& slots, int64_t count) {
  constexpr int64_t LINE = 64 / sizeof(float);
  for (int64_t n = 0; n < slots.length; ++n) {
    const float* slot = numbers + slots(n);
    for (int64_t i = 0; i < count; i += LINE) __builtin_prefetch(slot + i, 0, 2);
  }
}

// The sum of `weights[n]` times the values of slot n, for VECTORS vectors of a head.
template <typename Vector, int VECTORS>
INLINE void weighted(const float* weights, const float* values, const Slots& slots, float* out) {
  Vector sums[VECTORS] = {};
  for (int64_t n = 0; n < slots.length; ++n) {
    const float* value = values + slots(n);
    for (int v = 0; v < VECTORS; ++v) sums[v] += weights[n] * load_group<Vector>(value + v * GROUP);
  }
  for (int v = 0; v < VECTORS; ++v) store_group(out + v * GROUP, sums[v]);
}

template <typename Vector>
INLINE void weighted(const float* weights, const float* values, const Slots& slots, int64_t count, float* out) {
  int64_t i = 0;
  for (; i + TOGETHER * GROUP <= count; i += TOGETHER * GROUP) {
    weighted<Vector, TOGETHER>(weights, values + i, slots, out + i);
  }
  for (; i + GROUP <= count; i += GROUP) weighted<Vector, 1>(weights, values + i, slots, out + i);
  for (; i < count; ++i) {
    out[i] = 0.0f;
    for (int64_t n = 0; n < slots.length; ++n) out[i] += weights[n] * values[slots(n) + i];
  }
}

INLINE int64_t whole_vectors(int64_t length) { return (length + GROUP - 1) / GROUP * GROUP; }

// The softmax of `scale` times the weights. There is room for full vectors: the padding gets weight zero.
template <typename Vector>
INLINE void softmax(float* weights, int64_t length, float scale) {
  const int64_t room = whole_vectors(length);
  std::fill(weights + length, weights + room, -std::numeric_limits<float>::infinity());
  Vector most = scale * load_group<Vector>(weights);
  for (int64_t i = 0; i < room; i += GROUP) {
    const Vector scaled = scale * load_group<Vector>(weights + i);
    store_group(weights + i, scaled);
    most = larger(most, scaled);
  }
  float all[GROUP];
  store_group(all, most);
  const float largest = *std::max_element(all, all + GROUP);
  Vector parts = {};
  for (int64_t i = 0; i < room; i += GROUP) {
    for (int64_t n = 0; n < GROUP; ++n) weights[i + n] = seqloom::exponential(weights[i + n] - largest);
    parts += load_group<Vector>(weights + i);
  }
  const float share = 1.0f / sum(parts);
  for (int64_t i = 0; i < room; i += GROUP) store_group(weights + i, share * load_group<Vector>(weights + i));
}

struct PagedAttention {
  template <int LANES>
  INLINE static void run(const Row& row, const float* keys, const float* values, Shape shape, float* weights) {
    typedef std::conditional_t<LANES == 8, Halves, Sixteen> Vector;
    const float scale = 1.0f / std::sqrt(static_cast<float>(shape.head_width));
    for (int64_t head = 0; head < shape.heads; ++head) {
      const int64_t begin = head * shape.head_width;
      prefetch(keys + begin, row.next, shape.head_width);
      dot_products<Vector>(row.query + begin, keys + begin, row.slots, shape.head_width, weights);
      prefetch(values + begin, row.next, shape.head_width);
      softmax<Vector>(weights, row.slots.length, scale);
      weighted<Vector>(weights, values + begin, row.slots, shape.head_width, row.out + begin);
      if (row.attention_weights) {
        for (int64_t n = 0; n < row.slots.length; ++n) row.attention_weights[n] += weights[n];
      }
    }
  }
};

}  // namespace

// query: (R, >= D) rows of f32; keys_values: (slots, 2 D), keys before values; starts, lengths: R of each. Row r
// attends to slots[starts[r]] and so on. out: (R, D). `attention_weights`, (R, most), initially zero, gets the weights,
// summed over the heads.
extern "C" int seqloom_paged_attention(at::Tensor** out, float* attention_weights, int64_t most, const at::Tensor* query,
                              const at::Tensor* keys_values, const int32_t* slots, const int64_t* starts,
                              const int64_t* lengths, int64_t heads) {
  return seqloom::guarded([&] {
    const int64_t rows = query->size(0), width = keys_values->size(1) / 2, stride = query->stride(0);
    TORCH_CHECK(query->is_cpu() && query->dim() == 2 && query->scalar_type() == at::kFloat && query->stride(1) == 1,
                "attention needs rows of f32 on the CPU");
    TORCH_CHECK(keys_values->is_cpu() && keys_values->dim() == 2 && keys_values->scalar_type() == at::kFloat &&
                    keys_values->is_contiguous() && query->size(1) == width,
                "attention needs keys and values, concatenated");
    TORCH_CHECK(heads > 0 && width % heads == 0, "heads divide the width");
    at::Tensor result = at::empty({rows, width}, query->options());
    const float* keys = keys_values->const_data_ptr<float>();
    const Shape shape{heads, width / heads};
    const float* from = query->const_data_ptr<float>();
    float* to = result.data_ptr<float>();
    const int lanes = seqloom::lanes();
    const int64_t attended = std::accumulate(lengths, lengths + rows, int64_t{0});
    const int64_t of_one = 2 * width * attended / std::max<int64_t>(1, rows);
    seqloom::parallel_for(0, rows, seqloom::grain(of_one), [&](int64_t begin, int64_t end) {
      const auto of = [&](int64_t r) {
        return Slots{slots + starts[r], lengths[r], 2 * width};
      };
      std::vector<float> weights(whole_vectors(*std::max_element(lengths + begin, lengths + end)));
      for (int64_t r = begin; r < end; ++r) {
        const Slots next = r + 1 < end ? of(r + 1) : Slots{};
        const Row row{from + r * stride, of(r), next, to + r * width, attention_weights ? attention_weights + r * most : nullptr};
        seqloom::on<PagedAttention>(lanes, row, keys, keys + width, shape, weights.data());
      }
    });
    *out = new at::Tensor(std::move(result));
  });
}
