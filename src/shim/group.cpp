// A group of processes that train together: c10d's store, where they meet, and the collectives of its Gloo process group.
#include "shim.h"

#define USE_C10D_GLOO
#include <ATen/ops/empty.h>
#include <c10/util/Logging.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "nccl.h"

#include <array>
#include <chrono>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using c10d::ProcessGroupGloo;
using Bytes = std::vector<uint8_t>;

// Floats that are on their way at once: pieces that stay in the cache, each large enough to hide a message's latency.
constexpr int64_t PIECE = 1 << 20;

// A slot of the pipeline: what came from the other ranks, and the collective that still reads it.
struct Slot {
  at::Tensor received;
  c10::intrusive_ptr<c10d::Work> gather;
};

struct Meeting {
  c10::intrusive_ptr<c10d::TCPStore> tcp;
  c10::intrusive_ptr<c10d::Store> store;
};

struct Group {
  c10::intrusive_ptr<ProcessGroupGloo> gloo;
  int64_t ranks;
  std::array<Slot, 2> slots;
  // The GPUs' own collectives, where there are any.
  std::unique_ptr<seqloom::Nccl> nccl;
};

std::chrono::milliseconds limit(int64_t milliseconds) { return std::chrono::milliseconds(milliseconds); }

// Sums the rows along a binary tree: neighbours first, then pairs of neighbours, into the first row.
void fold(at::Tensor& rows) {
  const auto count = rows.size(0);
  for (int64_t apart = 1; apart < count; apart *= 2)
    for (int64_t row = 0; row + apart < count; row += 2 * apart) rows[row].add_(rows[row + apart]);
}

// Each rank sums one part of a piece, which all then get. While one piece is summed and returns, the next is on its way.
void sum(Group& group, at::Tensor& flat) {
  const auto ranks = group.ranks, piece = PIECE / ranks * ranks;
  const auto pieces = (flat.numel() + piece - 1) / piece;
  std::vector<int64_t> equal;
  c10::intrusive_ptr<c10d::Work> arriving;
  const auto part_of = [&](int64_t n) { return flat.narrow(0, n * piece, std::min(piece, flat.numel() - n * piece)); };
  for (int64_t n = 0; n <= pieces; ++n) {
    auto leaving = std::exchange(arriving, {});
    if (n < pieces) {
      auto& slot = group.slots[n % 2];
      if (auto gather = std::exchange(slot.gather, {})) gather->wait();
      auto part = part_of(n);
      if (slot.received.numel() != part.numel()) slot.received = at::empty({ranks, part.numel() / ranks});
      auto received = slot.received.view(-1);
      arriving = group.gloo->alltoall_base(received, part, equal, equal);
    }
    if (!leaving) continue;
    leaving->wait();
    auto& slot = group.slots[(n - 1) % 2];
    fold(slot.received);
    auto part = part_of(n - 1), own = slot.received[0];
    slot.gather = group.gloo->_allgather_base(part, own);
  }
  for (auto& slot : group.slots)
    if (auto gather = std::exchange(slot.gather, {})) gather->wait();
}

}  // namespace

