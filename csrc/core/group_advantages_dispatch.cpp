#include "core/dispatch.h"
#include "core/group_advantages_kernels.h"

namespace mixed_r1 {

const AdvantageKernels& advantage_kernels() {
  constexpr IsaTable<const AdvantageKernels*> kTable = {&advantage_kernels_generic,
                                                        MIXED_R1_X86(&advantage_kernels_avx2)};
  static const AdvantageKernels& chosen = *kTable.at(active_isa());
  return chosen;
}

}  // namespace mixed_r1
