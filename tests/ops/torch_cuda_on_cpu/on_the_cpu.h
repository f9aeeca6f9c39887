// csrc/torch_device.h for launchers that run on the CPU: no device to guard, no stream, the CPU's dispatch key.
#pragma once

#include "cuda_runtime_api.h"
#include "torch_stable.h"

#define MIXED_R1_CUDA_KEY CPU

namespace mixed_r1 {

struct DeviceGuard {
  explicit DeviceGuard(std::int32_t) {}
};

inline void check_cuda(cudaError_t error) { STD_TORCH_CHECK(error == cudaSuccess, "CUDA error"); }

inline cudaStream_t current_stream(const Tensor&) { return nullptr; }

}  // namespace mixed_r1
