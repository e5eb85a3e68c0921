// What the parts of the shim share: exceptions become a status, lists of pointers become lists of tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <exception>
#include <string>
#include <vector>

namespace seqloom {

// The text behind the last status that was not 0, of this thread.
std::string& last_error();

// Runs `work`; an exception becomes 1 and a text that seqloom_last_error() hands out.
template <typename Work>
int guarded(Work work) {
  try {
    work();
    return 0;
  } catch (const std::exception& error) {
    last_error() = error.what();
  }
  return 1;
}

inline std::vector<at::Tensor> list(at::Tensor* const* tensors, int64_t count) {
  std::vector<at::Tensor> out;
  out.reserve(count);
  for (int64_t i = 0; i < count; ++i) out.push_back(*tensors[i]);
  return out;
}

}  // namespace seqloom

// One body for every instruction set: what it marks vectorises without further help, and gives the same bits.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define EVERY_X86 __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define EVERY_X86
#endif
// A part of such a body: it takes the instruction set of the function that it is written into.
#define INLINE inline __attribute__((always_inline))
