// The output layer and the cross-entropy behind it in one piece, a few rows at a time: the logits of a whole batch
// never stand in memory, and those of a piece become their own gradient in place.
//
// With p the softmax of a row's logits x over V tokens, y its label and e the smoothing, the loss of the row is
//   (1 - e) (L - x_y) + e (L - mean(x)),  L = log(sum(exp(x))),  and its gradient  p - (1 - e) [v = y] - e / V.
#include "softmax.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace {

using seqloom::exponentials;
using seqloom::largest_and_sum;

// Rows whose logits are there at a time. Enough for matrix products at full speed, and few enough for the cache.
constexpr int64_t CHUNK = 512;
struct RowLoss {
  double smoothed, nll;
  bool correct;
};

EVERY_X86 void scale_and_shift(float* x, int64_t count, float scale, float shift) {
  for (int64_t i = 0; i < count; ++i) x[i] = x[i] * scale - shift;
}

// The loss of one row; with `gradient` its logits become their own gradient.
RowLoss row_loss(float* x, int64_t count, int64_t label, double smoothing, bool gradient) {
  const float at_label = x[label];
  float largest;
  double total;
  largest_and_sum(x, count, &largest, &total);
  const double sum = exponentials(x, count, largest);
  const double log_sum = static_cast<double>(largest) + std::log(sum);
  const double nll = log_sum - at_label, uniform = log_sum - total / count;
  if (gradient) {
    scale_and_shift(x, count, static_cast<float>(1.0 / sum), static_cast<float>(smoothing / count));
    x[label] -= static_cast<float>(1.0 - smoothing);
  }
  return {(1.0 - smoothing) * nll + smoothing * uniform, nll, at_label >= largest};
}

// Sums over the rows: smoothed loss, negative log-likelihood, labels that are the likeliest token.
struct Sums {
  double smoothed = 0.0, nll = 0.0;
  int64_t correct = 0;
};

void chunk_on_cpu(at::Tensor& logits, const at::Tensor& labels, double smoothing, bool gradient, Sums& sums) {
  const int64_t rows = logits.size(0), count = logits.size(1);
  std::vector<RowLoss> losses(rows);
  float* x = logits.data_ptr<float>();
  const int64_t* label = labels.const_data_ptr<int64_t>();
  const bool known = std::all_of(label, label + rows, [&](int64_t id) { return 0 <= id && id < count; });
  TORCH_CHECK(known, "a label that the vocabulary does not have");
  at::parallel_for(0, rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      losses[row] = row_loss(x + row * count, count, label[row], smoothing, gradient);
    }
  });
  // In the order of the rows, so that the number of threads does not matter.
  for (const RowLoss& row : losses) {
    sums.smoothed += row.smoothed;
    sums.nll += row.nll;
    sums.correct += row.correct;
  }
}

// The same by libtorch's kernels, for other devices. Its sums stay on the device until the end.
void chunk_elsewhere(at::Tensor& logits, const at::Tensor& labels, double smoothing, bool gradient,
                     at::Tensor& totals) {
  const double count = static_cast<double>(logits.size(1));
  const at::Tensor log_p = at::log_softmax(logits, -1);
  const at::Tensor at_label = log_p.gather(1, labels.unsqueeze(1));
  const at::Tensor nll = -at_label.sum(), uniform = -log_p.sum() / count;
  totals[0] += nll * (1.0 - smoothing) + uniform * smoothing;
  totals[1] += nll;
  totals[2] += log_p.argmax(-1).eq(labels).sum();
  if (gradient) {
    logits.copy_(log_p).exp_().sub_(smoothing / count);
    logits.scatter_add_(1, labels.unsqueeze(1), at::full_like(at_label, smoothing - 1.0));
  }
}

struct VocabularyLoss : torch::autograd::Function<VocabularyLoss> {
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context, const at::Tensor& hidden,
                                                const at::Tensor& weight, const at::Tensor& labels, double smoothing,
                                                int64_t type, bool of_hidden, bool of_weight) {
    const int64_t rows = hidden.size(0), vocabulary = weight.size(0);
    const bool gradient = of_hidden || of_weight;
    const auto kind = static_cast<at::ScalarType>(type);
    const at::Tensor x = hidden.to(kind).contiguous(), w = weight.to(kind).contiguous();
    const auto options = hidden.options().dtype(at::kFloat);
    at::Tensor to_hidden = of_hidden ? at::empty_like(x) : at::Tensor();
    at::Tensor to_weight = of_weight ? at::zeros(weight.sizes(), options) : at::Tensor();
    const at::Tensor room = at::empty({std::min(CHUNK, rows), vocabulary}, x.options());
    at::Tensor totals = at::zeros({3}, options.dtype(at::kDouble));
    Sums sums;
    for (int64_t begin = 0; begin < rows; begin += CHUNK) {
      const int64_t length = std::min(CHUNK, rows - begin);
      const at::Tensor piece = x.narrow(0, begin, length), wanted = labels.narrow(0, begin, length);
      at::Tensor product = room.narrow(0, 0, length);
      at::mm_out(product, piece, w.t());
      at::Tensor logits = product.to(at::kFloat);
      if (x.is_cpu()) {
        chunk_on_cpu(logits, wanted, smoothing, gradient, sums);
      } else {
        chunk_elsewhere(logits, wanted, smoothing, gradient, totals);
      }
      if (!gradient) continue;
      const at::Tensor back = logits.to(kind);
      if (of_hidden) {
        at::Tensor to_piece = to_hidden.narrow(0, begin, length);
        at::mm_out(to_piece, back, w);
      }
      if (of_weight && kind == at::kFloat) {
        to_weight.addmm_(back.t(), piece);
      } else if (of_weight) {
        to_weight.add_(at::mm(back.t(), piece));
      }
    }
    if (x.is_cpu()) {
      totals = at::tensor({sums.smoothed, sums.nll, static_cast<double>(sums.correct)}, totals.options());
    }
    if (of_hidden) to_hidden = to_hidden.to(hidden.scalar_type());
    context->save_for_backward({to_hidden, to_weight});
    const at::Tensor smoothed = totals[0].clone(), nll = totals[1].clone(), correct = totals[2].clone();
    context->mark_non_differentiable({nll, correct});
    return {smoothed, nll, correct};
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto scaled = [&](const at::Tensor& sum) { return sum.defined() ? sum * gradients[0] : sum; };
    const at::Tensor none;
    return {scaled(saved[0]), scaled(saved[1]), none, none, none, none, none};
  }
};

}  // namespace

extern "C" int seqloom_vocabulary_loss(at::Tensor** smoothed, at::Tensor** nll, at::Tensor** correct,
                                       const at::Tensor* hidden, const at::Tensor* weight, const at::Tensor* labels,
                                       double smoothing, bool bf16) {
  return seqloom::guarded([&] {
    TORCH_CHECK(labels->dim() == 1 && labels->size(0) == hidden->size(0) && labels->device() == hidden->device(),
                "the loss wants a label for each row");
    const auto type = static_cast<int64_t>(bf16 ? at::kBFloat16 : at::kFloat);
    // Inside of `forward` gradients are off, whatever they were.
    const bool on = at::GradMode::is_enabled();
    const auto out = VocabularyLoss::apply(*hidden, *weight, labels->contiguous(), smoothing, type, on && hidden->requires_grad(),
                                           on && weight->requires_grad());
    *smoothed = new at::Tensor(out[0]);
    *nll = new at::Tensor(out[1]);
    *correct = new at::Tensor(out[2]);
  });
}