extern "C" {

// Joins the store at `host`:`port`. Whoever has a listening socket serves it; -1 for none.
int seqloom_meeting_open(void** out, const char* host, int64_t port, int64_t socket, const char* prefix,
                         int64_t milliseconds) {
  return seqloom::guarded([&] {
    // c10d logs stacks of C++ for what callers get as an error anyway.
    FLAGS_caffe2_log_level = c10::GLOG_FATAL;
    c10d::TCPStoreOptions options;
    options.port = static_cast<uint16_t>(port);
    options.isServer = socket >= 0;
    if (socket >= 0) options.masterListenFd = static_cast<int>(socket);
    options.waitWorkers = false;
    options.timeout = limit(milliseconds);
    auto tcp = c10::make_intrusive<c10d::TCPStore>(host, options);
    auto store = c10::make_intrusive<c10d::PrefixStore>(prefix, tcp);
    *out = new Meeting{tcp, store};
  });
}

void seqloom_meeting_close(void* meeting) { delete static_cast<Meeting*>(meeting); }

int seqloom_meeting_set(void* meeting, const char* key, const uint8_t* bytes, int64_t count) {
  return seqloom::guarded([&] { static_cast<Meeting*>(meeting)->store->set(key, Bytes(bytes, bytes + count)); });
}

int seqloom_meeting_add(void* meeting, const char* key, int64_t* value) {
  return seqloom::guarded([&] { *value = static_cast<Meeting*>(meeting)->store->add(key, *value); });
}

int seqloom_meeting_has(void* meeting, const char* key, bool* out) {
  return seqloom::guarded([&] { *out = static_cast<Meeting*>(meeting)->store->check({key}); });
}

// The value of a key that is there, as a tensor of bytes.
int seqloom_meeting_get(void* meeting, const char* key, at::Tensor** out) {
  return seqloom::guarded([&] {
    const auto bytes = static_cast<Meeting*>(meeting)->store->get(key);
    auto tensor = at::empty({static_cast<int64_t>(bytes.size())}, at::kByte);
    if (!bytes.empty()) std::memcpy(tensor.data_ptr(), bytes.data(), bytes.size());
    *out = new at::Tensor(std::move(tensor));
  });
}

// Connects each rank with each other. Others reach this one at `address`, unless GLOO_SOCKET_IFNAME names an interface. A
// collective fails after `milliseconds`.
int seqloom_group_open(void** out, void* meeting, int64_t rank, int64_t ranks, const char* address,
                       int64_t milliseconds) {
  return seqloom::guarded([&] {
    auto options = std::getenv("GLOO_SOCKET_IFNAME") ? ProcessGroupGloo::Options::create_default(limit(milliseconds))
                                                     : ProcessGroupGloo::Options::create(limit(milliseconds));
    if (options->devices.empty()) options->devices.push_back(ProcessGroupGloo::createDeviceForHostname(address));
    auto store = c10::make_intrusive<c10d::PrefixStore>("gloo", static_cast<Meeting*>(meeting)->store);
    const auto number = static_cast<int>(rank), count = static_cast<int>(ranks);
    auto gloo = c10::make_intrusive<ProcessGroupGloo>(store, number, count, options);
    *out = new Group{std::move(gloo), ranks, {}, nullptr};
  });
}

void seqloom_group_close(void* group) { delete static_cast<Group*>(group); }

// Whatever failed: collectives of later calls fail after this time.
void seqloom_group_limit(void* group, int64_t milliseconds) {
  static_cast<Group*>(group)->gloo->setTimeout(limit(milliseconds));
}

// Prepares sums of tensors on a GPU. The first rank makes the id, 128 bytes, which all ranks then pass in.
int seqloom_nccl_id(uint8_t* id) {
  return seqloom::guarded([&] { seqloom::Nccl::make_id(id); });
}

int seqloom_group_use_nccl(void* group, int64_t device, int64_t rank, const uint8_t* id, int64_t milliseconds) {
  return seqloom::guarded([&] {
    auto* all = static_cast<Group*>(group);
    all->nccl = std::make_unique<seqloom::Nccl>(id, rank, all->ranks, device, limit(milliseconds));
  });
}

// Replaces the floats of all ranks by their sum, along a binary tree over the ranks: the same bits on each of them. Their
// number is a multiple of the number of ranks. A message of each rank travels beside it, as in seqloom_group_gather().
int seqloom_group_sum(void* group, at::Tensor* flat, at::Tensor* own, at::Tensor** out) {
  return seqloom::guarded([&] {
    auto& all = *static_cast<Group*>(group);
    if (flat->dim() != 1 || flat->scalar_type() != at::kFloat || flat->numel() % all.ranks != 0)
      throw std::invalid_argument("a sum over ranks needs floats, as many for each rank");
    auto messages = at::empty({all.ranks, own->numel()}, at::kByte);
    auto bytes = messages.view(-1);
    auto gather = all.gloo->_allgather_base(bytes, *own);
    if (flat->is_cpu()) {
      sum(all, *flat);
    } else if (all.nccl) {
      // A rank that is lost shows here already, in time.
      gather->wait();
      all.nccl->sum(*flat, fold);
    } else {
      auto copy = flat->cpu();
      sum(all, copy);
      flat->copy_(copy);
    }
    gather->wait();
    *out = new at::Tensor(std::move(messages));
  });
}

// The bytes of all ranks, as many from each: (ranks, bytes).
int seqloom_group_gather(void* group, at::Tensor* own, at::Tensor** out) {
  return seqloom::guarded([&] {
    auto& all = *static_cast<Group*>(group);
    auto bytes = at::empty({all.ranks, own->numel()}, at::kByte);
    auto flat = bytes.view(-1);
    all.gloo->_allgather_base(flat, *own)->wait();
    *out = new at::Tensor(std::move(bytes));
  });
}

// The first rank's bytes for all.
int seqloom_group_broadcast(void* group, at::Tensor* bytes) {
  return seqloom::guarded([&] {
    std::vector<at::Tensor> tensors{*bytes};
    static_cast<Group*>(group)->gloo->broadcast(tensors)->wait();
  });
}

}  // extern "C"
