// Attention for training, forward and backward, as one node of the graph: on the CPU, in f32, for sequences whose
// softmax is small enough to keep. It reads queries, keys and values, and writes their gradients, in the layout of the
// linear layers' products, without copies.
#include "attention_head.h"

#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

namespace {

using at::Tensor;
using seqloom::Factors, seqloom::Floats, seqloom::Gemm, seqloom::Nonzero, seqloom::RowMajor, seqloom::Transposed;
using seqloom::GROUP, seqloom::Head, seqloom::HeadShape, seqloom::Line, seqloom::Matrix, seqloom::Turn;
using seqloom::load, seqloom::store;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// In place: from the gradient of the softmax, (keys, room), to that of the products of queries and keys: scale P (G -
// sum(P G)).
struct ThroughSoftmax {
  template <int LANES>
  INLINE static void run(const float* weights, float* gradient, int64_t keys, int64_t queries, int64_t room, float scale) {
    typedef typename Floats<LANES>::Type Vector;
    for (int64_t first = 0; first < queries; first += LANES) {
      Vector mean = {};
      for (int64_t key = 0; key < keys; ++key) {
        const int64_t at = key * room + first;
        mean += load<Vector>(weights + at) * load<Vector>(gradient + at);
      }
      for (int64_t key = 0; key < keys; ++key) {
        const int64_t at = key * room + first;
        store(gradient + at, scale * load<Vector>(weights + at) * (load<Vector>(gradient + at) - mean));
      }
    }
  }
};

struct Shape {
  int64_t rows, queries, keys, heads, head_width;
  bool causal;
  // The number of keys of each row, at its start; empty if all.
  std::vector<int64_t> lengths;

  HeadShape of(int64_t row) const { return {queries, lengths.empty() ? keys : lengths[row], head_width, causal}; }
  int64_t room() const { return HeadShape{queries, keys, head_width, causal}.room(); }
};

void clear(const Matrix& matrix, int64_t begin, int64_t end, int64_t columns) {
  for (int64_t row = begin; row < end; ++row) std::fill_n(matrix.at + row * matrix.stride, columns, 0.0f);
}

// The gradients of a head from that of its result; those of keys behind its own, up to `keys`, are zero. `turned` is a
// buffer for the gradient of the result, `scores`, (keys, room), for that of the scores.
void backward_of(int lanes, const HeadShape& shape, const Head& head, const float* weights, const Matrix& gradient,
                 const Head& to, int64_t keys, float* turned, float* scores) {
  const int64_t room = shape.room(), filled = (shape.queries + lanes - 1) / lanes * lanes, width = shape.width;
  const Nonzero below = shape.causal ? Nonzero::UP_TO_ROW : Nonzero::EVERYWHERE;
  const Nonzero above = shape.causal ? Nonzero::FROM_ROW : Nonzero::EVERYWHERE;
  seqloom::on<Turn>(lanes, gradient, shape.queries, width, 1.0f, turned, room);
  const Factors<RowMajor> of_weights{{head.value.at, head.value.stride}, turned, room, scores, room, shape.keys, width, filled,
                                     Nonzero::EVERYWHERE};
  seqloom::on<Gemm>(lanes, of_weights);
  seqloom::on<ThroughSoftmax>(lanes, weights, scores, shape.keys, shape.queries, room, shape.scale());
  const auto through = [&](const float* left, const Matrix& right, const Matrix& out) {
    seqloom::on<Gemm>(lanes, Factors<RowMajor>{{left, room}, right.at, right.stride, out.at, out.stride, shape.keys,
                                               shape.queries, width, above});
    clear(out, shape.keys, keys, width);
  };
  through(weights, gradient, to.value);
  through(scores, head.query, to.key);
  seqloom::on<Gemm>(lanes, Factors<Transposed>{{scores, room}, head.key.at, head.key.stride, to.query.at, to.query.stride,
                                               shape.queries, shape.keys, width, below});
}

// Queries, keys or values of all rows, (B, positions, D), or a part of their columns.
struct Part {
  float* at;
  int64_t rows, positions, row_stride, stride;

  Part(const Tensor& tensor, int64_t column)
      : at(tensor.data_ptr<float>() + column),
        rows(tensor.size(0)),
        positions(tensor.size(1)),
        row_stride(tensor.stride(0)),
        stride(tensor.stride(1)) {}

  Matrix of(int64_t row, int64_t column) const { return {at + row * row_stride + column, stride}; }
};

// Queries, keys and values, concatenated in this order: in one tensor, in two or in three.
struct Parts {
  int64_t width = 0;
  std::vector<Part> parts;

  explicit Parts(at::TensorList tensors) {
    for (const Tensor& tensor : tensors) {
      TORCH_CHECK(tensor.is_cpu() && tensor.scalar_type() == at::kFloat && tensor.dim() == 3 && tensor.stride(2) == 1,
                  "attention needs rows of f32 on the CPU");
      width += tensor.size(2);
    }
    TORCH_CHECK(width > 0 && width % 3 == 0, "attention needs queries, keys and values of the same width");
    width /= 3;
    for (const Tensor& tensor : tensors) {
      TORCH_CHECK(tensor.size(2) % width == 0, "attention needs queries, keys and values of the same width");
      for (int64_t column = 0; column < tensor.size(2); column += width) parts.emplace_back(tensor, column);
    }
    const Part &query = parts[0], &key = parts[1], &value = parts[2];
    TORCH_CHECK(query.rows == key.rows && key.rows == value.rows && key.positions == value.positions,
                "attention needs one value per key, with the same rows");
  }

