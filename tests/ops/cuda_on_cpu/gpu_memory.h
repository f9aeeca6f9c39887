// Memory that kernels read and write, for the check programs: on the GPU where nvcc built them, else the
// CPU's.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

namespace mixed_r1 {

template <class T>
class OnGpu {
 public:
  OnGpu(const T* host, std::size_t count) : count_(count) {
    require(cudaMalloc(reinterpret_cast<void**>(&memory_), bytes()));
    require(cudaMemcpy(memory_, host, bytes(), cudaMemcpyHostToDevice));
  }
  explicit OnGpu(const std::vector<T>& host) : OnGpu(host.data(), host.size()) {}
  ~OnGpu() { cudaFree(memory_); }
  OnGpu(const OnGpu&) = delete;
  OnGpu& operator=(const OnGpu&) = delete;

  T* get() const { return memory_; }

  // Waits for the kernels.
  void copy_back(T* host) const {
    require(cudaDeviceSynchronize());
    require(cudaMemcpy(host, memory_, bytes(), cudaMemcpyDeviceToHost));
  }

 private:
  std::size_t bytes() const { return count_ * sizeof(T); }
  static void require(cudaError_t error) {
    if (error == cudaSuccess) return;
    std::fprintf(stderr, "CUDA error %d\n", static_cast<int>(error));
    std::exit(2);
  }

  T* memory_ = nullptr;
  std::size_t count_;
};

}  // namespace mixed_r1
