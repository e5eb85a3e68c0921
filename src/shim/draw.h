// What dropout draws: a function of (seed, index) alone, the same on any number of threads.
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

// Elements that are drawn together: two from each random number, for its halves are random enough, and the mixing is
// what dropout costs. The first halves go to the first half of the block.
constexpr int64_t BLOCK = 64;

// What is drawn for the elements of block `block`: kept where 16 random bits are at least `threshold`, then scaled.
struct Draw {
  uint32_t threshold, seed_low, seed_high;
  float scale;

  Draw(double p, uint64_t seed)
      : threshold(static_cast<uint32_t>(std::lround(p * 65536.0))),
        seed_low(static_cast<uint32_t>(seed)),
        seed_high(static_cast<uint32_t>(seed >> 32)),
        // Of what is really dropped, so that the mean stays what it is.
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
