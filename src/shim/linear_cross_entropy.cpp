// The output layer fused with the cross-entropy, a few rows at a time: the logits of a whole batch are never in memory,
// and those of a piece are replaced by their gradient in place.
//
// With p the softmax of a row's logits x over the V tokens that an output may contain, y its label and e the smoothing,
// the loss of the row is
//   (1 - e) (L - x_y) + e (L - mean(x)),  L = log(sum(exp(x))),  and its gradient  p - (1 - e) [v = y] - e / V.
// No output contains <pad> (0) or <bos> (2): their logits are ignored and get no gradient.
#include "instructions.h"
#include "softmax.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace {

// Rows per piece. On a CPU enough for matrix products at full speed, and few enough for the cache; elsewhere as many as
// fit into 128 MiB of f32, since a GPU waits for the calls.
int64_t rows_at_once(bool on_cpu, int64_t vocabulary) {
  return on_cpu ? 512 : std::max<int64_t>(512, (int64_t{1} << 25) / std::max<int64_t>(1, vocabulary));
}

// Columns of a row of logits. <unk> is moved to <bos> temporarily, so that all allowed tokens are contiguous.
constexpr int64_t PAD = 0, UNK = 1, BOS = 2, FIRST = BOS;

// The index of a label among the allowed tokens; negative if it is not allowed.
int64_t place_of(int64_t label) { return label == UNK ? 0 : label > BOS ? label - FIRST : -1; }

struct RowLoss {
  double smoothed, nll;
  bool correct;
};

// The loss of one row, given the index of its label among the allowed tokens; with `gradient` its logits are replaced
// by their gradient.
struct OfRow {
  template <int LANES>
  INLINE static RowLoss run(float* row, int64_t vocabulary, int64_t label, double smoothing, bool gradient) {
    float* x = row + FIRST;
    const int64_t count = vocabulary - FIRST;
    x[0] = row[UNK];
    const float at_label = x[label];
    float largest;
    double total;
    seqloom::largest_and_sum(x, count, &largest, &total);
    const double sum = seqloom::sum_of_exponentials<true>(x, count, largest);
    const double log_sum = static_cast<double>(largest) + std::log(sum);
    const double nll = log_sum - at_label, uniform = log_sum - total / count;
    if (gradient) {
      const auto scale = static_cast<float>(1.0 / sum), shift = static_cast<float>(smoothing / count);
      for (int64_t i = 0; i < count; ++i) x[i] = x[i] * scale - shift;
      x[label] -= static_cast<float>(1.0 - smoothing);
      row[UNK] = x[0];
      row[PAD] = row[BOS] = 0.0f;
    }
    return {(1.0 - smoothing) * nll + smoothing * uniform, nll, at_label >= largest};
  }
};

// The output layer over all rows, piece by piece.
struct Pass {
  at::Tensor x, weight, labels;         // (N, D) and (V, D), of the type that products compute in; (N)
  double smoothing;
  at::Tensor room;                      // for the logits of a piece
  at::Tensor to_hidden, to_weight;      // defined if a gradient is needed
  at::Tensor totals;                    // smoothed loss, negative log-likelihood, labels that are the most likely token

  bool gradient() const { return to_hidden.defined() || to_weight.defined(); }

