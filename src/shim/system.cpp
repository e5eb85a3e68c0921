// The process: which libtorch it has, its libraries, its memory.
#include "shim.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <c10/util/ParallelGuard.h>
#include <torch/headeronly/version.h>

#include <dlfcn.h>
#if __has_include(<malloc.h>)
#include <malloc.h>
#endif

#include <limits>

std::string& seqloom::last_error() {
  thread_local std::string text;
  return text;
}

extern "C" {

const char* seqloom_libtorch_version() { return TORCH_VERSION; }

const char* seqloom_last_error() { return seqloom::last_error().c_str(); }

int seqloom_load(const char* library) {
  if (dlopen(library, RTLD_NOW | RTLD_GLOBAL)) return 0;
  const char* reason = dlerror();
  seqloom::last_error() = reason ? reason : "no reason given";
  return 1;
}

void* seqloom_alone_begin() { return new c10::ParallelGuard(true); }

void seqloom_alone_end(void* guard) { delete static_cast<c10::ParallelGuard*>(guard); }

void seqloom_keep_pages() {
#if defined(__GLIBC__)
  // No block of its own per large tensor, and nothing handed back at the top: each step meets the pages of the last one.
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_TOP_PAD, 64 << 20);
#endif
}

// Bytes that libtorch has reserved on a GPU at most so far, and those that the GPU has free and in all.
int seqloom_gpu_memory(int64_t device, int64_t* reserved, int64_t* free, int64_t* total) {
  return seqloom::guarded([&] {
    auto* allocator = c10::getDeviceAllocator(c10::DeviceType::CUDA);
    const auto index = static_cast<c10::DeviceIndex>(device);
    const auto [unused, all] = allocator->getMemoryInfo(index);
    *reserved = allocator->getDeviceStats(index).reserved_bytes[0].peak;
    *free = static_cast<int64_t>(unused);
    *total = static_cast<int64_t>(all);
  });
}

}  // extern "C"
