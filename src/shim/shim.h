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

// A part of another function, whose instruction set it takes.
#define INLINE inline __attribute__((always_inline))
