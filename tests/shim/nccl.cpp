// NCCL's sum over ranks and its errors, with a stand-in for the library (fake_nccl.cpp) and for the GPUs: the tensors are
// in main memory.
#include "../../src/shim/nccl.h"
#include "check.h"

#include <ATen/ops/add.h>
#include <ATen/ops/zeros.h>
#include <c10/core/impl/FakeGuardImpl.h>

#include <atomic>
#include <thread>
#include <utility>
#include <vector>

namespace {

using check::named, check::that;
using std::chrono::milliseconds;

std::atomic<bool> gpu_is_done{true};

// A GPU that the test lets finish.
struct Gpu final : c10::impl::DeviceGuardImplInterface {
  static constexpr c10::DeviceType static_type = c10::DeviceType::CUDA;
  c10::DeviceType type() const override { return c10::DeviceType::CUDA; }
  c10::Device exchangeDevice(c10::Device) const override { return getDevice(); }
  c10::Device getDevice() const override { return {type(), 0}; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device device) const noexcept override { return c10::Stream(c10::Stream::DEFAULT, device); }
  c10::Stream exchangeStream(c10::Stream stream) const noexcept override { return stream; }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  void record(void**, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {}
  bool queryEvent(void*) const override { return gpu_is_done; }
  void destroyEvent(void*, c10::DeviceIndex) const noexcept override {}
};

C10_REGISTER_GUARD_IMPL(CUDA, Gpu)

void fold(at::Tensor& rows) {
  for (int64_t apart = 1; apart < rows.size(0); apart *= 2)
    for (int64_t row = 0; row + apart < rows.size(0); row += 2 * apart) rows[row].add_(rows[row + apart]);
}

void sums_are_those_of_the_tree(int64_t ranks) {
  const auto own = check::numbers({ranks, ranks * 33}, 0);
  auto expected = own.clone();
  fold(expected);
  uint8_t id[seqloom::Nccl::ID_BYTES];
  seqloom::Nccl::make_id(id);
  std::vector<at::Tensor> flats;
  for (int64_t rank = 0; rank < ranks; ++rank) flats.push_back(own[rank].clone());
  std::vector<std::thread> threads;
  for (int64_t rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      seqloom::Nccl nccl(id, rank, ranks, 0, milliseconds(60000));
      nccl.sum(flats[rank], fold);
    });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& flat : flats) that(flat.equal(expected[0]), named("the sum of ranks", ranks));
}

template <typename Work>
void fails(const Work& work, const std::string& text) {
  try {
    work();
  } catch (const std::exception& error) {
    return that(error.what() == text, std::string("another error: ") + error.what());
  }
  check::fail("nothing failed; expected was " + text);
}

}  // namespace

extern "C" int fake_nccl_aborted();

void check::nccl() {
  for (const int64_t ranks : {1, 2, 4, 8}) sums_are_those_of_the_tree(ranks);
  uint8_t id[seqloom::Nccl::ID_BYTES] = {};
  fails([&] { seqloom::Nccl(id, 0, 1, 0, milliseconds(60000)); }, "NCCL: invalid usage");
  seqloom::Nccl::make_id(id);
  seqloom::Nccl alone(id, 0, 1, 0, milliseconds(20));
  auto flat = at::zeros({8});
  gpu_is_done = false;
  fails([&] { alone.sum(flat, fold); }, "NCCL: timed out waiting for the other ranks");
  that(fake_nccl_aborted() == 1, "the work of a lost rank is not aborted");
  gpu_is_done = true;
}