  // Adds the losses of a piece to the totals; with a gradient the logits, (n, V) in f32, are replaced by theirs.
  void losses_on_cpu(at::Tensor& logits, const at::Tensor& wanted) {
    const int64_t rows = logits.size(0), count = logits.size(1);
    std::vector<RowLoss> losses(rows);
    float* x = logits.data_ptr<float>();
    const int64_t* label = wanted.const_data_ptr<int64_t>();
    const bool known = std::all_of(label, label + rows, [&](int64_t id) { return place_of(id) >= 0 && id < count; });
    TORCH_CHECK(known, "a label that no output may say");
    const int lanes = seqloom::lanes();
    seqloom::parallel_for(0, rows, seqloom::grain(seqloom::EXPONENTIAL * count), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        losses[row] =
            seqloom::on<OfRow>(lanes, x + row * count, count, place_of(label[row]), smoothing, gradient());
      }
    });
    // In the order of the rows, so that the number of threads does not matter.
    double* total = totals.data_ptr<double>();
    for (const RowLoss& row : losses) {
      total[0] += row.smoothed;
      total[1] += row.nll;
      total[2] += row.correct;
    }
  }

  // The same by libtorch's kernels, for other devices, where the totals stay until they are read.
  void losses_elsewhere(at::Tensor& logits, const at::Tensor& wanted) {
    logits.select(1, BOS).copy_(logits.select(1, UNK));
    at::Tensor said = logits.narrow(1, FIRST, logits.size(1) - FIRST);
    const double count = static_cast<double>(said.size(1));
    const at::Tensor log_p = at::log_softmax(said, -1), label = wanted.sub(FIRST).clamp_min(0).unsqueeze(1);
    const at::Tensor at_label = log_p.gather(1, label);
    const at::Tensor nll = at_label.sum().neg(), uniform = log_p.sum().div(-count);
    const at::Tensor correct = log_p.argmax(-1, true).eq(label).sum();
    const at::Tensor smoothed = nll * (1.0 - smoothing) + uniform * smoothing;
    totals.add_(at::stack({smoothed, nll, correct.to(at::kFloat)}));
    if (!gradient()) return;
    said.copy_(log_p.exp().sub_(smoothing / count));
    said.scatter_add_(1, label, at::full_like(at_label, smoothing - 1.0));
    logits.select(1, UNK).copy_(logits.select(1, BOS));
    logits.select(1, PAD).zero_();
    logits.select(1, BOS).zero_();
  }

  void piece(int64_t begin, int64_t length) {
    const at::Tensor rows = x.narrow(0, begin, length), wanted = labels.narrow(0, begin, length);
    at::Tensor product = room.narrow(0, 0, length);
    at::mm_out(product, rows, weight.t());
    at::Tensor logits = product.to(at::kFloat);
    if (x.is_cpu()) {
      losses_on_cpu(logits, wanted);
    } else {
      losses_elsewhere(logits, wanted);
    }
    if (!gradient()) return;
    product.copy_(logits);
    if (to_hidden.defined()) {
      at::Tensor to_rows = to_hidden.narrow(0, begin, length);
      at::mm_out(to_rows, product, weight);
    }
    if (to_weight.defined() && product.scalar_type() == at::kFloat) {
      to_weight.addmm_(product.t(), rows);
    } else if (to_weight.defined()) {
      to_weight.add_(at::mm(product.t(), rows));
    }
  }
};

struct VocabularyLoss : torch::autograd::Function<VocabularyLoss> {
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context, const at::Tensor& hidden,
                                                const at::Tensor& weight, const at::Tensor& labels, double smoothing,
                                                int64_t type, bool of_hidden, bool of_weight) {
    const auto kind = static_cast<at::ScalarType>(type);
    const int64_t rows = hidden.size(0), vocabulary = weight.size(0);
    const int64_t at_once = std::min(rows_at_once(hidden.is_cpu(), vocabulary), rows);
    const at::Tensor x = hidden.to(kind).contiguous();
    const auto f32 = hidden.options().dtype(at::kFloat);
    Pass pass{x,
              weight.to(kind).contiguous(),
              labels,
              smoothing,
              at::empty({at_once, vocabulary}, x.options()),
              of_hidden ? at::empty_like(x) : at::Tensor(),
              of_weight ? at::zeros(weight.sizes(), f32) : at::Tensor(),
              at::zeros({3}, f32.dtype(at::kDouble))};
    for (int64_t begin = 0; begin < rows; begin += at_once) pass.piece(begin, std::min(at_once, rows - begin));
    if (of_hidden) pass.to_hidden = pass.to_hidden.to(hidden.scalar_type());
    context->save_for_backward({pass.to_hidden, pass.to_weight});
    const auto total = [&](int64_t n) { return pass.totals[n].clone(); };
    const at::Tensor smoothed = total(0), nll = total(1), correct = total(2);
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

extern "C" int seqloom_linear_cross_entropy(at::Tensor** smoothed, at::Tensor** nll, at::Tensor** correct,
                                       const at::Tensor* hidden, const at::Tensor* weight, const at::Tensor* labels,
                                       double smoothing, bool bf16) {
  return seqloom::guarded([&] {
    TORCH_CHECK(labels->dim() == 1 && labels->size(0) == hidden->size(0) && labels->device() == hidden->device(),
                "the loss needs a label for each row");
    TORCH_CHECK(weight->size(0) > FIRST, "the loss needs a vocabulary with its special tokens");
    const auto type = static_cast<int64_t>(bf16 ? at::kBFloat16 : at::kFloat);
    // Within `forward`, gradients are always off.
    const bool on = at::GradMode::is_enabled();
    const auto out = VocabularyLoss::apply(*hidden, *weight, labels->contiguous(), smoothing, type, on && hidden->requires_grad(),
                                           on && weight->requires_grad());
    *smoothed = new at::Tensor(out[0]);
    *nll = new at::Tensor(out[1]);
    *correct = new at::Tensor(out[2]);
  });
}
