// The loss, linear layers, attention, GRUs, dropout, casts and updates over many shapes, in one translation unit with
// the kernels, and the main program, which runs all tests with each set of vector instructions. scripts/sanitize.py
// compiles it with sanitizers.
#include "../../src/shim/linear.cpp"
#include "../../src/shim/attention.cpp"
#include "../../src/shim/cast.cpp"
#include "../../src/shim/dropout.cpp"
#include "../../src/shim/gru.cpp"
#include "../../src/shim/linear_cross_entropy.cpp"
#include "../../src/shim/optimizer.cpp"
#include "../../src/shim/system.cpp"
#include "check.h"

#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>

#include <thread>

extern "C" {
int seqloom_lanes(int* out);
int seqloom_lanes_set(int lanes);
}

namespace {

using check::done, check::named, check::near, check::numbers, check::refused, check::taken, check::that;

// Bit-identical for every kind of vector instructions: the first result is the reference for the others.
void same_everywhere(const at::Tensor& made, const std::string& what) {
  static std::vector<std::pair<std::string, at::Tensor>> first;
  for (const auto& [name, tensor] : first) {
    if (name == what) return that(tensor.equal(made), what + ": other bits on other instructions");
  }
  first.emplace_back(what, made.clone());
}

void loss_of(int64_t vocabulary, int64_t rows, bool bf16) {
  const std::string what = named("loss", vocabulary, rows, bf16);
  const auto leaf = [](const at::Tensor& tensor) { return tensor.detach().requires_grad_(); };
  const at::Tensor hidden = leaf(numbers({rows, 9}, vocabulary % 3)), weight = leaf(numbers({vocabulary, 9}, rows % 5));
  at::Tensor labels = at::randint(3, vocabulary, {rows}, at::kLong);  // none of the special tokens
  for (const double smoothing : {0.0, 0.1}) {
    at::Tensor *smoothed = nullptr, *nll = nullptr, *correct = nullptr;
    done(seqloom_linear_cross_entropy(&smoothed, &nll, &correct, &hidden, &weight, &labels, smoothing, bf16), what);
    const at::Tensor loss = taken(smoothed), plain = taken(nll), right = taken(correct);
    loss.backward();
    const at::Tensor to_hidden = hidden.grad().clone(), to_weight = weight.grad().clone();
    hidden.mutable_grad() = weight.mutable_grad() = at::Tensor();
    if (!bf16) same_everywhere(at::stack({loss.detach(), plain, right}), what + " " + std::to_string(smoothing));
    // No output contains <pad> or <bos>.
    const at::Tensor unsaid = at::tensor({int64_t{0}, int64_t{2}});
    const at::Tensor logits = at::linear(hidden, weight).index_fill(1, unsaid, -std::numeric_limits<double>::infinity());
    const at::Tensor theirs = at::cross_entropy_loss(logits, labels, {}, at::Reduction::Sum);
    near(plain, theirs, (bf16 ? 0.2 : 1e-5) * (rows + 10), what);
    near(right, logits.argmax(-1).eq(labels).sum(), bf16 ? rows : 0, what + ", right ones");
    if (smoothing > 0.0) continue;
    theirs.backward();
    near(to_hidden, hidden.grad(), bf16 ? 0.2 : 1e-4, what + ", gradient");
    near(to_weight, weight.grad(), bf16 ? 0.2 : 1e-4, what + ", gradient of the weight");
    hidden.mutable_grad() = weight.mutable_grad() = at::Tensor();
  }
  labels[rows - 1] = vocabulary;
  at::Tensor *smoothed = nullptr, *nll = nullptr, *correct = nullptr;
  refused(seqloom_linear_cross_entropy(&smoothed, &nll, &correct, &hidden, &weight, &labels, 0.1, bf16), what + ", no label");
}

void dropout_of(int64_t count, at::ScalarType type, bool added) {
  const std::string what = named("dropout", count, static_cast<int>(type), added);
  const at::Tensor x = numbers({count}, count % 9).to(type).requires_grad_(), residual = numbers({count}, count % 4);
  at::Tensor* made = nullptr;
  done(seqloom_dropout(&made, &x, added ? &residual : nullptr, 0.3, static_cast<uint64_t>(count) << 33), what);
  const at::Tensor out = taken(made);
  out.sum().backward();
  same_everywhere(out.detach(), what);
  same_everywhere(x.grad(), what + ", gradient");
  // Dropout is linear: its gradient is the factor of each element.
  const at::Tensor dropped = (x * x.grad()).to(at::kFloat);
  near(out, added ? residual + dropped : dropped, type == at::kFloat ? 1e-6 : 0.1, what);
}

void layer_of(int64_t outputs, int64_t rows, bool relu, double p, bool added) {
  const std::string what = named("layer", outputs, rows, relu) + (added ? " and a residual" : "");
  const at::Tensor x = numbers({rows, 5}, rows % 7).requires_grad_(), weight = numbers({outputs, 5}, 1).requires_grad_();
  const at::Tensor bias = numbers({outputs}, 2).requires_grad_(), residual = numbers({rows, outputs}, outputs % 3);
  at::Tensor *made = nullptr, *factors = nullptr;
  done(seqloom_linear(&made, &x, &weight, &bias, added ? &residual : nullptr, relu, p, 7), what);
  const at::Tensor out = taken(made), ones = at::ones_like(residual);
  done(seqloom_dropout(&factors, &ones, nullptr, p, 7), what);
  out.sum().backward();
  const at::Tensor to_x = x.grad().clone(), to_bias = bias.grad().clone();
  for (const at::Tensor& leaf : {x, weight, bias}) leaf.mutable_grad() = at::Tensor();
  at::Tensor theirs = at::linear(x, weight, bias);
  if (relu) theirs = theirs.relu();
  theirs = theirs * taken(factors);
  if (added) theirs = theirs + residual;
  near(out, theirs, 1e-5, what);
  theirs.sum().backward();
  near(to_x, x.grad(), 1e-4, what + ", gradient");
  near(to_bias, bias.grad(), 1e-4, what + ", gradient of the bias");
}

at::Tensor next_state(const at::Tensor& input, const at::Tensor& hidden, const at::Tensor& state) {
  const auto in = input.chunk(3, -1), of_state = hidden.chunk(3, -1);
  const at::Tensor r = at::sigmoid(in[0] + of_state[0]), z = at::sigmoid(in[1] + of_state[1]);
  const at::Tensor n = at::tanh(in[2] + r * of_state[2]);
  return n + z * (state - n);
}

void gru_of(int64_t steps, int64_t rows, int64_t width) {
  const std::string what = named("GRU", steps, rows, width);
  const auto leaf = [](const at::Tensor& tensor) { return tensor.detach().requires_grad_(); };
  const at::Tensor input = leaf(numbers({steps, rows, 3 * width}, width % 5)), first = leaf(numbers({rows, width}, 1));
  const at::Tensor weight = leaf(numbers({3 * width, width}, steps % 3)), bias = leaf(numbers({3 * width}, 2));
  const at::Tensor slope = numbers({steps, rows, width}, rows % 4);
  at::Tensor* made = nullptr;
  done(seqloom_gru(&made, &input, &first, &weight, &bias), what);
  const at::Tensor ours = taken(made);
  (ours * slope).sum().backward();
  std::vector<at::Tensor> leaves{input, first, weight, bias}, gradients;
  for (const at::Tensor& each : leaves) {
    gradients.push_back(each.grad().clone());
    each.mutable_grad() = at::Tensor();
  }
  std::vector<at::Tensor> states;
  at::Tensor state = first;
  for (int64_t t = 0; t < steps; ++t) {
    state = next_state(input[t], at::linear(state, weight, bias), state);
    states.push_back(state);
  }
  const at::Tensor theirs = at::stack(states);
  (theirs * slope).sum().backward();
  near(ours, theirs, 1e-5, what);
  for (size_t n = 0; n < leaves.size(); ++n) near(gradients[n], leaves[n].grad(), 1e-4, what + ", gradient");
  // Rows of gates may have a stride, as parts of a wider product do.
  const at::Tensor wide = numbers({rows, 6 * width}, 3), part = wide.narrow(1, 3 * width, 3 * width);
  const at::Tensor hidden = numbers({rows, 3 * width}, 4), before = first.detach();
  done(seqloom_gru_step(&made, &part, &hidden, &before), what + ", a step");
  const at::Tensor step = taken(made);
  near(step, next_state(part, hidden, before), 1e-6, what + ", a step");
  same_everywhere(step, what + ", a step");
  refused(seqloom_gru_step(&made, &wide, &hidden, &before), what + ", too many gates");
}

// Queries, keys and values of two rows, in one tensor, in two or in three; the second row sees fewer keys.
void attention_of(int64_t queries, int64_t keys, int64_t head_width, size_t tensors, bool causal) {
  const std::string what = named("attention", queries, keys, head_width, tensors, causal);
  const int64_t heads = 2, width = heads * head_width;
  const auto leaf = [&](int64_t positions, int64_t parts) {
    return numbers({2, positions, parts * width}, head_width % 3).requires_grad_();
  };
  variable_list all;
  if (tensors == 1) all = {leaf(queries, 3)};
  if (tensors == 2) all = {leaf(queries, 1), leaf(keys, 2)};
  if (tensors == 3) all = {leaf(queries, 1), leaf(keys, 1), leaf(keys, 1)};
  variable_list parts;
  for (const Tensor& tensor : all) {
    for (const Tensor& part : tensor.split(width, -1)) parts.push_back(part.unflatten(2, {heads, head_width}).transpose(1, 2));
  }
  const std::vector<int64_t> lengths{keys, (keys + 1) / 2};
  Tensor mask = at::zeros({2, 1, 1, keys});
  mask[1].narrow(2, lengths[1], keys - lengths[1]).fill_(-std::numeric_limits<float>::infinity());
  const std::optional<Tensor> hidden = causal ? std::nullopt : std::optional<Tensor>(mask);
  const Tensor theirs = at::scaled_dot_product_attention(parts[0], parts[1], parts[2], hidden, 0.0, causal).transpose(1, 2).flatten(2);
  std::vector<Tensor*> pointers;
  for (Tensor& tensor : all) pointers.push_back(&tensor);
  Tensor* made = nullptr;
  const int64_t* known = causal ? nullptr : lengths.data();
  done(seqloom_attention(&made, pointers.data(), static_cast<int64_t>(tensors), heads, causal, known), what);
  const Tensor out = taken(made);
  near(out, theirs, 1e-5, what);
  out.square().sum().backward();
  variable_list ours;
  for (Tensor& tensor : all) {
    ours.push_back(tensor.grad().clone());
    tensor.mutable_grad() = Tensor();
  }
  theirs.square().sum().backward();
  for (size_t n = 0; n < tensors; ++n) near(ours[n], all[n].grad(), 1e-4, what + ", gradient");
  refused(seqloom_attention(&made, pointers.data(), static_cast<int64_t>(tensors), 2 * width + 1, causal, known), what);
}

void attention() {
  for (int64_t head_width = 1; head_width <= 130; head_width += head_width < 70 ? 1 : 20) {
    const int64_t queries = 1 + head_width * 5 % 37, keys = 1 + head_width * 11 % 41;
    attention_of(queries, queries, head_width, 1, head_width % 2 == 0);
    attention_of(queries, keys, head_width, 2, head_width % 3 == 0);
    attention_of(keys, queries, head_width, 3, false);
  }
  attention_of(200, 200, 32, 1, true);
}

void casts() {
  for (int64_t size = 1; size <= 33; size += 4) {
    const at::Tensor one = numbers({size, 5}, size % 3).requires_grad_(), other = numbers({2, 5}, 1).requires_grad_();
    at::Tensor* const weights[] = {const_cast<at::Tensor*>(&one), const_cast<at::Tensor*>(&other)};
    const int64_t counts[] = {2};
    at::Tensor* made = nullptr;
    done(seqloom_cast(&made, weights, counts, 1, true), "cast");
    const at::Tensor joined = taken(made);
    near(joined.narrow(0, 0, size), one.to(at::kBFloat16), 0.0, "cast");
    joined.sum().backward();
    near(other.grad(), at::ones_like(other), 0.0, "gradient of a cast");
  }
}

void updates() {
  at::Tensor weight = numbers({7, 3}, 1), gradient = numbers({7, 3}, 2), first = at::zeros({7, 3}), second = at::zeros({7, 3});
  at::Tensor step = at::zeros({}) + 1.0, average = weight.clone(), momentum = at::zeros({7, 3});
  at::Tensor *w[] = {&weight}, *g[] = {&gradient}, *m[] = {&first}, *v[] = {&second}, *n[] = {&step}, *a[] = {&average},
             *b[] = {&momentum};
  const at::Tensor before = weight.clone();
  done(seqloom_fused_adam(w, g, m, v, n, 1, true, 0.1, 0.9, 0.999, 0.0, 1e-8), "AdamW");
  // The first step is the sign of the gradient.
  near(weight, before - 0.1 * gradient.sign(), 1e-5, "AdamW");
  done(seqloom_fused_sgd(w, g, b, 1, 1, 0.1, 0.9, false, 0.0), "SGD");
  near(weight, before - 0.1 * gradient.sign() - 0.1 * gradient, 1e-5, "SGD");
  at::Tensor* norms = nullptr;
  done(seqloom_norms(&norms, g, 1), "norms");
  near(taken(norms), gradient.norm().view({1}), 1e-5, "norms");
  done(seqloom_scale(g, 1, 0.5), "scale");
  done(seqloom_lerp(a, w, 1, 0.5), "average");
  near(average, (before + weight) / 2.0, 1e-5, "average");
  done(seqloom_set_gradients(w, g, 1), "setting gradients");
  near(weight.grad(), gradient, 0.0, "setting gradients");
  done(seqloom_set_gradients(w, nullptr, 1), "clearing gradients");
  that(!weight.grad().defined(), "a gradient is left");
}

// Halves of a range on two threads, however short they are.
void halves(int64_t begin, int64_t end, int64_t, const void* work, seqloom::Part part) {
  const int64_t middle = begin + (end - begin) / 2;
  std::thread first([&] {
    if (begin < middle) part(work, begin, middle);
  });
  part(work, middle, end);
  first.join();
}

}  // namespace

