// What code that is written once for each width of vectors needs.
#pragma once

#include "shim.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define SEQLOOM_X86 1
#endif

namespace seqloom {

// The widest vectors of this machine, in floats.
inline int widest() {
#ifdef SEQLOOM_X86
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) return 16;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 8;
#endif
  return 4;
}

}  // namespace seqloom

// Of the functions NAME_512, NAME_256 and NAME_anywhere the one for this machine.
#ifdef SEQLOOM_X86
#define FOR_THIS_MACHINE(name) (seqloom::widest() == 16 ? name##_512 : seqloom::widest() == 8 ? name##_256 : name##_anywhere)
#else
#define FOR_THIS_MACHINE(name) name##_anywhere
#endif
