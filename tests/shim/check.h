// Shared by the shim's stand-alone tests: unaligned data, comparisons, and the vector instructions.
#pragma once

#include "../../src/shim/instructions.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>

#include <cstdio>
#include <cstdlib>

namespace check {

// Fails with what was tried.
[[noreturn]] inline void fail(const std::string& what) {
  std::fprintf(stderr, "shim: %s\n", what.c_str());
  std::exit(1);
}

inline void that(bool holds, const std::string& what) {
  if (!holds) fail(what);
}

// A call that must succeed.
inline void done(int status, const std::string& what) { that(status == 0, what + ": " + seqloom::last_error()); }

// A call whose input is refused.
inline void refused(int status, const std::string& what) { that(status != 0, what + " was taken"); }

// Takes what a call made.
inline at::Tensor taken(at::Tensor* made) {
  at::Tensor out = *made;
  delete made;
  return out;
}

// Normal numbers that begin `offset` elements into their memory, and end where it ends: what is read behind them is an error.
inline at::Tensor numbers(at::IntArrayRef shape, int64_t offset) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return at::randn({offset + count}).narrow(0, offset, count).view(shape);
}

inline void near(const at::Tensor& ours, const at::Tensor& theirs, double tolerance, const std::string& what) {
  that(ours.sizes() == theirs.sizes(), what + ": another shape");
  if (ours.numel() == 0) return;
  const double apart = (ours.to(at::kDouble) - theirs.to(at::kDouble)).abs().max().item<double>();
  that(apart <= tolerance, what + ": " + std::to_string(apart) + " apart");
}

template <typename... Sizes>
std::string named(const char* name, Sizes... sizes) {
  std::string out = name;
  ((out += " " + std::to_string(sizes)), ...);
  return out;
}

// The parts of the program; each runs on the instructions that were set.
void decoding();
void nccl();
void training();

}  // namespace check
