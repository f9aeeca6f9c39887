// 16-bit floats to float32, exactly. Force-inlined and free of the standard library's templates: files compiled for a
// wider instruction set include this, and a copy shared between them would run where it must not.
#pragma once

#include <cstdint>

namespace mixed_r1 {

__attribute__((always_inline)) inline float widen_bfloat16(std::uint16_t bits) {
  return __builtin_bit_cast(float, static_cast<std::uint32_t>(bits) << 16);
}

__attribute__((always_inline)) inline float widen_float16(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t magnitude = static_cast<std::uint32_t>(bits & 0x7FFFu) << 13;
  // Read with float32's exponent bias the value is 2^112 times too small, denormals included; the product is exact.
  const float scaled = __builtin_bit_cast(float, magnitude) * 0x1p112f;
  const bool special = magnitude >= (0x7C00u << 13);  // infinity or NaN
  const std::uint32_t value = special ? (magnitude | 0x7F800000u) : __builtin_bit_cast(std::uint32_t, scaled);
  return __builtin_bit_cast(float, sign | value);
}

}  // namespace mixed_r1
