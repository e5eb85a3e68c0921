// The CPU kernels beside what libtorch exports: speed on one thread, and whether a row's bits depend on its batch.
// scripts/bench_kernels.py compiles and runs it, and reads the lines that it prints.
//
// All candidates of a case run in turn, on the same numbers, and each is first compared with a reference in f64.
// libtorch's products in bf16 get inputs that are bf16 already; ours read f32 and write f32.
#include "../src/shim/attention.cpp"
#include "../src/shim/instructions.cpp"
#include "../src/shim/log_softmax.cpp"
#include "../src/shim/packed_sequence_attention.cpp"
#include "../src/shim/packed_weights.cpp"
#include "../src/shim/system.cpp"
#include "../tests/shim/check.h"

#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <ATen/native/CPUBlas.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/quantize_per_channel.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <chrono>
#include <functional>
#include <map>

extern "C" int seqloom_packed_linear(Tensor** out, const void* packed, const Tensor* x, const Tensor* residual,
                                     bool relu);

namespace {

using check::done, check::taken;
using c10::IValue;

constexpr int64_t ROWS[] = {1, 8, 64, 512};
// Inputs and outputs.
constexpr int64_t SHAPES[][2] = {{256, 256}, {256, 1024}, {1024, 256}, {144, 432}, {144, 144}, {512, 32000}};
// Columns of a block of weights for brgemm, and rows that pass through all blocks together.
constexpr int64_t PANEL = 64, TOGETHER = 256;
constexpr int64_t HEADS = 4, BATCH = 16;

double microseconds(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Microseconds of a call of each, in turn: forwards in one round, backwards in the next.
std::vector<std::vector<double>> in_turn(const std::vector<std::function<void()>>& calls) {
  constexpr double BLOCK = 1000, LONG = 20000;
  std::vector<int> repeats;
  double longest = 0;
  for (const auto& call : calls) {
    call();
    const double one = std::min(microseconds(call), microseconds(call));
    repeats.push_back(1 + static_cast<int>(BLOCK / one));
    longest = std::max(longest, one);
  }
  std::vector<std::vector<double>> times(calls.size());
  for (int round = 0; round < (longest > LONG ? 9 : 31); ++round) {
    for (size_t place = 0; place < calls.size(); ++place) {
      const size_t n = round % 2 == 0 ? place : calls.size() - 1 - place;
      const double block = microseconds([&] {
        for (int repeat = 0; repeat < repeats[n]; ++repeat) calls[n]();
      });
      times[n].push_back(block / repeats[n]);
    }
  }
  return times;
}

// Fields of a line: the group, whose first candidate is ours, the case, the candidate, its median and least time, its
// bits.
void print(const std::string& group, const std::string& what, const std::string& name, const std::vector<double>& times,
           const std::string& bits) {
  const double least = *std::min_element(times.begin(), times.end());
  std::printf("%s\t%s\t%s\t%.3f\t%.3f\t%s\n", group.c_str(), what.c_str(), name.c_str(), median(times), least,
              bits.c_str());
  std::fflush(stdout);
}

// An operator of libtorch that has a schema and no C++ function.
IValue call(const char* name, std::vector<IValue> stack) {
  c10::Dispatcher::singleton().findSchemaOrThrow(name, "").callBoxed(&stack);
  return stack.at(0);
}

// A linear layer: rows in, rows out.
using Product = std::function<Tensor(const Tensor& x)>;

struct Candidate {
  std::string group, name;
  at::ScalarType input;
  double tolerance;
  Product run;
};

struct Layer {
  Tensor weight, bias;  // (outputs, inputs) and (outputs)

  int64_t outputs() const { return weight.size(0); }
  int64_t inputs() const { return weight.size(1); }
};

Product ours(const Layer& layer, int kind) {
  void* made = nullptr;
  done(seqloom_pack_weights(&made, &layer.weight, &layer.bias, kind), "packing");
  const std::shared_ptr<void> packed(made, seqloom_free_packed_weights);
  return [packed](const Tensor& x) {
    Tensor* out = nullptr;
    done(seqloom_packed_linear(&out, packed.get(), &x, nullptr, false), "product");
    return taken(out);
  };
}

Product linear(const Layer& layer, at::ScalarType type) {
  const Tensor weight = layer.weight.to(type), bias = layer.bias.to(type);
  return [weight, bias](const Tensor& x) { return at::linear(x, weight, bias); };
}

// libtorch's export of oneDNN's block product, over blocks of PANEL outputs, of which `block(n)` is the nth, with rows
// `stride` numbers apart.
template <typename Number, typename Block>
Tensor through_brgemm(const Tensor& x, const Tensor& bias, int64_t stride, bool pairs, const Block& block) {
  const int64_t rows = x.size(0), inputs = x.size(1), outputs = bias.size(0);
  Tensor out = at::empty({rows, outputs}, bias.options());
  const auto* from = x.const_data_ptr<Number>();
  auto* to = out.data_ptr<float>();
  for (int64_t row = 0; row < rows; ++row) std::copy_n(bias.const_data_ptr<float>(), outputs, to + row * outputs);
  for (int64_t row = 0; row < rows; row += TOGETHER) {
    const int64_t count = std::min(TOGETHER, rows - row);
    for (int64_t column = 0; column < outputs; column += PANEL) {
      const int64_t columns = std::min(PANEL, outputs - column);
      at::native::cpublas::brgemm(count, columns, inputs, inputs, stride, outputs, true, from + row * inputs,
                                  block(column / PANEL), to + row * outputs + column, pairs);
    }
  }
  return out;
}

// Weights as (inputs, outputs).
Product brgemm_in_rows(const Layer& layer) {
  return [weight = layer.weight.t().contiguous(), bias = layer.bias](const Tensor& x) {
    const auto block = [&](int64_t n) { return weight.const_data_ptr<float>() + n * PANEL; };
    return through_brgemm<float>(x, bias, bias.size(0), false, block);
  };
}

// Weights in panels, (panels, inputs, PANEL), as ours are.
Tensor in_panels(const Layer& layer) {
  const int64_t panels = (layer.outputs() + PANEL - 1) / PANEL;
  const Tensor padded = at::constant_pad_nd(layer.weight.t(), {0, panels * PANEL - layer.outputs()});
  return padded.view({layer.inputs(), panels, PANEL}).permute({1, 0, 2}).contiguous();
}

Product brgemm_in_panels(const Layer& layer) {
  return [weight = in_panels(layer), bias = layer.bias](const Tensor& x) {
    const auto block = [&](int64_t n) { return weight.const_data_ptr<float>() + n * weight.stride(0); };
    return through_brgemm<float>(x, bias, PANEL, false, block);
  };
}

// The same in bf16, with two inputs side by side.
Product brgemm_in_pairs(const Layer& layer) {
  const Tensor panels = in_panels(layer).to(at::kBFloat16);
  const Tensor pairs = panels.view({panels.size(0), -1, 2, PANEL}).transpose(2, 3).contiguous();
  return [pairs, bias = layer.bias](const Tensor& x) {
    const auto block = [&](int64_t n) { return pairs.const_data_ptr<at::BFloat16>() + n * pairs.stride(0); };
    return through_brgemm<at::BFloat16>(x, bias, PANEL, true, block);
  };
}

// oneDNN's inner product with weights packed once, in the layout that it chooses where it is told no number of rows.
Product onednn_packed(const Layer& layer, at::ScalarType type) {
  const Tensor packed = call("mkldnn::_reorder_linear_weight", {layer.weight.to(type), IValue()}).toTensor();
  return [packed, bias = layer.bias.to(type)](const Tensor& x) {
    const c10::List<std::optional<at::Scalar>> scalars;
    return call("mkldnn::_linear_pointwise", {x, packed, bias, "none", scalars, ""}).toTensor();
  };
}

// MKL's packed product; its weights are packed for one number of rows, so here once for each.
Product mkl_packed(const Layer& layer) {
  auto packed = std::make_shared<std::map<int64_t, Tensor>>();
  return [packed, layer](const Tensor& x) {
    Tensor& weight = (*packed)[x.size(0)];
    const int64_t rows = x.size(0);
    if (!weight.defined()) weight = call("mkl::_mkl_reorder_linear_weight", {layer.weight, rows}).toTensor();
    return call("mkl::_mkl_linear", {x, weight, layer.weight, layer.bias, rows}).toTensor();
  };
}

// Products of bytes with one scale for each output, and one for all inputs of a call. Without VNNI inputs are rounded
// to 7 bits, as libtorch does by default: of 8 bits its sums of two products overflow 16.
Product dynamic_bytes(const Layer& layer) {
  const Tensor scales = layer.weight.abs().amax({1}).to(at::kDouble) / 127.0;
  const Tensor zero_points = at::zeros({layer.outputs()}, at::kLong);
  const Tensor whole = at::quantize_per_channel(layer.weight, scales, zero_points, 0, at::kQInt8);
  const bool reduced = seqloom::lanes_of_bytes() < 16;
  return [packed = call("quantized::linear_prepack", {whole, layer.bias}), reduced](const Tensor& x) {
    return call("quantized::linear_dynamic", {x, packed, reduced}).toTensor();
  };
}

// Those that this machine has.
std::vector<Candidate> candidates(const Layer& layer) {
  constexpr double EXACT = 1e-4, ROUNDED = 0.2;
  const Tensor zeros = at::zeros({2, layer.inputs()});
  std::vector<Candidate> out;
  const auto add = [&](const char* group, const char* name, at::ScalarType input, double tolerance, const auto& make) {
    try {
      const Product made = make();
      made(zeros.to(input));
      out.push_back({group, name, input, tolerance, made});
    } catch (const c10::Error& error) {
      std::fprintf(stderr, "%s, %s: not on this machine: %s\n", group, name, error.what_without_backtrace());
    }
  };
  add("f32", "ours", at::kFloat, EXACT, [&] { return ours(layer, seqloom::F32); });
  add("f32", "at::linear", at::kFloat, EXACT, [&] { return linear(layer, at::kFloat); });
  add("f32", "brgemm, weights in rows", at::kFloat, EXACT, [&] { return brgemm_in_rows(layer); });
  add("f32", "brgemm, weights in panels", at::kFloat, EXACT, [&] { return brgemm_in_panels(layer); });
  add("f32", "MKL, packed", at::kFloat, EXACT, [&] { return mkl_packed(layer); });
  add("f32", "oneDNN, packed", at::kFloat, EXACT, [&] { return onednn_packed(layer, at::kFloat); });
  add("bf16", "ours", at::kFloat, ROUNDED, [&] { return ours(layer, seqloom::BF16); });
  add("bf16", "at::linear", at::kBFloat16, ROUNDED, [&] { return linear(layer, at::kBFloat16); });
  add("bf16", "brgemm, weights in panels", at::kBFloat16, ROUNDED, [&] { return brgemm_in_pairs(layer); });
  add("bf16", "oneDNN, packed", at::kBFloat16, ROUNDED, [&] { return onednn_packed(layer, at::kBFloat16); });
  add("int8", "ours", at::kFloat, ROUNDED, [&] { return ours(layer, seqloom::INT8); });
  add("int8", "quantized::linear_dynamic", at::kFloat, ROUNDED, [&] { return dynamic_bytes(layer); });
  return out;
}

std::string differing(const std::vector<std::string>& batches) {
  std::string out = batches.empty() ? "same" : "differ in";
  for (const std::string& batch : batches) out += " " + batch;
  return out;
}

// Whether rows have the same bits alone as in batches of these sizes.
std::string bits_of(const Product& run, const Tensor& x) {
  constexpr int64_t ALONE = 64, BATCHES[] = {2, 7, ALONE, 512};
  std::vector<Tensor> each;
  for (int64_t row = 0; row < ALONE; ++row) each.push_back(run(x.narrow(0, row, 1)));
  const Tensor alone = at::cat(each);
  std::vector<std::string> other;
  for (const int64_t batch : BATCHES) {
    const int64_t rows = std::min(batch, ALONE);
    const Tensor beside = run(x.narrow(0, 0, batch)).narrow(0, 0, rows);
    if (!beside.equal(alone.narrow(0, 0, rows))) other.push_back(std::to_string(batch));
  }
  return differing(other);
}

void products_of(int64_t inputs, int64_t outputs) {
  const Layer layer{at::randn({outputs, inputs}) / std::sqrt(static_cast<double>(inputs)), at::randn({outputs})};
  const Tensor all = at::randn({512, inputs});
  const auto wide = [](const Tensor& tensor) { return tensor.to(at::kDouble); };
  const Tensor expected = at::linear(wide(all), wide(layer.weight), wide(layer.bias));
  const auto tried = candidates(layer);
  std::vector<std::string> bits;
  for (const Candidate& one : tried) {
    const Tensor x = all.to(one.input);
    check::near(one.run(x), expected, one.tolerance, one.group + ", " + one.name);
    bits.push_back(bits_of(one.run, x));
  }
  for (const int64_t rows : ROWS) {
    std::vector<std::function<void()>> calls;
    for (const Candidate& one : tried) {
      calls.emplace_back([&one, x = all.narrow(0, 0, rows).to(one.input)] { one.run(x); });
    }
    const auto times = in_turn(calls);
    const std::string what = std::to_string(inputs) + "x" + std::to_string(outputs) + ", rows " + std::to_string(rows);
    for (size_t n = 0; n < tried.size(); ++n) print(tried[n].group, what, tried[n].name, times[n], bits[n]);
  }
}

// A call with a number of rows that a layer has not had yet: some libraries compile or pack for it.
void first_calls() {
  const Layer layer{at::randn({1024, 256}), at::randn({1024})};
  for (const Candidate& one : candidates(layer)) {
    std::vector<double> times;
    for (int64_t rows = 17; rows <= 47; ++rows) {
      const Tensor x = at::randn({rows, layer.inputs()}).to(one.input);
      times.push_back(microseconds([&] { one.run(x); }));
    }
    print(one.group + ", first call", "256x1024, rows 17 to 47", one.name, times, "");
  }
}

// Sequences with their queries, keys and values side by side, (B, T, 3 D); without lengths all are T long.
struct Sequences {
  Tensor x;
  std::vector<int64_t> lengths;
  Tensor mask;  // (B, 1, 1, T), of the positions that are no padding
};

// (B, T, D), of which the positions of padding mean nothing.
using Attend = std::function<Tensor(const Sequences&)>;

Tensor in_training(const Sequences& of) {
  Tensor x = of.x, *out = nullptr;
  Tensor* const tensors[] = {&x};
  const int64_t* lengths = of.lengths.empty() ? nullptr : of.lengths.data();
  done(seqloom_attention(&out, tensors, 1, HEADS, false, lengths), "attention");
  return taken(out);
}

Tensor in_decoding(const Sequences& of) {
  const int64_t rows = of.x.size(0), positions = of.x.size(1), width = of.x.size(2);
  std::vector<int64_t> lengths = of.lengths;
  Tensor x = of.x.view({rows * positions, width});
  if (lengths.empty()) {
    lengths.assign(rows, positions);
  } else {
    x = of.x.flatten(0, 1).index({of.mask.flatten()});
  }
  Tensor* made = nullptr;
  done(seqloom_packed_sequence_attention(&made, &x, lengths.data(), rows, HEADS), "attention within sequences");
  if (of.lengths.empty()) return taken(made).view({rows, positions, width / 3});
  const Tensor out = at::zeros({rows, positions, width / 3});
  out.flatten(0, 1).index_put_({of.mask.flatten()}, taken(made));
  return out;
}

std::vector<Tensor> by_head(const Tensor& x) {
  return x.view({x.size(0), x.size(1), 3, HEADS, -1}).permute({2, 0, 3, 1, 4}).unbind();  // 3 times (B, H, T, K)
}

Tensor joined(const Tensor& heads) { return heads.transpose(1, 2).flatten(2); }

Tensor by_libtorch(const Sequences& of) {
  const auto parts = by_head(of.x);
  const auto mask = of.mask.defined() ? std::optional<Tensor>(of.mask) : std::nullopt;
  return joined(at::scaled_dot_product_attention(parts[0], parts[1], parts[2], mask));
}

Tensor by_bmm(const Sequences& of) {
  const auto parts = by_head(of.x);
  const int64_t rows = of.x.size(0), positions = of.x.size(1), width = parts[0].size(3);
  const auto flat = [](const Tensor& part) { return part.flatten(0, 1); };
  const double scale = 1.0 / std::sqrt(static_cast<double>(width)), lowest = -std::numeric_limits<double>::infinity();
  const Tensor products = at::bmm(flat(parts[0]), flat(parts[1]).transpose(1, 2)).mul(scale);
  Tensor scores = products.view({rows, HEADS, positions, positions});
  if (of.mask.defined()) scores = scores.masked_fill(of.mask.logical_not(), lowest);
  const Tensor out = at::bmm(flat(at::softmax(scores, -1)), flat(parts[2]));
  return joined(out.view({rows, HEADS, positions, width}));
}

// Whether sequences have the same bits alone as in a batch of one length, and of several with padding.
std::string bits_of(const Attend& attend, const Tensor& x) {
  const int64_t positions = x.size(1);
  std::vector<int64_t> lengths;
  for (int64_t row = 0; row < BATCH; ++row) lengths.push_back(positions - row % 5);
  const Tensor mask = at::arange(positions).lt(at::tensor(lengths).unsqueeze(1)).view({BATCH, 1, 1, positions});
  const Tensor whole = attend({x, {}, {}}), padded = attend({x, lengths, mask});
  bool batch = true, padding = true;
  for (int64_t row = 0; row < BATCH; ++row) {
    const Tensor one = x.narrow(0, row, 1), shorter = one.narrow(1, 0, lengths[row]).contiguous();
    batch = batch && attend({one, {}, {}})[0].equal(whole[row]);
    padding = padding && attend({shorter, {}, {}})[0].equal(padded[row].narrow(0, 0, lengths[row]));
  }
  std::vector<std::string> other;
  if (!batch) other.emplace_back("batches");
  if (!padding) other.emplace_back("padding");
  return differing(other);
}

void attention_of(int64_t width, int64_t positions) {
  const std::vector<std::pair<std::string, Attend>> tried = {{"ours, of training", in_training},
                                                             {"ours, of decoding", in_decoding},
                                                             {"scaled_dot_product_attention", by_libtorch},
                                                             {"at::bmm and at::softmax", by_bmm}};
  const Tensor x = at::randn({BATCH, positions, 3 * HEADS * width});
  const Tensor expected = by_bmm({x.to(at::kDouble), {}, {}});
  const std::string what = "heads of " + std::to_string(width) + ", length " + std::to_string(positions);
  std::vector<std::function<void()>> calls;
  for (const auto& one : tried) {
    check::near(one.second({x, {}, {}}), expected, 1e-5, one.first + ", " + what);
    calls.emplace_back([&one, &x] { one.second({x, {}, {}}); });
  }
  const auto times = in_turn(calls);
  for (size_t n = 0; n < tried.size(); ++n) {
    print("attention", what, tried[n].first, times[n], bits_of(tried[n].second, x));
  }
}

void attention_with_gradients_of(int64_t width, int64_t positions) {
  const std::vector<std::pair<std::string, Attend>> tried = {
      {"ours", in_training}, {"scaled_dot_product_attention", by_libtorch}, {"at::bmm and at::softmax", by_bmm}};
  const Tensor x = at::randn({BATCH, positions, 3 * HEADS * width}).requires_grad_();
  const Tensor gradient = at::randn({BATCH, positions, HEADS * width});
  std::vector<std::function<void()>> calls;
  for (const auto& one : tried) {
    calls.emplace_back([&] {
      x.mutable_grad() = Tensor();
      one.second({x, {}, {}}).backward(gradient);
    });
  }
  const auto times = in_turn(calls);
  const std::string what = "heads of " + std::to_string(width) + ", length " + std::to_string(positions);
  for (size_t n = 0; n < tried.size(); ++n) print("attention and gradients", what, tried[n].first, times[n], "");
}

}  // namespace

int main() {
  at::set_num_threads(1);
  for (const int64_t width : {32, 36, 64}) {
    for (const int64_t positions : {16, 64, 150}) attention_with_gradients_of(width, positions);
  }
  const at::NoGradGuard none;
  for (const int64_t width : {32, 36, 64}) {
    for (const int64_t positions : {16, 64, 150}) attention_of(width, positions);
  }
  for (const auto& [inputs, outputs] : SHAPES) products_of(inputs, outputs);
  first_calls();
}
