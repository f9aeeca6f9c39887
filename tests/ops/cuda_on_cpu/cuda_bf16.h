#pragma once
#include "core/float_bits.h"
#include "cuda_runtime_api.h"

struct __nv_bfloat16 {
  std::uint16_t bits = 0;
  explicit __nv_bfloat16(float) {}  // only zero is made from a float
  operator float() const { return mixed_r1::widen_bfloat16(bits); }
};
