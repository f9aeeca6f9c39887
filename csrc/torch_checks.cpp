#include "torch_checks.h"

namespace mixed_r1 {

using at::Tensor;

void check_vector(const char* name, const Tensor& vector, at::ScalarType type, at::Device device,
                  std::optional<std::int64_t> size) {
  TORCH_CHECK_VALUE(vector.dim() == 1 && (!size || vector.size(0) == *size), name,
                    size ? c10::str(" must have shape [", *size, "]") : " must be one-dimensional", ", got ",
                    vector.sizes());
  TORCH_CHECK_TYPE(vector.scalar_type() == type, name, " must be ", type, ", got ", vector.scalar_type());
  TORCH_CHECK_VALUE(vector.device() == device, name, " must be on ", device, ", got ", vector.device());
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

}  // namespace mixed_r1
