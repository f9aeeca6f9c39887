#include "torch_checks.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace mixed_r1 {

std::ostream& operator<<(std::ostream& stream, const Tensor& tensor) {
  stream << "[";
  for (std::int64_t i = 0; i < tensor.dim(); ++i) stream << (i ? ", " : "") << tensor.size(i);
  return stream << "]";
}

std::ostream& operator<<(std::ostream& stream, const Device& device) {
  if (device.is_cpu()) return stream << "cpu";
  return stream << (device.is_cuda() ? "cuda" : "another device") << ":" << device.index();
}

Tensor empty(std::initializer_list<std::int64_t> shape, ScalarType type, const Tensor& like) {
  std::array<std::int64_t, 2> strides = {1, 1};
  if (shape.size() == 2) strides[0] = std::max<std::int64_t>(*(shape.begin() + 1), 1);
  std::int32_t device_type = 0;
  check_torch(aoti_torch_get_device_type(like.get(), &device_type));
  AtenTensorHandle made = nullptr;
  check_torch(aoti_torch_empty_strided(static_cast<std::int64_t>(shape.size()), shape.begin(), strides.data(),
                                       torch::stable::detail::to<std::int32_t>(torch::stable::detail::from(type)),
                                       device_type, like.get_device_index(), &made));
  return Tensor(made);
}

Tensor zeros(std::initializer_list<std::int64_t> shape, ScalarType type, const Tensor& like) {
  Tensor tensor = empty(shape, type, like);
  if (tensor.is_cpu()) {
    std::memset(tensor.mutable_data_ptr(), 0, static_cast<std::size_t>(tensor.numel()) * tensor.element_size());
  } else {
    torch::stable::zero_(tensor);
  }
  return tensor;
}

void check_vector(const char* name, const Tensor& vector, ScalarType type, const Device& device,
                  std::optional<std::int64_t> size) {
  require(vector.dim() == 1, name, " must be one-dimensional, got shape ", vector);
  require(!size || vector.size(0) == *size, name, " must have shape [", size.value_or(0), "], got ", vector);
  require(vector.scalar_type() == type, name, " must be ", type, ", got ", vector.scalar_type());
  require(vector.device() == device, name, " must be on ", device, ", got ", vector.device());
}

void check_boxes(const Tensor& boxes1, const Tensor& boxes2, bool paired, const char* name1, const char* name2) {
  for (const Tensor* boxes : {&boxes1, &boxes2}) {
    const char* const name = boxes == &boxes1 ? name1 : name2;
    require(boxes->dim() == 2 && boxes->size(1) == 4, name, " must have shape [N, 4], got ", *boxes);
    require(boxes->scalar_type() == ScalarType::Float || boxes->scalar_type() == ScalarType::Double, name,
            " must be float32 or float64, got ", boxes->scalar_type());
  }
  require(boxes1.scalar_type() == boxes2.scalar_type(), name2, " must have ", name1, "'s dtype ", boxes1.scalar_type(),
          ", got ", boxes2.scalar_type());
  require(boxes1.device() == boxes2.device(), name2, " must be on ", name1, "'s device ", boxes1.device(), ", got ",
          boxes2.device());
  require(!paired || boxes1.size(0) == boxes2.size(0), name2, " must have ", boxes1.size(0), " rows like ", name1,
          ", got ", boxes2.size(0));
}

Tensor check_counts(const char* name, const Tensor& counts, std::int64_t total, std::int64_t least) {
  check_vector(name, counts, ScalarType::Long, torch::headeronly::DeviceType::CPU);
  Tensor checked = compact(counts);
  std::int64_t left = total;
  for (const std::int64_t count : span(checked)) {
    require(count >= least && count <= left, name, " must be at least ", least, " and add up to ", total, ", got ",
            count, " with ", left, " left");
    left -= count;
  }
  require(left == 0, name, " must add up to ", total, ", got ", total - left);
  return checked;
}

}  // namespace mixed_r1
