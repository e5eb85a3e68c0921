// The random mask of dropout: a function of (seed, index) alone, the same on any number of threads.
#pragma once

#include <cmath>
#include <cstdint>

namespace seqloom {

// A full-period mix of 32 bits (lowbias32 of Chris Wellons' hash-prospector).
inline uint32_t mix(uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352dU;
  x ^= x >> 15;
  x *= 0x846ca68bU;
  return x ^ (x >> 16);
}

// Elements per block: each random number serves two, since its halves are random enough and mixing is the cost of
// dropout. The first halves serve the first half of the block.
constexpr int64_t BLOCK = 64;

// The factors for the elements of block `block`: an element is kept and scaled if its 16 random bits are at least
// `threshold`, else 0.
struct DropoutMask {
  uint32_t threshold, seed_low, seed_high;
  float scale;

  DropoutMask(double p, uint64_t seed)
      : threshold(static_cast<uint32_t>(std::lround(p * 65536.0))),
        seed_low(static_cast<uint32_t>(seed)),
        seed_high(static_cast<uint32_t>(seed >> 32)),
        // For the actual dropout rate, so that the mean is unchanged.
        scale(65536.0f / static_cast<float>(65536 - threshold)) {}

  inline void factors(int64_t block, float* out) const {
    const auto first = static_cast<uint32_t>(block * (BLOCK / 2));
    for (uint32_t i = 0; i < BLOCK / 2; ++i) {
      const uint32_t random = mix(mix((first + i) ^ seed_low) + seed_high);
      out[i] = (random & 0xffffU) >= threshold ? scale : 0.0f;
      out[i + BLOCK / 2] = (random >> 16) >= threshold ? scale : 0.0f;
    }
  }
};

}  // namespace seqloom
