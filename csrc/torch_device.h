// Device, stream and errors of CUDA, by LibTorch's stable ABI, and the dispatch key of the launchers.
#pragma once

#include <cuda_runtime.h>
#include <dlfcn.h>
#include <torch/csrc/stable/accelerator.h>

#include "torch_stable.h"

#define MIXED_R1_CUDA_KEY CUDA

namespace mixed_r1 {

using torch::stable::accelerator::DeviceGuard;

inline void check_cuda(cudaError_t error) {
  STD_TORCH_CHECK(error == cudaSuccess, "CUDA: ", cudaGetErrorString(error));
}

// torch's current stream on the tensor's device. The function is in torch's CUDA half, which a torch for the CPU lacks:
// it is looked up in the library that is loaded already, not linked against.
inline cudaStream_t current_stream(const Tensor& tensor) {
  using CurrentStream = AOTITorchError (*)(std::int32_t, void**);
  static const auto find = reinterpret_cast<CurrentStream>(
      dlsym(dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_NOLOAD), "aoti_torch_get_current_cuda_stream"));
  STD_TORCH_CHECK(find != nullptr, "torch must have aoti_torch_get_current_cuda_stream, got none");
  void* stream = nullptr;
  check_torch(find(tensor.get_device_index(), &stream));
  return static_cast<cudaStream_t>(stream);
}

}  // namespace mixed_r1
