#pragma once
#include "core/float_bits.h"
#include "cuda_runtime_api.h"

struct __half {
  std::uint16_t bits = 0;
  explicit __half(float) {}  // only zero is made from a float
  operator float() const { return mixed_r1::widen_float16(bits); }
};
