// Attention within each of several concatenated sequences (packed sequences), as of the encoder in decoding, on the CPU.
//
// Sequences need no padding, and a sequence's numbers do not depend on the others. Queries are taken in blocks, so that
// memory grows with the length of a sequence, not with its square.
#include "attention_head.h"

#include <ATen/ops/empty.h>

#include <memory>
#include <numeric>
#include <vector>

namespace {

using seqloom::HeadShape, seqloom::Line;

// Queries of a block: their scores with a few hundred keys stay in the cache.
constexpr int64_t BLOCK = 4 * seqloom::GROUP;

// Consecutive queries of one sequence; all of them attend to all keys of the sequence.
struct Block {
  int64_t first, queries, first_key, keys;
};

std::vector<Block> blocks_of(const int64_t* lengths, int64_t count) {
  std::vector<Block> blocks;
  for (int64_t n = 0, start = 0; n < count; start += lengths[n], ++n) {
    for (int64_t first = 0; first < lengths[n]; first += BLOCK) {
      blocks.push_back({start + first, std::min(BLOCK, lengths[n] - first), start, lengths[n]});
    }
  }
  return blocks;
}

}  // namespace

// query_key_value: (N, 3 D), the positions of `count` sequences one after the other, each with its query, key and value.
// out: (N, D).
extern "C" int seqloom_packed_sequence_attention(at::Tensor** out, const at::Tensor* query_key_value, const int64_t* lengths,
                                                 int64_t count, int64_t heads) {
  return seqloom::guarded([&] {
    const at::Tensor& x = *query_key_value;
    TORCH_CHECK(x.is_cpu() && x.dim() == 2 && x.scalar_type() == at::kFloat && x.is_contiguous() && x.size(1) % 3 == 0,
                "attention needs rows of f32 on the CPU: query, key and value, concatenated");
    const int64_t width = x.size(1) / 3, stride = 3 * width;
    TORCH_CHECK(heads > 0 && width % heads == 0, "heads divide the width");
    TORCH_CHECK(std::all_of(lengths, lengths + count, [&](int64_t length) { return length >= 0 && length <= x.size(0); }) &&
                    std::accumulate(lengths, lengths + count, int64_t{0}) == x.size(0),
                "attention needs the length of each sequence");
    at::Tensor result = at::empty({x.size(0), width}, x.options());
    float *from = x.data_ptr<float>(), *to = result.data_ptr<float>();
    const auto blocks = blocks_of(lengths, count);
    const int64_t head_width = width / heads, longest = count > 0 ? *std::max_element(lengths, lengths + count) : 0;
    const int64_t turned = head_width * BLOCK;
    const int lanes = seqloom::lanes();
    const auto attend = [&](const Block& block, int64_t column, float* room) {
      float *query = from + block.first * stride + column, *key = from + block.first_key * stride + width + column;
      seqloom::attend(lanes, HeadShape{block.queries, block.keys, head_width, false},
                      {{query, stride}, {key, stride}, {key + width, stride}}, {to + block.first * width + column, width},
                      room + turned, room);
    };
    const int64_t of_one = BLOCK * longest * (2 * head_width + seqloom::EXPONENTIAL), all = blocks.size() * heads;
    seqloom::parallel_for(0, all, seqloom::grain(of_one), [&](int64_t begin, int64_t end) {
      const std::unique_ptr<Line[]> room(new Line[(turned + BLOCK * longest) / seqloom::GROUP]);
      for (int64_t n = begin; n < end; ++n) attend(blocks[n / heads], n % heads * head_width, room[0].numbers);
    });
    *out = new at::Tensor(std::move(result));
  });
}
