// Attention for training, forward and backward, as one node of the graph: on the CPU, in f32, for sequences whose
// softmax is small enough to keep. It reads queries, keys and values, and writes their gradients, in the layout of the
// linear layers' products, without copies.
//
// Scores are transposed, (keys, queries): so a softmax runs down a column, and a vector holds several queries.
#include "softmax.h"
#include "small_gemm.h"

#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

namespace {

using at::Tensor;
using seqloom::RowMajor, seqloom::Factors, seqloom::Floats, seqloom::Gemm, seqloom::Nonzero, seqloom::Transposed;
using seqloom::load, seqloom::store;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Queries are padded to a multiple of this, which every vector length divides.
constexpr int64_t GROUP = 16;

// Alignment, as of an AVX-512 vector: one across two cache lines takes twice as long to load.
struct alignas(GROUP * sizeof(float)) Line {
  float numbers[GROUP];
};

// A matrix whose rows are `stride` numbers apart.
struct Matrix {
  float* at;
  int64_t stride;
};

// Transposes (rows, columns) to (columns, room), padded with zeros, times `scale`.
struct Turn {
  template <int LANES>
  INLINE static void run(const Matrix& from, int64_t rows, int64_t columns, float scale, float* to, int64_t room) {
    const int64_t whole = columns - columns % 4;
    int64_t row = 0;
    for (; row + 4 <= rows; row += 4) {
      for (int64_t column = 0; column < whole; column += 4) {
        four(from.at + row * from.stride + column, from.stride, scale, to + column * room + row, room);
      }
    }
    for (int64_t column = 0; column < columns; ++column) {
      for (int64_t r = column < whole ? row : 0; r < rows; ++r) {
        to[column * room + r] = scale * from.at[r * from.stride + column];
      }
      std::fill(to + column * room + rows, to + (column + 1) * room, 0.0f);
    }
  }

  INLINE static void four(const float* from, int64_t stride, float scale, float* to, int64_t room) {
    typedef Floats<4>::Type Four;
    Four row[4];
    for (int n = 0; n < 4; ++n) row[n] = scale * load<Four>(from + n * stride);
    const Four one = __builtin_shufflevector(row[0], row[1], 0, 4, 1, 5);
    const Four two = __builtin_shufflevector(row[2], row[3], 0, 4, 1, 5);
    const Four three = __builtin_shufflevector(row[0], row[1], 2, 6, 3, 7);
    const Four four = __builtin_shufflevector(row[2], row[3], 2, 6, 3, 7);
    store(to, __builtin_shufflevector(one, two, 0, 1, 4, 5));
    store(to + room, __builtin_shufflevector(one, two, 2, 3, 6, 7));
    store(to + 2 * room, __builtin_shufflevector(three, four, 0, 1, 4, 5));
    store(to + 3 * room, __builtin_shufflevector(three, four, 2, 3, 6, 7));
  }
};

// In place: the softmax of each column of the scores, (keys, room). With `causal` a query attends to no later key.
struct Softmax {
  template <int LANES>
  INLINE static void run(float* scores, int64_t keys, int64_t queries, int64_t room, bool causal) {
    typedef typename Floats<LANES>::Type Vector;
    typedef typename Floats<LANES>::Places Places;
    constexpr float LOWEST = -std::numeric_limits<float>::infinity();
    Places place;
    for (int lane = 0; lane < LANES; ++lane) place[lane] = causal ? lane : std::numeric_limits<int32_t>::max();
    for (int64_t first = 0; first < queries; first += LANES) {
      float* column = scores + first;
      const int64_t seen = causal ? std::min(keys, first + LANES) : keys;
      Vector most = Vector{} + LOWEST, sum = {};
      for (int64_t key = 0; key < seen; ++key) {
        const auto score = load<Vector>(column + key * room);
        const Places hidden = place < static_cast<int32_t>(key - first * causal);
        const Vector shown = hidden ? Vector{} + LOWEST : score;
        most = most > shown ? most : shown;
      }
      for (int64_t key = 0; key < seen; ++key) {
        float lane[LANES];
        store(lane, load<Vector>(column + key * room) - most);
        for (int n = 0; n < LANES; ++n) lane[n] = seqloom::exponential(lane[n]);
        const Places hidden = place < static_cast<int32_t>(key - first * causal);
        const Vector weight = hidden ? Vector{} : load<Vector>(lane);
        sum += weight;
        store(column + key * room, weight);
      }
      const Vector share = 1.0f / sum;
      for (int64_t key = 0; key < seen; ++key) store(column + key * room, share * load<Vector>(column + key * room));
      for (int64_t key = seen; key < keys; ++key) store(column + key * room, Vector{});
    }
  }
};

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

// Queries, keys and values of one head of one row.
struct Head {
  Matrix query, key, value;
};

struct Shape {
  int64_t rows, queries, keys, heads, head_width;
  bool causal;
  // The number of keys of each row, at its start; empty if all.
  std::vector<int64_t> lengths;

