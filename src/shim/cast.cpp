// Casts all weights in one node of the graph, and concatenates those that are multiplied together.
#include "shim.h"

#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include <numeric>

namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The rows of each weight of a group.
variable_list pieces(const Tensor& joined, const int64_t* rows, int64_t count) {
  variable_list out;
  for (int64_t i = 0, at = 0; i < count; at += rows[i++]) out.push_back(joined.narrow(0, at, rows[i]));
  return out;
}

void append(variable_list& to, const variable_list& more) { to.insert(to.end(), more.begin(), more.end()); }

struct Cast : torch::autograd::Function<Cast> {
  // `counts` is the number of weights of each group; the result has one tensor per group.
  static variable_list forward(AutogradContext* context, at::TensorList weights, const std::vector<int64_t>& counts,
                               at::ScalarType type) {
    std::vector<int64_t> rows;
    for (const Tensor& weight : weights) rows.push_back(weight.size(0));
    variable_list joined, views;
    int64_t first = 0;
    for (const int64_t count : counts) {
      auto shape = weights[first].sizes().vec();
      shape[0] = 0;
      for (int64_t i = first; i < first + count; ++i) shape[0] += rows[i];
      joined.push_back(at::empty(shape, weights[first].options().dtype(type)));
      append(views, pieces(joined.back(), &rows[first], count));
      first += count;
    }
    at::_foreach_copy_(views, weights);
    context->set_materialize_grads(false);
    context->saved_data["rows"] = rows;
    context->saved_data["counts"] = counts;
    return joined;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto rows = context->saved_data["rows"].toIntVector();
    const auto counts = context->saved_data["counts"].toIntVector();
    variable_list out(rows.size() + 2), from, to;  // none for the two arguments after the weights
    int64_t first = 0;
    for (size_t group = 0; group < counts.size(); first += counts[group++]) {
      if (!gradients[group].defined()) continue;
      const auto parts = pieces(gradients[group].contiguous(), &rows[first], counts[group]);
      for (int64_t i = 0; i < counts[group]; ++i) {
        out[first + i] = at::empty(parts[i].sizes(), parts[i].options().dtype(at::kFloat));
        to.push_back(out[first + i]);
      }
      append(from, parts);
    }
    if (!to.empty()) at::_foreach_copy_(to, from);
    return out;
  }
};

}  // namespace

// `out` has room for `groups` tensors. The groups' weights are consecutive; `counts` is the number of weights of each
// group.
extern "C" int seqloom_cast(Tensor** out, Tensor* const* weights, const int64_t* counts, int64_t groups, bool bf16) {
  return seqloom::guarded([&] {
    const std::vector<int64_t> sizes(counts, counts + groups);
    const auto all = seqloom::list(weights, std::accumulate(sizes.begin(), sizes.end(), int64_t{0}));
    const auto joined = Cast::apply(at::TensorList(all), sizes, bf16 ? at::kBFloat16 : at::kFloat);
    for (int64_t i = 0; i < groups; ++i) out[i] = new Tensor(joined[i]);
  });
}