void check::training() {
  for (int64_t vocabulary = 4; vocabulary <= 70; ++vocabulary) loss_of(vocabulary, 1 + vocabulary % 6, false);
  loss_of(4099, 3, false);
  loss_of(37, 1100, false);
  loss_of(37, 5, true);
  for (int64_t count = 1; count <= 200; count += count < 70 ? 1 : 13) {
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      dropout_of(count, type, false);
      dropout_of(count, type, true);
    }
  }
  for (int64_t outputs = 1; outputs <= 140; outputs += outputs < 70 ? 1 : 23) {
    layer_of(outputs, 1 + outputs * 5 % 23, outputs % 2 == 0, 0.3, outputs % 2 == 1);
    layer_of(outputs, 3, false, 0.0, false);
  }
  layer_of(33, 150, true, 0.5, false);
  for (int64_t width = 1; width <= 70; ++width) gru_of(1 + width % 4, 1 + width % 3, width);
  attention();
  casts();
  updates();
}

int main() {
  check::nccl();
  seqloom_split_by(halves);
  int most = 0;
  done(seqloom_lanes(&most), "vectors");
  for (int lanes = 4; lanes <= most; lanes *= 2) {
    seqloom_lanes_set(lanes);
    at::Generator numbers = at::globalContext().defaultGenerator(at::kCPU);
    numbers.set_current_seed(1);
    check::decoding();
    numbers.set_current_seed(2);
    check::training();
    std::printf("shim: all kernels hold on vectors of %d\n", lanes);
  }
}
