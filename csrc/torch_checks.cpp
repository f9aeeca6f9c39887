// Checks of torch.ops.mixed_r1: every rule that memory safety or a right result needs, with the argument's name.
#include <ATen/ops/empty.h>

#include <cmath>

#include "torch_ops.h"

namespace mixed_r1 {

namespace {

using at::Tensor;

constexpr double kLargestWeight = 1e100;  // _LARGEST_WEIGHT of group_advantages/api.py

template <std::size_t count>
int index_of(std::string_view name, const std::string_view (&names)[count], const char* argument) {
  for (std::size_t i = 0; i < count; ++i) {
    if (names[i] == name) return static_cast<int>(i);
  }
  TORCH_CHECK_VALUE(false, argument, " must be a known name, got '", name, "'");
}

void check_vector(const char* name, const Tensor& vector, at::ScalarType type, at::Device device,
                  std::optional<std::int64_t> size = std::nullopt) {
  TORCH_CHECK_VALUE(vector.dim() == 1 && (!size || vector.size(0) == *size), name,
                    size ? c10::str(" must have shape [", *size, "]") : " must be one-dimensional", ", got ",
                    vector.sizes());
  TORCH_CHECK_TYPE(vector.scalar_type() == type, name, " must be ", type, ", got ", vector.scalar_type());
  TORCH_CHECK_VALUE(vector.device() == device, name, " must be on ", device, ", got ", vector.device());
}

std::optional<Tensor> contiguous(const std::optional<Tensor>& tensor) {
  return tensor ? std::optional(tensor->contiguous()) : std::nullopt;
}

CheckedSequences check_sequences(const char* ids_name, const char* offsets_name, const Tensor& ids,
                                 const Tensor& offsets, std::int64_t num_ids) {
  TORCH_CHECK_TYPE(ids.scalar_type() == at::kInt || ids.scalar_type() == at::kLong, ids_name,
                   " must be int32 or int64, got ", ids.scalar_type());
  check_vector(ids_name, ids, ids.scalar_type(), at::kCPU);
  check_vector(offsets_name, offsets, at::kLong, at::kCPU);
  const Tensor wide = ids.to(at::kLong).contiguous();
  const auto* const id = wide.const_data_ptr<std::int64_t>();
  for (std::int64_t t = 0; t < wide.size(0); ++t) {
    TORCH_CHECK_VALUE(id[t] >= 0 && id[t] < num_ids, ids_name, " must be in [0, V) with V = ", num_ids, ", got ",
                      id[t]);
  }
  CheckedSequences checked = {ids.to(at::kInt).contiguous(), offsets.contiguous()};
  const auto* const begin = checked.offsets.const_data_ptr<std::int64_t>();
  const std::int64_t count = offsets.size(0) - 1;
  bool valid = count >= 0 && begin[0] == 0 && begin[count] == ids.size(0);
  for (std::int64_t i = 0; valid && i < count; ++i) valid = begin[i] <= begin[i + 1];
  TORCH_CHECK_VALUE(valid, offsets_name, " must start at 0, not decrease, and end at the number of ids, ", ids.size(0));
  return checked;
}

}  // namespace

BoxKind kind_of(std::string_view name) {
  constexpr std::string_view kNames[kNumBoxKinds] = {"iou", "giou", "diou", "ciou"};
  return static_cast<BoxKind>(index_of(name, kNames, "kind"));
}

AdvantageMethod method_of(std::string_view name) {
  constexpr std::string_view kNames[kNumAdvantageMethods] = {"group", "mean_only", "batch",   "rloo",
                                                             "gdpo",  "maxrl",     "task_ema"};
  return static_cast<AdvantageMethod>(index_of(name, kNames, "method"));
}

void check_boxes(const Tensor& boxes1, const Tensor& boxes2, bool paired, const char* name1, const char* name2) {
  for (const Tensor* boxes : {&boxes1, &boxes2}) {
    const char* const name = boxes == &boxes1 ? name1 : name2;
    TORCH_CHECK_VALUE(boxes->dim() == 2 && boxes->size(1) == 4, name, " must have shape [N, 4], got ", boxes->sizes());
    TORCH_CHECK_TYPE(boxes->scalar_type() == at::kFloat || boxes->scalar_type() == at::kDouble, name,
                     " must be float32 or float64, got ", boxes->scalar_type());
  }
  TORCH_CHECK_TYPE(boxes1.scalar_type() == boxes2.scalar_type(), name2, " must have ", name1, "'s dtype ",
                   boxes1.scalar_type(), ", got ", boxes2.scalar_type());
  TORCH_CHECK_VALUE(boxes1.device() == boxes2.device(), name2, " must be on ", name1, "'s device ", boxes1.device(),
                    ", got ", boxes2.device());
  TORCH_CHECK_VALUE(!paired || boxes1.size(0) == boxes2.size(0), name2, " must have ", boxes1.size(0), " rows like ",
                    name1, ", got ", boxes2.size(0));
}

Tensor new_scores(const Tensor& boxes1, const Tensor& boxes2, bool paired) {
  if (paired) return at::empty({boxes1.size(0)}, boxes1.options());
  return at::empty({boxes1.size(0), boxes2.size(0)}, boxes1.options());
}

Tensor check_counts(const char* name, const Tensor& counts, std::int64_t total, std::int64_t least) {
  check_vector(name, counts, at::kLong, at::kCPU);
  Tensor checked = counts.contiguous();
  std::int64_t left = total;
  for (std::int64_t g = 0; g < counts.size(0); ++g) {
    const std::int64_t count = checked.const_data_ptr<std::int64_t>()[g];
    TORCH_CHECK_VALUE(count >= least && count <= left, name, " must be at least ", least, " and add up to ", total,
                      ", got ", count, " with ", left, " left");
    left -= count;
  }
  TORCH_CHECK_VALUE(left == 0, name, " must add up to ", total, ", got ", total - left);
  return checked;
}

CheckedAdvantages check_advantages(const Tensor& rewards, const Tensor& sizes, const Tensor& weights,
                                   const std::optional<Tensor>& mask, AdvantageMethod method, double eps,
                                   const std::optional<Tensor>& scales) {
  TORCH_CHECK_VALUE(rewards.dim() == 2, "rewards must have shape [N, K], got ", rewards.sizes());
  TORCH_CHECK_TYPE(rewards.scalar_type() == at::kDouble, "rewards must be float64, got ", rewards.scalar_type());
  TORCH_CHECK_VALUE(std::isfinite(eps) && eps >= 0, "eps must be finite and at least 0, got ", eps);
  TORCH_CHECK_VALUE(scales.has_value() == (method == AdvantageMethod::task_ema),
                    "scales must be given for method task_ema and no other");
  const std::int64_t N = rewards.size(0);
  check_vector("weights", weights, at::kDouble, rewards.device(), rewards.size(1));
  if (weights.is_cpu()) {  // on a GPU nothing is read back
    for (std::int64_t k = 0; k < weights.size(0); ++k) {
      const double weight = weights[k].item<double>();
      TORCH_CHECK_VALUE(std::abs(weight) <= kLargestWeight, "weights must be numbers of at most ", kLargestWeight,
                        ", got ", weight);
    }
  }
  if (mask) check_vector("mask", *mask, at::kBool, rewards.device(), N);
  if (scales) check_vector("scales", *scales, at::kDouble, rewards.device(), N);
  return {rewards.contiguous(), check_counts("group_sizes", sizes, N, 1), weights.contiguous(), contiguous(mask),
          contiguous(scales)};
}

EmbeddingRows CheckedBmas::table() const {
  const RowType type = rows.scalar_type() == at::kFloat  ? RowType::float32
                       : rows.scalar_type() == at::kHalf ? RowType::float16
                                                         : RowType::bfloat16;
  return {rows.const_data_ptr(), type, rows.size(0), rows.size(1)};
}

CheckedBmas check_bmas(const Tensor& rows, const Tensor& inverse_norms, const Tensor& completion_ids,
                       const Tensor& completion_offsets, const Tensor& reference_ids, const Tensor& reference_offsets,
                       const Tensor& reference_of, std::int64_t num_threads) {
  TORCH_CHECK_VALUE(rows.dim() == 2 && rows.size(0) >= 1 && rows.size(0) <= INT32_MAX && rows.size(1) >= 1,
                    "rows must have shape [V, d] with 1 <= V < 2**31 and d >= 1, got ", rows.sizes());
  const at::ScalarType type = rows.scalar_type();
  TORCH_CHECK_TYPE(type == at::kFloat || type == at::kHalf || type == at::kBFloat16,
                   "rows must be float32, float16 or bfloat16, got ", type);
  check_vector("inverse_norms", inverse_norms, at::kFloat, rows.device(), rows.size(0));
  TORCH_CHECK_VALUE(num_threads >= 1 && num_threads <= INT32_MAX, "num_threads must be a positive integer, got ",
                    num_threads);
  CheckedBmas checked = {
      rows.contiguous(),
      inverse_norms.contiguous(),
      check_sequences("completion_ids", "completion_offsets", completion_ids, completion_offsets, rows.size(0)),
      check_sequences("reference_ids", "reference_offsets", reference_ids, reference_offsets, rows.size(0)),
      reference_of.contiguous(),
      static_cast<int>(num_threads)};
  const std::int64_t num_references = reference_offsets.size(0) - 1;
  check_vector("reference_of", reference_of, at::kLong, at::kCPU, completion_offsets.size(0) - 1);
  for (std::int64_t i = 0; i < reference_of.size(0); ++i) {
    const std::int64_t reference = checked.reference_of.const_data_ptr<std::int64_t>()[i];
    TORCH_CHECK_VALUE(reference >= 0 && reference < num_references,
                      "reference_of must be in [0, R) with R = ", num_references, ", got ", reference);
  }
  return checked;
}

}  // namespace mixed_r1
