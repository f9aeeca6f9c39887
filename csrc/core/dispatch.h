// Which instruction set the CPU kernels use. Detected once, capped by MIXED_R1_ISA.
#pragma once

namespace mixed_r1 {

enum class Isa : int { generic = 0, avx2 = 1, avx512 = 2, avx512bf16 = 3, amx = 4 };

inline constexpr int kNumIsa = 5;

// What this machine (CPU and operating system) can run. Where it has AMX, the first call asks the kernel for the right
// to use it; the right holds for the whole process.
Isa detected_isa() noexcept;

// min(detected, MIXED_R1_ISA); read once. Throws std::invalid_argument for an unknown name.
Isa active_isa();

const char* isa_name(Isa isa) noexcept;

// One function per level. A level without code of its own is nullptr and the next lower one serves; generic always
// exists.
template <class Function>
struct IsaTable {
  Function generic = nullptr;
  Function avx2 = nullptr;
  Function avx512 = nullptr;
  Function avx512bf16 = nullptr;
  Function amx = nullptr;

  Function at(Isa isa) const {
    const Function levels[kNumIsa] = {generic, avx2, avx512, avx512bf16, amx};
    for (int level = static_cast<int>(isa); level > 0; --level) {
      if (levels[level] != nullptr) return levels[level];
    }
    return generic;
  }
};

// An entry of an IsaTable whose definition is in an x86-only source.
#if defined(__x86_64__)
#define MIXED_R1_X86(function) (function)
#else
#define MIXED_R1_X86(function) nullptr
#endif

}  // namespace mixed_r1
