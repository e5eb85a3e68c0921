// What the parts of the shim share: exceptions become a status, lists of pointers become lists of tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <mutex>
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

// Runs `part` over parts of a range, none shorter than `grain`; who calls is the process's pool of threads.
using Part = void (*)(const void* work, int64_t begin, int64_t end);
using Split = void (*)(int64_t begin, int64_t end, int64_t grain, const void* work, Part part);

// How ranges are split: not at all, until the process has a pool.
inline Split& split() {
  static Split way = [](int64_t begin, int64_t end, int64_t, const void* work, Part part) { part(work, begin, end); };
  return way;
}

// Multiplications that are worth another thread: some 50 microseconds, where to wake one takes 5 to 50.
constexpr int64_t WORTH_A_THREAD = 1 << 21;

// How many items, of so many multiplications each, are.
inline int64_t grain(int64_t of_one) { return std::max<int64_t>(1, WORTH_A_THREAD / std::max<int64_t>(1, of_one)); }

// `work(begin, end)` over parts of a range, on the threads that are free. OpenMP's threads would spin while they wait.
template <typename Work>
void parallel_for(int64_t begin, int64_t end, int64_t grain, const Work& work) {
  struct Guarded {
    const Work& work;
    mutable std::mutex lock;
    mutable std::exception_ptr error;
  } guarded{work, {}, nullptr};
  const Part part = [](const void* of, int64_t first, int64_t last) {
    const auto& all = *static_cast<const Guarded*>(of);
    // No exception may leave: there are frames of Rust above.
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

// A part of another function, whose instruction set it takes.
#define INLINE inline __attribute__((always_inline))
