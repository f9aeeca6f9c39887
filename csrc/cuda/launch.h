// The one way in which kernels of csrc/cuda are launched.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace mixed_r1 {

// Blocks of `size` threads that cover `count` items.
constexpr std::int64_t blocks_of(std::int64_t count, std::int64_t size) { return (count + size - 1) / size; }

// `blocks` blocks of `threads` threads on `stream`. No block is no launch; more than a grid can have is an error.
template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), std::int64_t blocks, int threads, cudaStream_t stream,
                   Arguments... arguments) {
  constexpr std::int64_t kMaxBlocks = 0x7FFFFFFF;
  if (blocks == 0) return cudaSuccess;
  if (blocks > kMaxBlocks) return cudaErrorInvalidValue;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}

}  // namespace mixed_r1
