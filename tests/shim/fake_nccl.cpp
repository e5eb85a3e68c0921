// A stand-in for libnccl.so.2 whose ranks are threads of one process and whose GPUs are main memory, for nccl.cpp.
#include <condition_variable>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace {

struct Id {
  char bytes[128];
};

// The threads of a communicator. They meet before and after each copies what it is sent.
struct World {
  explicit World(size_t ranks) : sent(ranks, std::vector<const void*>(ranks)) {}

  void meet() {
    std::unique_lock lock(mutex);
    const auto now = round;
    if (++here == sent.size()) {
      here = 0;
      ++round;
      all_here.notify_all();
    }
    all_here.wait(lock, [&] { return round != now; });
  }

  std::mutex mutex;
  std::condition_variable all_here;
  size_t here = 0, round = 0;
  std::vector<std::vector<const void*>> sent;  // [from][to]
};

struct Receipt {
  void* to;
  size_t bytes;
  size_t from;
};

struct Communicator {
  std::shared_ptr<World> world;
  size_t rank;
  std::vector<Receipt> expected;
};

std::mutex worlds_mutex;
std::map<int, std::shared_ptr<World>> worlds;
int aborted = 0;
thread_local Communicator* in_group = nullptr;

void deliver(Communicator& own) {
  own.world->meet();
  for (const auto& [to, bytes, from] : own.expected) std::memcpy(to, own.world->sent[from][own.rank], bytes);
  own.expected.clear();
  own.world->meet();
}

}  // namespace

extern "C" {

// Ids are numbers from 1; no communicator has the id 0.
int ncclGetUniqueId(Id* id) {
  static int made = 0;
  std::memset(id, 0, sizeof(Id));
  const int number = ++made;
  std::memcpy(id->bytes, &number, sizeof number);
  return 0;
}

int ncclCommInitRank(void** out, int ranks, Id id, int rank) {
  int number = 0;
  std::memcpy(&number, id.bytes, sizeof number);
  if (number == 0) return 5;
  const std::lock_guard lock(worlds_mutex);
  auto& world = worlds[number];
  if (!world) world = std::make_shared<World>(ranks);
  *out = new Communicator{world, static_cast<size_t>(rank), {}};
  return 0;
}

int ncclGroupStart() { return 0; }

int ncclGroupEnd() {
  if (in_group) deliver(*in_group);
  in_group = nullptr;
  return 0;
}

int ncclSend(const void* data, size_t, int, int to, void* comm, void*) {
  in_group = static_cast<Communicator*>(comm);
  in_group->world->sent[in_group->rank][to] = data;
  return 0;
}

int ncclRecv(void* data, size_t count, int, int from, void* comm, void*) {
  static_cast<Communicator*>(comm)->expected.push_back({data, count * sizeof(float), static_cast<size_t>(from)});
  return 0;
}

int ncclAllGather(const void* own, void* all, size_t count, int, void* comm, void*) {
  auto& communicator = *static_cast<Communicator*>(comm);
  auto& from = communicator.world->sent;
  for (size_t rank = 0; rank < from.size(); ++rank) {
    from[communicator.rank][rank] = own;
    const auto bytes = count * sizeof(float);
    communicator.expected.push_back({static_cast<char*>(all) + rank * bytes, bytes, rank});
  }
  deliver(communicator);
  return 0;
}

int ncclCommDestroy(void* comm) {
  delete static_cast<Communicator*>(comm);
  return 0;
}

int ncclCommAbort(void* comm) {
  ++aborted;
  return ncclCommDestroy(comm);
}

int fake_nccl_aborted() { return aborted; }

const char* ncclGetErrorString(int) { return "invalid usage"; }

}  // extern "C"
