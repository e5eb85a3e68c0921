// A linear layer with its epilogue: bias, ReLU, dropout and residual in one pass over the product, and one node of the
// graph. On the CPU, in f32.
#include "dropout_mask.h"
#include "instructions.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <vector>

namespace {

using at::Tensor;
using seqloom::BLOCK, seqloom::DropoutMask;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Rows per partial sum of gradients: sums of partial sums lose less precision.
constexpr int64_t ROWS_AT_ONCE = 64;

// The epilogue of the product.
struct Epilogue {
  bool relu, drops;
  DropoutMask draw;
};

// A block of the matrix: `length` numbers from `at` on, the first of them in `column`. All but the last are full.
struct Place {
  int64_t at, length, column;
  bool whole, in_row;

  Place(int64_t block, int64_t count, int64_t columns)
      : at(block * BLOCK),
        length(std::min(BLOCK, count - at)),
        column(at % columns),
        whole(length == BLOCK),
        in_row(column + BLOCK <= columns) {}
};

// Loops run over full blocks, with a copy on the stack for a partial one, so that the compiler knows their length.
INLINE const float* block_of(const float* from, const Place& place, float* room) {
  if (place.whole) return from + place.at;
  std::fill(room, room + BLOCK, 0.0f);
  std::copy(from + place.at, from + place.at + place.length, room);
  return room;
}

// The numbers of a row vector that belong to a block.
INLINE const float* beside(const float* row, const Place& place, int64_t columns, float* room) {
  if (place.in_row) return row + place.column;
  for (int64_t i = 0, column = place.column; i < BLOCK; ++i, column = column + 1 < columns ? column + 1 : 0) {
    room[i] = row[column];
  }
  return room;
}

// y = drop(relu(y + bias)) + residual, in place, for the blocks from `begin` to `end`; no layer has both ReLU and a
// residual. NaN stays NaN: a dropped NaN is 0 * NaN, and ReLU's comparison keeps it.
struct Forward {
  template <int LANES>
  INLINE static void run(float* y, const float* bias, const float* residual, int64_t count, int64_t columns, int64_t begin,
                         int64_t end, Epilogue epilogue) {
    float out[BLOCK], factor[BLOCK], room[BLOCK];
    for (int64_t block = begin; block < end; ++block) {
      const Place place(block, count, columns);
      const float* from = block_of(y, place, room);
      for (int64_t i = 0; i < BLOCK; ++i) out[i] = from[i];
      if (bias) {
        const float* add = beside(bias, place, columns, room);
        for (int64_t i = 0; i < BLOCK; ++i) out[i] += add[i];
      }
      if (epilogue.relu) {
        for (int64_t i = 0; i < BLOCK; ++i) out[i] = out[i] < 0.0f ? 0.0f : out[i];
      }
      if (epilogue.drops) {
        epilogue.draw.factors(block, factor);
        for (int64_t i = 0; i < BLOCK; ++i) out[i] *= factor[i];
      }
      if (residual) {
        const float* add = block_of(residual, place, room);
        for (int64_t i = 0; i < BLOCK; ++i) out[i] += add[i];
      }
      std::copy(out, out + place.length, y + place.at);
    }
  }
};

// The gradient of the product, for the blocks from `begin` to `end`, into `to`, and its sum over the rows, added to
// `sums`; either may be null. `y` is the result of ReLU and dropout: where it is zero, so is the gradient.
struct Backward {
  template <int LANES>
  INLINE static void run(float* to, const float* gradient, const float* y, float* sums, int64_t count, int64_t columns,
                         int64_t begin, int64_t end, Epilogue epilogue) {
    float out[BLOCK], factor[BLOCK], room[BLOCK];
    for (int64_t block = begin; block < end; ++block) {
      const Place place(block, count, columns);
      const float* from = block_of(gradient, place, room);
      for (int64_t i = 0; i < BLOCK; ++i) out[i] = from[i];
      if (epilogue.drops) {
        epilogue.draw.factors(block, factor);
        for (int64_t i = 0; i < BLOCK; ++i) out[i] *= factor[i];
      }
      if (epilogue.relu) {
        const float* left = block_of(y, place, room);
        for (int64_t i = 0; i < BLOCK; ++i) out[i] = left[i] <= 0.0f ? 0.0f : out[i];
      }
      if (to) std::copy(out, out + place.length, to + place.at);
      if (sums && place.in_row && place.whole) {
        for (int64_t i = 0; i < BLOCK; ++i) sums[place.column + i] += out[i];
      } else if (sums) {
        for (int64_t i = 0; i < place.length; ++i) sums[(place.column + i) % columns] += out[i];
      }
    }
  }
};

int64_t blocks_of(int64_t count) { return (count + BLOCK - 1) / BLOCK; }

// The gradient of the product, and that of the bias where it is defined. On one thread: the order of the sums is that
// of the rows. `y` is undefined without ReLU.
Tensor gradient_of_product(const Tensor& gradient, const Tensor& y, Tensor& bias, const Epilogue& epilogue) {
  const bool changes = epilogue.relu || epilogue.drops;
  if (!changes && !bias.defined()) return gradient;
  const int64_t columns = gradient.size(1), count = gradient.numel(), all = blocks_of(count);
  Tensor out = changes ? at::empty(gradient.sizes(), gradient.options()) : gradient;
  std::vector<float> sums(bias.defined() ? columns : 0);
  float* to = changes ? out.data_ptr<float>() : nullptr;
  float* total = bias.defined() ? bias.data_ptr<float>() : nullptr;
  const float* left = epilogue.relu ? y.const_data_ptr<float>() : nullptr;
  const int lanes = seqloom::lanes();
  // This many rows are full blocks, whatever their width.
  for (int64_t begin = 0; begin < all; begin += ROWS_AT_ONCE * columns / BLOCK) {
    const int64_t end = std::min(all, begin + ROWS_AT_ONCE * columns / BLOCK);
    std::fill(sums.begin(), sums.end(), 0.0f);
    seqloom::on<Backward>(lanes, to, gradient.const_data_ptr<float>(), left, total ? sums.data() : nullptr, count,
                          columns, begin, end, epilogue);
    for (size_t i = 0; i < sums.size(); ++i) total[i] += sums[i];
  }
  return out;
}

struct Affine : torch::autograd::Function<Affine> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& weight,
                        const std::optional<Tensor>& bias, const std::optional<Tensor>& residual, bool relu, double p,
                        int64_t seed) {
    TORCH_CHECK(!relu || !residual, "the gradient of ReLU asks what it left, which a residual would hide");
    const Tensor rows = x.reshape({-1, x.size(-1)});
    Tensor y = at::mm(rows, weight.t());  // (N, outputs)
    const int64_t columns = y.size(1), count = y.numel();
    TORCH_CHECK(p == 0.0 || count <= std::numeric_limits<uint32_t>::max(), "dropout needs fewer than 2^32 elements");
    const Epilogue epilogue{relu, p > 0.0, DropoutMask(p, static_cast<uint64_t>(seed))};
    const Tensor around = residual ? residual->contiguous() : Tensor();
    TORCH_CHECK(!residual || around.numel() == count, "a residual needs the shape of what it is added to");
    const float* add = bias ? bias->const_data_ptr<float>() : nullptr;
    const float* way_around = residual ? around.const_data_ptr<float>() : nullptr;
    const int lanes = seqloom::lanes();
    float* out = y.data_ptr<float>();
    seqloom::parallel_for(0, blocks_of(count), 256, [&](int64_t begin, int64_t end) {
      seqloom::on<Forward>(lanes, out, add, way_around, count, columns, begin, end, epilogue);
    });
    auto shape = x.sizes().vec();
    shape.back() = columns;
    y = y.view(shape);
    context->save_for_backward({rows, weight, relu ? y : Tensor()});
    context->saved_data["epilogue"] = std::vector<int64_t>{bias.has_value(), residual.has_value(), seed};
    context->saved_data["p"] = p;
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &rows = saved[0], &weight = saved[1], &y = saved[2];
    const auto epilogue = context->saved_data["epilogue"].toIntVector();
    const double p = context->saved_data["p"].toDouble();
    const bool has_bias = epilogue[0] != 0, has_residual = epilogue[1] != 0;
    const DropoutMask draw(p, static_cast<uint64_t>(epilogue[2]));
    const Tensor gradient = gradients[0].reshape({-1, weight.size(0)}).contiguous();
    Tensor bias = has_bias && context->needs_input_grad(2) ? at::zeros({weight.size(0)}, weight.options()) : Tensor();
    const Tensor product = gradient_of_product(gradient, y, bias, {y.defined(), p > 0.0, draw});
    variable_list out(7);
    if (context->needs_input_grad(0)) {
      auto shape = gradients[0].sizes().vec();
      shape.back() = rows.size(1);
      out[0] = at::mm(product, weight).view(shape);
    }
    if (context->needs_input_grad(1)) out[1] = at::mm(product.t(), rows);
    out[2] = bias;
    if (has_residual) out[3] = gradients[0];
    return out;
  }
};

}  // namespace

// Without bias or residual they are null.
extern "C" int seqloom_linear(Tensor** out, const Tensor* x, const Tensor* weight, const Tensor* bias,
                              const Tensor* residual, bool relu, double p, uint64_t seed) {
  return seqloom::guarded([&] {
    const auto maybe = [](const Tensor* tensor) { return tensor ? std::optional<Tensor>(*tensor) : std::nullopt; };
    *out = new Tensor(
        Affine::apply(*x, *weight, maybe(bias), maybe(residual), relu, p, static_cast<int64_t>(seed)));
  });
}
