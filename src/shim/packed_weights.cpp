// Packs weights for products, and rounds rows of inputs to 8 bits.
#include "instructions.h"
#include "packed_weights.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

namespace {

using seqloom::BF16, seqloom::F32, seqloom::INT8;
using seqloom::ZERO_POINT, seqloom::PackedWeights, seqloom::QUAD;

// The largest absolute value of a row; NaN if one of them is NaN. Absolute values are ordered as their bits, and
// compilers vectorise the maximum of integers.
INLINE float largest_magnitude(const float* x, int64_t count) {
  int32_t most = 0;
  for (int64_t k = 0; k < count; ++k) {
    int32_t bits;
    std::memcpy(&bits, x + k, sizeof bits);
    most = std::max(most, bits & 0x7fffffff);
  }
  float largest;
  std::memcpy(&largest, &most, sizeof largest);
  return largest;
}

// x * scale, rounded to the nearest integer (ties to even), plus ZERO_POINT.
void quantize_anywhere(const float* x, int64_t count, float scale, uint8_t* out) {
  for (int64_t k = 0; k < count; ++k) {
    out[k] = static_cast<uint8_t>(static_cast<int32_t>(std::nearbyint(x[k] * scale)) + ZERO_POINT);
  }
}

#ifdef SEQLOOM_X86
FOR_AVX512 void quantize_512(const float* x, int64_t count, float scale, uint8_t* out) {
  // Masked with all lanes: GCC warns about undefined values of the plain intrinsics.
  constexpr __mmask16 ALL = 0xffff;
  const __m512 scales = _mm512_set1_ps(scale);
  const __m512i middle = _mm512_set1_epi32(ZERO_POINT);
  int64_t k = 0;
  for (; k + 16 <= count; k += 16) {
    const __m512i whole = _mm512_maskz_cvtps_epi32(ALL, _mm512_mul_ps(_mm512_loadu_ps(x + k), scales));
    const __m128i bytes = _mm512_maskz_cvtepi32_epi8(ALL, _mm512_add_epi32(whole, middle));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + k), bytes);
  }
  quantize_anywhere(x + k, count - k, scale, out + k);
}

FOR_AVX2 void quantize_256(const float* x, int64_t count, float scale, uint8_t* out) {
  const __m256 scales = _mm256_set1_ps(scale);
  const __m256i middle = _mm256_set1_epi32(ZERO_POINT);
  int64_t k = 0;
  for (; k + 8 <= count; k += 8) {
    const __m256i whole = _mm256_add_epi32(_mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + k), scales)), middle);
    const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out + k), _mm_packus_epi16(words, words));
  }
  quantize_anywhere(x + k, count - k, scale, out + k);
}
#endif

struct Quantize {
  template <int LANES>
  INLINE static float run(const float* x, int64_t count, uint8_t* out) {
    const float largest = largest_magnitude(x, count), unit = largest / 127.0f, scale = 127.0f / largest;
    // All zero, or so small that the scale is infinite, or NaN, as `unit` records.
    if (!(scale > 0.0f && scale <= std::numeric_limits<float>::max())) {
      std::fill(out, out + count, static_cast<uint8_t>(ZERO_POINT));
      return unit;
    }
#ifdef SEQLOOM_X86
    if constexpr (LANES == 16) return quantize_512(x, count, scale, out), unit;
    if constexpr (LANES == 8) return quantize_256(x, count, scale, out), unit;
#endif
    quantize_anywhere(x, count, scale, out);
    return unit;
  }
};

}  // namespace

float seqloom::quantize(const float* x, int64_t count, uint8_t* out) {
  return seqloom::on<Quantize>(seqloom::lanes(), x, count, out);
}

namespace {

uint32_t to_bf16(float value) { return c10::BFloat16(value).x; }

// Writes the weights of output o to their positions, in elements of 4, 2 and 1 bytes. `rounded` is a buffer for a row.
void pack_output(PackedWeights& packed, int64_t o, const float* row, uint8_t* rounded) {
  const int64_t width = packed.panel(), inputs = packed.inputs, depth = packed.depth(), lanes = packed.lanes;
  const int64_t panel = o / width, at = o % width;
  uint8_t* bytes = packed.weights.data_ptr<uint8_t>();
  if (packed.kind == INT8) packed.scales[o] = seqloom::quantize(row, inputs, rounded);
  for (int64_t k = 0; k < inputs; ++k) {
    if (packed.kind == F32) {
      seqloom::store(bytes + 4 * ((panel * inputs + k) * width + at), row[k]);
    } else if (packed.kind == BF16) {
      const int64_t place = at / (2 * lanes) * lanes + at % lanes;
      uint8_t* both = bytes + 4 * ((panel * inputs + k) * (width / 2) + place);
      seqloom::store(both, seqloom::load<uint32_t>(both) | to_bf16(row[k]) << (at / lanes % 2 == 0 ? 0 : 16));
    } else {
      const int32_t whole = rounded[k] - ZERO_POINT;
      bytes[panel * width * depth + (k / QUAD * width + at) * QUAD + k % QUAD] = static_cast<uint8_t>(whole);
      if (!packed.signed_inputs()) packed.offsets[o] += ZERO_POINT * whole;
    }
  }
}

std::unique_ptr<PackedWeights> pack(const at::Tensor& weight, const at::Tensor* bias, int kind) {
  TORCH_CHECK(weight.is_cpu() && weight.dim() == 2 && weight.size(1) > 0, "weights are rows of inputs on the CPU");
  TORCH_CHECK(!bias || (bias->is_cpu() && bias->numel() == weight.size(0)), "a bias has a number for each output");
  auto packed = std::make_unique<PackedWeights>();
  packed->kind = kind;
  packed->lanes = kind == INT8 ? seqloom::lanes_of_bytes() : seqloom::lanes();
  packed->outputs = weight.size(0);
  packed->inputs = weight.size(1);
  const int64_t room = packed->panels() * packed->panel(), size = kind == F32 ? 4 : kind == BF16 ? 2 : 1;
  packed->weights = at::zeros({room * packed->depth() * size}, at::kByte);
  packed->bias.resize(room);
  packed->scales.resize(kind == INT8 ? room : 0);
  packed->offsets.resize(kind == INT8 ? room : 0);
  if (bias) {
    const at::Tensor values = bias->contiguous();
    std::copy_n(values.const_data_ptr<float>(), packed->outputs, packed->bias.begin());
  }
  const at::Tensor rows = weight.contiguous();
  const float* w = rows.const_data_ptr<float>();
  std::vector<uint8_t> rounded(packed->inputs);
  for (int64_t o = 0; o < packed->outputs; ++o) pack_output(*packed, o, w + o * packed->inputs, rounded.data());
  return packed;
}

}  // namespace

extern "C" int seqloom_pack_weights(void** out, const at::Tensor* weight, const at::Tensor* bias, int kind) {
  return seqloom::guarded([&] { *out = pack(*weight, bias, kind).release(); });
}

extern "C" void seqloom_free_packed_weights(void* packed) { delete static_cast<PackedWeights*>(packed); }
