#include "core/dispatch.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>

namespace mixed_r1 {

namespace {

constexpr const char* kNames[kNumIsa] = {"generic", "avx2", "avx512", "avx512bf16", "amx"};

Isa read_cap() {
  const char* value = std::getenv("MIXED_R1_ISA");
  if (value == nullptr || *value == '\0') return Isa::amx;
  for (int level = 0; level < kNumIsa; ++level) {
    if (std::string_view(value) == kNames[level]) return static_cast<Isa>(level);
  }
  throw std::invalid_argument(std::string("MIXED_R1_ISA must be generic, avx2, avx512, avx512bf16 or amx, got '") +
                              value + "'");
}

#if defined(__x86_64__) && defined(__linux__)
bool has_amx() noexcept {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || (edx & kBf16) == 0 || (edx & kTile) == 0) return false;
  constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#elif defined(__x86_64__)
bool has_amx() noexcept { return false; }
#endif

Isa best_isa() noexcept {
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
  if (!__builtin_cpu_supports("avx512bf16")) return Isa::avx512;
  return has_amx() ? Isa::amx : Isa::avx512bf16;
#else
  return Isa::generic;
#endif
}

}  // namespace

Isa detected_isa() noexcept {
  static const Isa isa = best_isa();
  return isa;
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
