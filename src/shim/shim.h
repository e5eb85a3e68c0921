// Shared by all parts of the shim: conversion of exceptions to a status, and of lists of pointers to lists of tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <mutex>
#include <string>
#include <vector>

namespace seqloom {

// The message of this thread's last status that was not 0.
std::string& last_error();

// Runs `work`; an exception becomes status 1, with a message for seqloom_last_error().
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

// Runs `part` over parts of a range, none shorter than `grain`, on the process's thread pool.
using Part = void (*)(const void* work, int64_t begin, int64_t end);
using Split = void (*)(int64_t begin, int64_t end, int64_t grain, const void* work, Part part);

// The splitter of ranges; without a thread pool they are not split.
inline Split& split() {
  static Split way = [](int64_t begin, int64_t end, int64_t, const void* work, Part part) { part(work, begin, end); };
  return way;
}

// Multiplications that are worth another thread: about 50 microseconds, since waking one takes 5 to 50.
constexpr int64_t WORTH_A_THREAD = 1 << 21;

// The number of items that are, with this many multiplications each.
inline int64_t grain(int64_t of_one) { return std::max<int64_t>(1, WORTH_A_THREAD / std::max<int64_t>(1, of_one)); }

// Runs `work(begin, end)` over parts of a range, on free threads. OpenMP's threads would spin while they wait.
template <typename Work>
void parallel_for(int64_t begin, int64_t end, int64_t grain, const Work& work) {
  struct Guarded {
    const Work& work;
    mutable std::mutex lock;
    mutable std::exception_ptr error;
  } guarded{work, {}, nullptr};
  const Part part = [](const void* of, int64_t first, int64_t last) {
    const auto& all = *static_cast<const Guarded*>(of);
    // No exception may escape into the frames of Rust above.
    try {
      all.work(first, last);
    } catch (...) {
      const std::lock_guard<std::mutex> held(all.lock);
      all.error = std::current_exception();
    }
  };
  if (begin < end) split()(begin, end, grain, &guarded, part);
  if (guarded.error) std::rethrow_exception(guarded.error);
}

}  // namespace seqloom

// Inlined into another function, with its instruction set.
#define INLINE inline __attribute__((always_inline))