  int64_t room() const { return (queries + GROUP - 1) / GROUP * GROUP; }
  int64_t seen(int64_t row) const { return lengths.empty() ? keys : lengths[row]; }
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(head_width)); }
};

// Attention over the first `seen` keys of a head. `weights`, (keys, room), gets the softmax; `turned` is a buffer for
// the transposed queries.
void forward_of(int lanes, const Shape& shape, const Head& head, int64_t seen, const Matrix& out, float* weights, float* turned) {
  const int64_t room = shape.room(), filled = (shape.queries + lanes - 1) / lanes * lanes;
  seqloom::on<Turn>(lanes, head.query, shape.queries, shape.head_width, shape.scale(), turned, room);
  const Factors<RowMajor> scores{{head.key.at, head.key.stride}, turned, room, weights, room, seen, shape.head_width, filled,
                                 Nonzero::EVERYWHERE};
  seqloom::on<Gemm>(lanes, scores);
  seqloom::on<Softmax>(lanes, weights, seen, shape.queries, room, shape.causal);
  const Factors<Transposed> mixed{{weights, room}, head.value.at, head.value.stride, out.at, out.stride, shape.queries, seen,
                              shape.head_width, shape.causal ? Nonzero::UP_TO_ROW : Nonzero::EVERYWHERE};
  seqloom::on<Gemm>(lanes, mixed);
}

void clear(const Matrix& matrix, int64_t begin, int64_t end, int64_t columns) {
  for (int64_t row = begin; row < end; ++row) std::fill_n(matrix.at + row * matrix.stride, columns, 0.0f);
}

// The gradients of a head from that of its result. `turned` is a buffer for this gradient, `scores`, (keys, room), for
// that of the scores.
void backward_of(int lanes, const Shape& shape, const Head& head, int64_t seen, const float* weights, const Matrix& gradient,
                 const Head& to, float* turned, float* scores) {
  const int64_t room = shape.room(), filled = (shape.queries + lanes - 1) / lanes * lanes, width = shape.head_width;
  const Nonzero below = shape.causal ? Nonzero::UP_TO_ROW : Nonzero::EVERYWHERE;
  const Nonzero above = shape.causal ? Nonzero::FROM_ROW : Nonzero::EVERYWHERE;
  seqloom::on<Turn>(lanes, gradient, shape.queries, width, 1.0f, turned, room);
  const Factors<RowMajor> of_weights{{head.value.at, head.value.stride}, turned, room, scores, room, seen, width, filled,
                                     Nonzero::EVERYWHERE};
  seqloom::on<Gemm>(lanes, of_weights);
  seqloom::on<ThroughSoftmax>(lanes, weights, scores, seen, shape.queries, room, shape.scale());
  const auto through = [&](const float* left, const Matrix& right, const Matrix& out) {
    seqloom::on<Gemm>(lanes, Factors<RowMajor>{{left, room}, right.at, right.stride, out.at, out.stride, seen,
                                                   shape.queries, width, above});
    clear(out, seen, shape.keys, width);
  };
  through(weights, gradient, to.value);
  through(scores, head.query, to.key);
  seqloom::on<Gemm>(lanes, Factors<Transposed>{{scores, room}, head.key.at, head.key.stride, to.query.at, to.query.stride,
                                               shape.queries, seen, width, below});
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
      forward_of(lanes, shape, parts.of(row, column), shape.seen(row), to.of(row, column), softmax, room);
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
      backward_of(lanes, shape, parts.of(row, column), shape.seen(row), softmax, from.of(row, column), to.of(row, column),
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
