// Products of packed weights, attention, softmax and activations over many shapes, compared with libtorch. In one
// translation unit with the kernels: most of the compile time is libtorch's headers.
#include "../../src/shim/activations.cpp"
#include "../../src/shim/packed_sequence_attention.cpp"
#include "../../src/shim/paged_attention.cpp"
#include "../../src/shim/instructions.cpp"
#include "../../src/shim/log_softmax.cpp"
#include "../../src/shim/packed_weights.cpp"
#include "../../src/shim/packed_linear.cpp"
#include "check.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

namespace {

using check::done, check::named, check::near, check::numbers, check::refused, check::taken;

// Rows rounded to 8 bits by their own largest number, as numbers.
at::Tensor in_bytes(const at::Tensor& rows) {
  const at::Tensor largest = rows.abs().amax({1}, true);
  return (rows * (127.0 / largest)).round().to(at::kDouble) * (largest.to(at::kDouble) / 127.0);
}

at::Tensor expected(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int kind) {
  const auto wide = [](const at::Tensor& tensor) { return tensor.to(at::kDouble); };
  if (kind == seqloom::INT8) return at::linear(in_bytes(x), in_bytes(weight), wide(bias));
  return at::linear(wide(x), wide(kind == seqloom::BF16 ? weight.to(at::kBFloat16) : weight), wide(bias));
}

void product_of(int64_t outputs, int64_t inputs, int64_t rows, int kind) {
  const std::string what = named("product", outputs, inputs, rows, kind);
  const at::Tensor weight = numbers({outputs, inputs}, inputs % 5), bias = numbers({outputs}, outputs % 3);
  const at::Tensor x = numbers({rows, inputs}, rows % 7), residual = numbers({rows, outputs}, 1);
  const at::Tensor theirs = expected(x, weight, bias, kind);
  void* packed = nullptr;
  done(seqloom_pack_weights(&packed, &weight, &bias, kind), what);
  at::Tensor* made = nullptr;
  done(seqloom_packed_linear(&made, packed, &x, nullptr, false), what);
  near(taken(made), theirs, 2e-4, what);
  done(seqloom_packed_linear(&made, packed, &x, &residual, true), what);
  near(taken(made), theirs.relu() + residual, 2e-4, what + ", with ReLU and residual");
  at::Tensor log_p = at::empty({rows, outputs});
  done(seqloom_log_probabilities(log_p.data_ptr<float>(), packed, &x), what);
  near(log_p, at::log_softmax(theirs, -1), 2e-4, what + ", log-probabilities");
  const at::Tensor narrow = x.narrow(1, 0, inputs - 1);
  refused(seqloom_packed_linear(&made, packed, &narrow, nullptr, false), what + ", an input less");
  seqloom_free_packed_weights(packed);
}

void products() {
  for (int64_t size = 1; size <= 70; ++size) {
    for (const int kind : {seqloom::F32, seqloom::BF16, seqloom::INT8}) {
      product_of(size, 71 - size, 1 + size % 14, kind);
      product_of(71 - size, size, 1 + size * 3 % 8, kind);
      product_of(size, 1 + size * 7 % 10, 5, kind);
    }
  }
  product_of(130, 300, 300, seqloom::F32);
  product_of(130, 300, 300, seqloom::INT8);
}

// The softmax, (H, T, S), of queries, (H, T, K), and keys, (H, S, K).
at::Tensor softmax_of(const at::Tensor& queries, const at::Tensor& keys) {
  return at::softmax(queries.matmul(keys.transpose(1, 2)) / std::sqrt(static_cast<double>(queries.size(2))), -1);
}

// Rows that see lists of slots, for one width of heads.
void paged_attention_of(int64_t head_width, int64_t heads, int64_t rows, int64_t room) {
  const std::string what = named("paged attention", head_width, heads, rows, room);
  const int64_t width = heads * head_width;
  // Queries lie between other data, in rows that are not a multiple of the vector length.
  const at::Tensor query = numbers({rows, 3 * width + 1}, head_width % 3).narrow(1, width + 1, width);
  const at::Tensor keys_values = numbers({room, 2 * width}, head_width % 5);
  std::vector<int32_t> slots;
  std::vector<int64_t> starts, lengths;
  at::Tensor theirs = at::empty({0, width}), weights = at::empty({0, room});
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t length = row == 0 ? room : 1 + row * 7 % room;
    starts.push_back(static_cast<int64_t>(slots.size()));
    lengths.push_back(length);
    std::vector<int64_t> own;
    for (int64_t n = 0; n < length; ++n) own.push_back((row + n * 3) % room);
    slots.insert(slots.end(), own.begin(), own.end());
    const at::Tensor seen = keys_values.index_select(0, at::tensor(own, at::kLong)).view({length, 2, heads, head_width});
    const at::Tensor parts = seen.permute({1, 2, 0, 3});  // (2, H, L, K)
    const at::Tensor softmax = softmax_of(query[row].view({heads, 1, head_width}), parts[0]);  // (H, 1, L)
    theirs = at::cat({theirs, softmax.matmul(parts[1]).view({1, width})});
    const at::Tensor sums = softmax.sum(0);
    weights = at::cat({weights, at::cat({sums, at::zeros({1, room - length})}, 1)});
  }
  at::Tensor seen = at::zeros({rows, room});
  at::Tensor* made = nullptr;
  done(seqloom_paged_attention(&made, seen.data_ptr<float>(), room, &query, &keys_values, slots.data(), starts.data(),
                               lengths.data(), heads),
       what);
  near(taken(made), theirs, 1e-5, what);
  near(seen, weights, 1e-5, what + ", weights");
}

