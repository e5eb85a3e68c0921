// The vector instructions of this machine, and those that kernels use.
#include "instructions.h"

#include <cstdlib>
#include <stdexcept>

namespace {

struct Instructions {
  const char* name;
  int lanes;
};
constexpr Instructions KNOWN[] = {{"portable", 4}, {"avx2", 8}, {"avx512", 16}};

// Whether the CPU has an extension and the system saves its registers.
#ifdef SEQLOOM_X86
#define HAS(feature) (__builtin_cpu_init(), __builtin_cpu_supports(feature) != 0)
#else
#define HAS(feature) false
#endif

int of_machine() {
  if (!HAS("avx2") || !HAS("fma")) return 4;
  return HAS("avx512f") && HAS("avx512bw") ? 16 : 8;
}

std::string name_of(int lanes) {
  for (const Instructions& known : KNOWN) {
    if (known.lanes == lanes) return known.name;
  }
  return "none";
}

int from_environment() {
  const char* text = std::getenv("SEQLOOM_VECTORS");
  const std::string wanted = text ? text : "";
  if (wanted.empty()) return of_machine();
  for (const Instructions& known : KNOWN) {
    if (wanted != known.name) continue;
    if (known.lanes <= of_machine()) return known.lanes;
    throw std::runtime_error("`SEQLOOM_VECTORS` is " + wanted + ", but the best that this machine has is " +
                             name_of(of_machine()));
  }
  throw std::runtime_error("`SEQLOOM_VECTORS` must be portable, avx2 or avx512, but it is `" + wanted + "`");
}

// 0 for the set of the process.
thread_local int of_this_thread = 0;

}  // namespace

int seqloom::lanes() {
  if (of_this_thread > 0) return of_this_thread;
  static const int of_process = from_environment();
  return of_process;
}

int seqloom::lanes_of_bytes() {
  const int lanes = seqloom::lanes();
  return lanes == 16 && !HAS("avx512vnni") ? 8 : lanes;
}

extern "C" {

int seqloom_lanes_of_machine() { return of_machine(); }

int seqloom_lanes(int* out) {
  return seqloom::guarded([&] { *out = seqloom::lanes(); });
}

// Sets the vector instructions of the calling thread's kernels, 0 for those of the process; returns the previous
// setting.
int seqloom_lanes_set(int lanes) {
  const int before = of_this_thread;
  of_this_thread = lanes;
  return before;
}

}  // extern "C"
