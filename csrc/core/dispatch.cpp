#include "core/dispatch.h"

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>

namespace mixed_r1 {

namespace {

constexpr const char* kNames[kNumIsa] = {"generic", "avx2", "avx512", "avx512bf16"};

Isa read_cap() {
  const char* value = std::getenv("MIXED_R1_ISA");
  if (value == nullptr || *value == '\0') return Isa::avx512bf16;
  for (int level = 0; level < kNumIsa; ++level) {
    if (std::string_view(value) == kNames[level]) return static_cast<Isa>(level);
  }
  throw std::invalid_argument(std::string("MIXED_R1_ISA must be generic, avx2, avx512 or avx512bf16, got '") + value +
                              "'");
}

}  // namespace

Isa detected_isa() noexcept {
#if defined(__x86_64__)
  // __builtin_cpu_supports also asks the operating system (XGETBV) whether the registers are saved.
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("f16c")) {
    return Isa::generic;
  }
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl")) {
    return Isa::avx2;
  }
  return __builtin_cpu_supports("avx512bf16") ? Isa::avx512bf16 : Isa::avx512;
#else
  return Isa::generic;
#endif
}

Isa active_isa() {
  static const Isa isa = [] {
    const Isa cap = read_cap();
    const Isa detected = detected_isa();
    return cap < detected ? cap : detected;
  }();
  return isa;
}

const char* isa_name(Isa isa) noexcept { return kNames[static_cast<int>(isa)]; }

}  // namespace mixed_r1