// Sequences of these lengths, each by itself.
void packed_sequences_of(int64_t head_width, int64_t heads, const std::vector<int64_t>& lengths) {
  const std::string what = named("attention within sequences", head_width, heads, lengths.front());
  const int64_t width = heads * head_width, positions = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  const at::Tensor all = numbers({positions, 3 * width}, head_width % 5);
  at::Tensor theirs = at::empty({0, width});
  int64_t start = 0;
  for (const int64_t length : lengths) {
    const at::Tensor parts = all.narrow(0, start, length).view({length, 3, heads, head_width}).permute({1, 2, 0, 3});  // (3, H, S, K)
    const at::Tensor out = length > 0 ? softmax_of(parts[0], parts[1]).matmul(parts[2]) : parts[2];
    theirs = at::cat({theirs, out.transpose(0, 1).reshape({length, width})});
    start += length;
  }
  at::Tensor* made = nullptr;
  const auto count = static_cast<int64_t>(lengths.size());
  done(seqloom_packed_sequence_attention(&made, &all, lengths.data(), count, heads), what);
  near(taken(made), theirs, 1e-5, what);
  refused(seqloom_packed_sequence_attention(&made, &all, lengths.data(), count - 1, heads), what + ", a sequence less");
}

void attention() {
  for (int64_t head_width = 1; head_width <= 130; ++head_width) {
    paged_attention_of(head_width, 1 + head_width % 3, 1 + head_width % 4, 1 + head_width * 5 % 23);
    packed_sequences_of(head_width, 1 + head_width % 3, {1 + head_width * 5 % 23, 0, 7});
  }
  for (int64_t length = 1; length <= 40; ++length) {
    paged_attention_of(24, 2, 3, length);
    packed_sequences_of(36, 2, {length, 2, 62 + length});
  }
}

void rows_of_numbers() {
  for (int64_t length = 1; length <= 100; ++length) {
    const at::Tensor x = numbers({length}, length % 11) * 4.0, logits = x.clone();
    done(seqloom_log_softmax(logits.data_ptr<float>(), length), "log-softmax");
    near(logits, at::log_softmax(x, -1), 1e-5, named("log-softmax", length));
    const at::Tensor moved = numbers({length}, length % 7);
    at::Tensor* made = nullptr;
    done(seqloom_silu(&made, &moved), "SiLU");
    near(taken(made), at::silu(moved), 1e-6, named("SiLU", length));
    done(seqloom_tanh(&made, &moved), "tanh");
    near(taken(made), at::tanh(moved), 3e-7, named("tanh", length));
    done(seqloom_gelu(&made, &moved), "GELU");
    near(taken(made), at::gelu(moved), 1e-6, named("GELU", length));
  }
}

}  // namespace

void check::decoding() {
  products();
  attention();
  rows_of_numbers();
}
