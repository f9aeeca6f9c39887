// Asynchronous copies, made as late as the waits allow: a kernel that reads without waiting reads what was
// there before.
#pragma once
#include "cuda_runtime_api.h"

inline void __pipeline_memcpy_async(void* target, const void* source, std::size_t size,
                                    std::size_t zero_bytes = 0) {
  cuda_on_cpu::require_alignment(target, size);
  cuda_on_cpu::require_alignment(source, size);
  cuda_on_cpu::copies.back().push_back([=] {
    std::memcpy(target, source, size - zero_bytes);
    std::memset(static_cast<char*>(target) + size - zero_bytes, 0, zero_bytes);
  });
}

inline void __pipeline_commit() { cuda_on_cpu::copies.emplace_back(); }

inline void __pipeline_wait_prior(std::size_t groups_left) {
  auto& copies = cuda_on_cpu::copies;  // the last group is not committed yet
  while (copies.size() - 1 > groups_left) {
    for (const auto& copy : copies.front()) copy();
    copies.erase(copies.begin());
  }
}
