// Blocks of boxes and the table of functions that score them; box_iou_kernel.h defines the functions.
#pragma once

#include <type_traits>

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

// Scores of a[0] (one_to_many) or a[i] (paired) with b[i], i < count, count >= 1; the padding of a and b is read.
template <class T, class Out>
using BoxFunction = void (*)(const BoxBlock<T>& a, const BoxBlock<T>& b, int count, Out* out);

template <class T, class Out = T>
struct BoxFunctions {
  BoxFunction<T, Out> one_to_many[kNumBoxKinds];
  BoxFunction<T, Out> paired[kNumBoxKinds];
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
