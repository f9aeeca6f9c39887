// Blocks of boxes and the table of functions that score them; box_iou_kernel.h defines the functions.
#pragma once

#include <cstdint>

#include "core/box_iou.h"

namespace mixed_r1 {

inline constexpr int kBoxPadding = 16;  // the most lanes of a vector: blocks are filled up to a multiple of it

// Boxes as a structure of arrays: corners in order, finite. Arrays of 4 KiB: a block of columns stays in the L1 cache,
// and two blocks fit any thread's stack.
template <class T>
struct alignas(64) BoxBlock {
  static constexpr int kSize = 4096 / sizeof(T);

  T x1[kSize], y1[kSize], x2[kSize], y2[kSize];
  T area[kSize];   // at least the smallest normal number, so that no union is 0
  T angle[kSize];  // atan2(w, h), for ciou
};

// out[i * stride + j]: scores of a[i], i < rows, with b[j], j < columns; both counts are at least 1. The padding of b
// is read.
template <class T, class Out>
using BoxMatrixFunction = void (*)(const BoxBlock<T>& a, int rows, const BoxBlock<T>& b, int columns, Out* out,
                                   std::int64_t stride);

// out[i]: scores of a[i] with b[i], i < count, count >= 1; the padding of a and b is read.
template <class T, class Out>
using BoxPairFunction = void (*)(const BoxBlock<T>& a, const BoxBlock<T>& b, int count, Out* out);

template <class T, class Out = T>
struct BoxFunctions {
  BoxMatrixFunction<T, Out> matrix[kNumBoxKinds];
  BoxPairFunction<T, Out> paired[kNumBoxKinds];
};

struct BoxKernels {
  BoxFunctions<float> single;
  BoxFunctions<double> wide;
};

extern const BoxKernels box_kernels_generic;
extern const BoxKernels box_kernels_avx2;
extern const BoxKernels box_kernels_avx512;

// For coordinates whose squares leave the range of their type.
extern const BoxFunctions<long double, float> box_functions_extended_float;
extern const BoxFunctions<long double, double> box_functions_extended_double;

}  // namespace mixed_r1
