// The process: the version of libtorch, libraries, memory.
#include "shim.h"

#include <ATen/Context.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <torch/headeronly/version.h>

#include <dlfcn.h>
#include <unistd.h>
#ifdef SEQLOOM_MALLOC
#include <mimalloc.h>
#endif

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
#endif

#include <cstdlib>

std::string& seqloom::last_error() {
  thread_local std::string text;
  return text;
}

namespace {

// oneDNN compiles products of bf16 for each shape, and caches the last 1,024 of them, megabytes each. Batches have ever
// new shapes, so only those within one update recur. It reads this limit once, and only from the environment, which may
// be changed while there is a single thread: before `main`.
__attribute__((constructor)) void keep_few_compiled_products() { setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128", 0); }

#if defined(__x86_64__) && defined(__GNUC__)
// Whether the system saves the tile registers: an old one cannot use a CPU's AMX.
bool saves_tiles() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_OSXSAVE)) return false;
  unsigned low = 0, high = 0;
  asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  constexpr unsigned TILES = 3U << 17;
  return (low & TILES) == TILES;
}
#endif

}  // namespace

extern "C" {

const char* seqloom_libtorch_version() { return TORCH_VERSION; }

const char* seqloom_last_error() { return seqloom::last_error().c_str(); }

int seqloom_load(const char* library) {
  if (dlopen(library, RTLD_NOW | RTLD_GLOBAL)) return 0;
  const char* reason = dlerror();
  seqloom::last_error() = reason ? reason : "no reason given";
  return 1;
}

// Whether products of bf16 are faster than those of f32 on this CPU. Intel's have AVX512-BF16 at half the rate of f32's
// multiply-adds, and are faster only with tiles (AMX); AMD's are faster with AVX512-BF16.
bool seqloom_fast_bf16() {
#if defined(__x86_64__) && defined(__GNUC__)
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  const bool tiles = __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (edx & (1U << 22));
  __builtin_cpu_init();
  return (tiles && saves_tiles()) || (__builtin_cpu_is("amd") && __builtin_cpu_supports("avx512bf16"));
#else
  return false;
#endif
}

void seqloom_split_by(seqloom::Split split) { seqloom::split() = split; }

void seqloom_keep_pages() {
#ifdef SEQLOOM_MALLOC
  mi_option_set(mi_option_purge_delay, -1);
#endif
}

void seqloom_leave(int code) { _exit(code); }

void seqloom_prefer_flash_attention() { at::globalContext().setSDPUseCuDNN(false); }

// Peak bytes that libtorch has reserved on a GPU, and the GPU's free and total bytes.
int seqloom_gpu_memory(int64_t device, int64_t* reserved, int64_t* free) {
  return seqloom::guarded([&] {
    auto* allocator = c10::getDeviceAllocator(c10::DeviceType::CUDA);
    const auto index = static_cast<c10::DeviceIndex>(device);
    *reserved = allocator->getDeviceStats(index).reserved_bytes[0].peak;
    *free = static_cast<int64_t>(allocator->getMemoryInfo(index).first);
  });
}

// Returns unused memory to a GPU and resets the peak.
int seqloom_gpu_forget(int64_t device) {
  return seqloom::guarded([&] {
    auto* allocator = c10::getDeviceAllocator(c10::DeviceType::CUDA);
    allocator->emptyCache();
    allocator->resetPeakStats(static_cast<c10::DeviceIndex>(device));
  });
}

}  // extern "C"
