// The vector instructions of kernels, and how one source serves all of them.
//
// A kernel is a struct with an INLINE function `run<LANES>`. `on<Kernel>(lanes, ...)` calls its compiled version for
// AVX-512, for AVX2 with fused multiply-adds, or for any machine. The lanes of a call, that is, the floats per vector,
// are read once, by the calling thread, before work is split among others.
#pragma once

#include "shim.h"

#include <cstring>
#include <type_traits>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define SEQLOOM_X86 1
#define FOR_AVX512 __attribute__((target("avx512f,avx512bw,fma")))
#define FOR_VNNI __attribute__((target("avx512f,avx512bw,fma,avx512vnni")))
#define FOR_AVX2 __attribute__((target("avx2,fma")))
#endif

namespace seqloom {

// The lanes of this machine, or fewer as set by SEQLOOM_VECTORS: 16, 8 or 4. An error for any other value.
int lanes();
// The same for products of bytes, which without VNNI are fastest with AVX2.
int lanes_of_bytes();

#ifdef SEQLOOM_X86
template <typename Kernel, typename... Arguments>
FOR_AVX512 auto on_avx512(const Arguments&... arguments) {
  return Kernel::template run<16>(arguments...);
}

template <typename Kernel, typename... Arguments>
FOR_AVX2 auto on_avx2(const Arguments&... arguments) {
  return Kernel::template run<8>(arguments...);
}
#endif

template <typename Kernel, typename... Arguments>
inline auto on(int lanes, const Arguments&... arguments) {
#ifdef SEQLOOM_X86
  if (lanes == 16) return on_avx512<Kernel>(arguments...);
  if (lanes == 8) return on_avx2<Kernel>(arguments...);
#endif
  return Kernel::template run<4>(arguments...);
}

// Unaligned loads and stores of vectors, which compile to single instructions. An `aligned` attribute on the vector
// type would do the same, but GCC drops it from template arguments and then assumes full alignment.
template <typename Vector, typename Number>
INLINE Vector load(const Number* from) {
  static_assert(std::is_trivially_copyable_v<Vector> && sizeof(Vector) % sizeof(Number) == 0);
  Vector out;
  std::memcpy(&out, from, sizeof out);
  return out;
}

template <typename Vector, typename Number>
INLINE void store(Number* to, const Vector& vector) {
  static_assert(std::is_trivially_copyable_v<Vector> && sizeof(Vector) % sizeof(Number) == 0);
  std::memcpy(to, &vector, sizeof vector);
}

}  // namespace seqloom
