// LibTorch's stable ABI, as the torch ops use it: one build of them loads into every torch from 2.10 on, with CUDA and
// without. Nothing of ATen or c10 may be included here, and nothing newer than TORCH_TARGET_VERSION (setup.py) is seen.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <initializer_list>
#include <ostream>
#include <sstream>
#include <stdexcept>

namespace mixed_r1 {

using torch::headeronly::ScalarType;
using torch::stable::Device;
using torch::stable::Tensor;

// A tensor's shape, "[2, 3]", and "cpu" or "cuda:0".
std::ostream& operator<<(std::ostream& stream, const Tensor& tensor);
std::ostream& operator<<(std::ostream& stream, const Device& device);

// Throws what Python sees as a RuntimeError, its text the parts one after the other, unless `holds`. Nothing else keeps
// its kind in every torch: up to 2.14 std::invalid_argument was a ValueError, from 2.15 on it is a RuntimeError.
template <class... Parts>
void require(bool holds, const Parts&... parts) {
  if (holds) return;
  std::ostringstream text;
  (text << ... << parts);
  throw std::runtime_error(text.str());
}

// For torch's C functions. (torch 2.13 has a macro for it, of another name than those before.)
inline void check_torch(AOTITorchError code) { require(code == AOTI_TORCH_SUCCESS, "a C function of torch failed"); }

// Uninitialised and contiguous, where `like` is. By the C function: a call through the dispatcher costs microseconds.
Tensor empty(std::initializer_list<std::int64_t> shape, ScalarType type, const Tensor& like);

Tensor zeros(std::initializer_list<std::int64_t> shape, ScalarType type, const Tensor& like);

// Each is the tensor itself where there is nothing to do: a call of torch costs more than the question.
inline Tensor compact(const Tensor& tensor) {
  return tensor.is_contiguous() ? tensor : torch::stable::contiguous(tensor);
}

inline Tensor as_type(const Tensor& tensor, ScalarType type) {
  return tensor.scalar_type() == type ? tensor : torch::stable::to(tensor, type);
}

}  // namespace mixed_r1
