// CUDA C++ on the CPU, as far as csrc/cuda uses it, to run kernels where there is no GPU: blocks in turn, a
// std::thread for each thread, so that a thread sanitizer sees a missing barrier. It says nothing of speed,
// nor of how a GPU rounds.
#pragma once

#include <algorithm>
#include <barrier>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static  // one block at a time
#define __launch_bounds__(...)

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

inline thread_local dim3 threadIdx(0, 0, 0), blockIdx(0, 0, 0), blockDim, gridDim;

enum cudaError_t { cudaSuccess, cudaErrorInvalidValue };
using cudaStream_t = void*;

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

namespace cuda_on_cpu {

constexpr int kWarp = 32;

// What the threads of a warp exchange.
struct Warp {
  explicit Warp(int size) : all(size) {}
  std::barrier<> all;
  std::uint64_t values[kWarp] = {};
};

struct Block {
  explicit Block(int size) : all(size) {
    for (int first = 0; first < size; first += kWarp)
      warps.push_back(std::make_unique<Warp>(std::min(kWarp, size - first)));
  }
  std::barrier<> all;
  std::vector<std::unique_ptr<Warp>> warps;
};

inline thread_local Block* block = nullptr;
inline thread_local std::vector<std::vector<std::function<void()>>> copies;  // groups of asynchronous copies

// A GPU faults on such an address.
inline void require_alignment(const void* address, std::size_t bytes) {
  if (reinterpret_cast<std::uintptr_t>(address) % bytes == 0) return;
  std::fprintf(stderr, "misaligned address %p, must be a multiple of %zu\n", address, bytes);
  std::abort();
}

inline int lane() { return static_cast<int>(threadIdx.x) % kWarp; }
inline Warp& warp() { return *block->warps[threadIdx.x / kWarp]; }

// The value of another lane of the warp; every lane calls it.
template <class T>
T exchange(T value, int from) {
  static_assert(sizeof(T) <= sizeof(std::uint64_t));
  Warp& here = warp();
  std::memcpy(&here.values[lane()], &value, sizeof(T));
  here.all.arrive_and_wait();
  std::memcpy(&value, &here.values[from], sizeof(T));
  here.all.arrive_and_wait();
  return value;
}

}  // namespace cuda_on_cpu

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  const std::tuple<Parameters...> given(std::forward<Arguments>(arguments)...);
  const auto threads = static_cast<int>(config->blockDim.x);
  for (unsigned b = 0; b < config->gridDim.x; ++b) {
    cuda_on_cpu::Block block(threads);
    std::vector<std::thread> running;
    for (int t = 0; t < threads; ++t) {
      running.emplace_back([&, b, t] {
        threadIdx = dim3(static_cast<unsigned>(t), 0, 0);
        blockIdx = dim3(b, 0, 0);
        blockDim = config->blockDim;
        gridDim = config->gridDim;
        cuda_on_cpu::block = &block;
        cuda_on_cpu::copies.assign(1, {});
        std::apply(kernel, given);
        block.all.arrive_and_drop();
        cuda_on_cpu::warp().all.arrive_and_drop();
      });
    }
    for (std::thread& thread : running) thread.join();
  }
  return cudaSuccess;
}

enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };

inline cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  *memory = bytes > 0 ? std::malloc(bytes) : nullptr;
  return cudaSuccess;
}

inline cudaError_t cudaFree(void* memory) {
  std::free(memory);
  return cudaSuccess;
}

inline cudaError_t cudaMemcpy(void* target, const void* source, std::size_t bytes, cudaMemcpyKind) {
  if (bytes > 0) std::memcpy(target, source, bytes);
  return cudaSuccess;
}

inline cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }

inline void __syncthreads() { cuda_on_cpu::block->all.arrive_and_wait(); }
inline void __syncwarp(unsigned = 0xffffffffu) { cuda_on_cpu::warp().all.arrive_and_wait(); }

template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return cuda_on_cpu::exchange(value, cuda_on_cpu::lane() ^ mask);
}

template <class T>
T __shfl_sync(unsigned, T value, int from) {
  return cuda_on_cpu::exchange(value, from);
}

using std::max;
using std::min;
