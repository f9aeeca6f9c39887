#include "core/box_iou_kernel.h"

namespace mixed_r1 {

namespace {

using Floats = float __attribute__((vector_size(16)));
using Doubles = double __attribute__((vector_size(16)));

}  // namespace

constinit const BoxKernels box_kernels_generic = {box_functions<float, Floats>(), box_functions<double, Doubles>()};
constinit const BoxFunctions<long double, float> box_functions_extended_float =
    box_functions<long double, long double, float>();
constinit const BoxFunctions<long double, double> box_functions_extended_double =
    box_functions<long double, long double, double>();

}  // namespace mixed_r1
