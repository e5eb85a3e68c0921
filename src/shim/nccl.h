// NCCL's collectives, by the library that comes with libtorch's CUDA half. It is loaded at run time, like that half: its
// functions are looked up by name, and their C types written out (nccl.h of NCCL 2).
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>

namespace seqloom {

class Nccl {
 public:
  static constexpr size_t ID_BYTES = 128;

  static void make_id(uint8_t* id) {
    Id made;
    check(function<int(Id*)>("ncclGetUniqueId")(&made));
    std::memcpy(id, made.bytes, ID_BYTES);
  }

  // Waits for all ranks; each has a GPU of its own.
  Nccl(const uint8_t* id, int64_t rank, int64_t ranks, int64_t device, std::chrono::milliseconds limit)
      : ranks_(ranks), device_(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(device)), limit_(limit) {
    Id copy;
    std::memcpy(copy.bytes, id, ID_BYTES);
    const c10::DeviceGuard guard(device_);
    const auto init = function<int(void**, int, Id, int)>("ncclCommInitRank");
    check(init(&comm_, static_cast<int>(ranks), copy, static_cast<int>(rank)));
  }

  Nccl(const Nccl&) = delete;
  Nccl& operator=(const Nccl&) = delete;

  ~Nccl() {
    if (comm_) function<int(void*)>("ncclCommDestroy")(comm_);
  }

  // Each rank sums one part by `fold`, which all then get.
  template <typename Fold>
  void sum(at::Tensor& flat, const Fold& fold) {
    const c10::DeviceGuard guard(device_);
    const auto part = flat.numel() / ranks_;
    auto received = at::empty({ranks_, part}, flat.options());
    check(function<int()>("ncclGroupStart")());
    const auto send = function<int(const void*, size_t, int, int, void*, void*)>("ncclSend");
    const auto receive = function<int(void*, size_t, int, int, void*, void*)>("ncclRecv");
    for (int64_t rank = 0; rank < ranks_; ++rank) {
      check(send(flat.data_ptr<float>() + rank * part, part, FLOAT, static_cast<int>(rank), comm_, STREAM));
      check(receive(received.data_ptr<float>() + rank * part, part, FLOAT, static_cast<int>(rank), comm_, STREAM));
    }
    check(function<int()>("ncclGroupEnd")());
    fold(received);
    const auto gather = function<int(const void*, void*, size_t, int, void*, void*)>("ncclAllGather");
    check(gather(received.data_ptr<float>(), flat.data_ptr<float>(), part, FLOAT, comm_, STREAM));
    wait();
  }

 private:
  struct Id {
    char bytes[ID_BYTES];
  };

  static constexpr int FLOAT = 7;
  // The stream that libtorch works on where nobody chooses another one.
  static constexpr void* STREAM = nullptr;

  template <typename Signature>
  static Signature* function(const char* name) {
    static void* const library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_GLOBAL);
    void* const found = library ? dlsym(library, name) : nullptr;
    if (!found) throw std::runtime_error(std::string("NCCL: ") + (library ? name : "libnccl.so.2") + " is not there");
    return reinterpret_cast<Signature*>(found);
  }

  static void check(int status) {
    if (status == 0) return;
    throw std::runtime_error(std::string("NCCL: ") + function<const char*(int)>("ncclGetErrorString")(status));
  }

  // A rank that is lost would keep the GPU waiting for ever.
  void wait() {
    const c10::impl::VirtualGuardImpl gpu(c10::DeviceType::CUDA);
    c10::Event done(c10::DeviceType::CUDA);
    done.record(gpu.getStream(device_));
    const auto until = std::chrono::steady_clock::now() + limit_;
    for (auto pause = std::chrono::microseconds(10); !done.query(); pause = std::min(2 * pause, LONGEST_PAUSE)) {
      if (std::chrono::steady_clock::now() > until) {
        function<int(void*)>("ncclCommAbort")(std::exchange(comm_, nullptr));
        throw std::runtime_error("NCCL: timed out waiting for the other ranks");
      }
      std::this_thread::sleep_for(pause);
    }
  }

  static constexpr std::chrono::microseconds LONGEST_PAUSE{1000};

  int64_t ranks_;
  c10::Device device_;
  std::chrono::milliseconds limit_;
  void* comm_ = nullptr;
};

}  // namespace seqloom