  Shape shape(int64_t heads, bool causal, std::vector<int64_t> lengths) const {
    TORCH_CHECK(heads > 0 && width % heads == 0, "heads divide the width");
    const int64_t rows = parts[0].rows, keys = parts[1].positions;
    const auto fits = [&](int64_t length) { return length >= 0 && length <= keys; };
    TORCH_CHECK(lengths.empty() || static_cast<int64_t>(lengths.size()) == rows, "attention needs one length per row");
    TORCH_CHECK(std::all_of(lengths.begin(), lengths.end(), fits), "no row has more keys than there are");
    return {rows, parts[0].positions, keys, heads, width / heads, causal, std::move(lengths)};
  }

  Head of(int64_t row, int64_t column) const {
    return {parts[0].of(row, column), parts[1].of(row, column), parts[2].of(row, column)};
  }
};

// Runs `work(row, head, room)` for each head of each row, with a buffer of this many numbers, a multiple of GROUP;
// `products` is the cost of each.
template <typename Work>
void for_each_head(const Shape& shape, int64_t numbers, int64_t products, const Work& work) {
  const int64_t of_one = shape.queries * shape.keys * (products * shape.head_width + seqloom::EXPONENTIAL);
  seqloom::parallel_for(0, shape.rows * shape.heads, seqloom::grain(of_one), [&](int64_t begin, int64_t end) {
    const std::unique_ptr<Line[]> room(new Line[numbers / GROUP]);
    for (int64_t n = begin; n < end; ++n) work(n / shape.heads, n % shape.heads, room[0].numbers);
  });
}

struct Attention : torch::autograd::Function<Attention> {
  // `keeps` the softmax if there will be a backward pass.
  static Tensor forward(AutogradContext* context, at::TensorList tensors, int64_t heads, bool causal,
                        const std::vector<int64_t>& lengths, bool keeps) {
    const Parts parts(tensors);
    const Shape shape = parts.shape(heads, causal, lengths);
    const int64_t one = shape.keys * shape.room(), turned = shape.head_width * shape.room();
    Tensor out = at::empty({shape.rows, shape.queries, parts.width}, tensors[0].options());
    const Tensor weights = at::empty({keeps ? shape.rows * heads * one : 0}, out.options());
    float* kept = weights.data_ptr<float>();
    const Part to(out, 0);
    const int lanes = seqloom::lanes();
    for_each_head(shape, turned + one, 2, [&](int64_t row, int64_t head, float* room) {
      const int64_t column = head * shape.head_width;
      float* softmax = keeps ? kept + (row * heads + head) * one : room + turned;
      seqloom::attend(lanes, shape.of(row), parts.of(row, column), to.of(row, column), softmax, room);
    });
    variable_list saved(tensors.begin(), tensors.end());
    saved.push_back(weights);
    context->save_for_backward(std::move(saved));
    context->saved_data["heads"] = heads;
    context->saved_data["causal"] = causal;
    context->saved_data["lengths"] = lengths;
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    auto saved = context->get_saved_variables();
    const Tensor weights = saved.back(), gradient = gradients[0].contiguous();
    saved.pop_back();
    const Parts parts(saved);
    const Shape shape = parts.shape(context->saved_data["heads"].toInt(), context->saved_data["causal"].toBool(),
                                    context->saved_data["lengths"].toIntVector());
    variable_list out;
    for (const Tensor& tensor : saved) out.push_back(at::empty(tensor.sizes(), tensor.options()));
    const Parts to(out);
    const Part from(gradient, 0);
    const int64_t one = shape.keys * shape.room(), turned = shape.head_width * shape.room();
    const float* kept = weights.const_data_ptr<float>();
    const int lanes = seqloom::lanes();
    for_each_head(shape, turned + one, 4, [&](int64_t row, int64_t head, float* room) {
      const int64_t column = head * shape.head_width;
      const float* softmax = kept + (row * shape.heads + head) * one;
      backward_of(lanes, shape.of(row), parts.of(row, column), softmax, from.of(row, column), to.of(row, column), shape.keys,
                  room, room + turned);
    });
    out.resize(saved.size() + 4);  // none for the four arguments after the tensors
    return out;
  }
};

}  // namespace

// `tensors`: (B, T, 3 D); or (B, T, D) and (B, S, 2 D); or three, as in Parts. out: (B, T, D). `lengths`: the number of
// keys per row; null if all.
extern "C" int seqloom_attention(Tensor** out, Tensor* const* tensors, int64_t count, int64_t heads, bool causal,
                                 const int64_t* lengths) {
  return seqloom::guarded([&] {
    const auto all = seqloom::list(tensors, count);
    TORCH_CHECK(count > 0 && all[0].dim() == 3, "attention needs (B, T, D)");
    const std::vector<int64_t> known(lengths, lengths ? lengths + all[0].size(0) : lengths);
    // Within `forward`, gradients are always off.
    const auto wanted = [](const Tensor& tensor) { return tensor.requires_grad(); };
    const bool keeps = at::GradMode::is_enabled() && std::any_of(all.begin(), all.end(), wanted);
    *out = new Tensor(Attention::apply(at::TensorList(all), heads, causal, known, keeps));
  });
}
