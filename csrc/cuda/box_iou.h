// Overlap scores on a GPU; formulas and edge rules: kernels/mixed_r1_kernels/box_iou/api.py. Device pointers and a
// stream, no allocation, no synchronisation.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "core/box_iou.h"

namespace mixed_r1 {

// Boxes are [count, 4], contiguous; out is [count1, count2]. T is float or double.
template <class T>
cudaError_t box_iou_cuda(const T* boxes1, std::int64_t count1, const T* boxes2, std::int64_t count2, BoxKind kind,
                         T* out, cudaStream_t stream);

// out is [count].
template <class T>
cudaError_t paired_box_iou_cuda(const T* boxes1, const T* boxes2, std::int64_t count, BoxKind kind, T* out,
                                cudaStream_t stream);

}  // namespace mixed_r1
