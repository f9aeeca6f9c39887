// What the BMAS micro-kernels reach of this core's peak. Prints "<name> <d=2048> <d=3584> <peak>" in GFLOP/s for each
// level.
//
// Kernel: BmasKernel::dots on 48 rows and 64 columns that lie in the second-level cache, from the library's own
// sources. For AMX also the tile loop alone, without the gathering of rows. Peak: multiply-adds on registers alone, as
// many independent sums as hide the latency. Built and run by benchmarks/bmas_peak.py.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "core/bmas_amx.cpp"
#include "core/bmas_kernels.h"
#include "core/dispatch.h"

namespace {

using mixed_r1::BmasKernel;
using mixed_r1::Isa;
using mixed_r1::kPanelWidth;

template <class Work>
double seconds_of(Work work) {
  double best = 1e9;
  for (int round = 0; round < 300; ++round) {
    const auto start = std::chrono::steady_clock::now();
    work();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = seconds < best ? seconds : best;
  }
  return best;
}

void* aligned(std::size_t bytes) {
  void* memory = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
  auto* words = static_cast<std::uint32_t*>(memory);
  for (std::size_t i = 0; i < bytes / 4; ++i)
    words[i] = 0x3C003C00u;  // small positive numbers, as float32 and as bfloat16
  return memory;
}

double kernel_gflops(const BmasKernel& kernel, std::int64_t dim) {
  constexpr std::int64_t kNumRows = 48, kNumPanels = 4, kColumns = kNumPanels * kPanelWidth;
  const std::int64_t element = kernel.reads_bfloat16 ? 2 : 4;
  const std::int64_t depth_words = dim * element / 4;
  char* table = static_cast<char*>(aligned(kNumRows * dim * element));
  auto* panels = static_cast<std::uint32_t*>(aligned(kNumPanels * depth_words * kPanelWidth * 4));
  auto* out = static_cast<float*>(aligned(kNumRows * kColumns * 4));
  std::vector<const void*> rows;
  for (std::int64_t i = 0; i < kNumRows; ++i) rows.push_back(table + i * dim * element);
  const double seconds = seconds_of([&] {
    for (std::int64_t i = 0; i < kNumRows; i += kernel.row_block) {
      kernel.dots(rows.data() + i, kernel.row_block, dim, panels, depth_words, kNumPanels, out + i * kColumns,
                  kColumns);
    }
  });
  std::free(table);
  std::free(panels);
  std::free(out);
  return 2.0 * kNumRows * kColumns * static_cast<double>(dim) / seconds / 1e9;
}

// Zero operands: denormal ones would be slow.
#define TWELVE(instruction, name)                                                                                   \
  "vxorps %%xmm14, %%xmm14, %%xmm14\n vxorps %%xmm15, %%xmm15, %%xmm15\n" instruction " %%" name "14, %%" name      \
  "15, %%" name "0\n" instruction " %%" name "14, %%" name "15, %%" name "1\n" instruction " %%" name "14, %%" name \
  "15, %%" name "2\n" instruction " %%" name "14, %%" name "15, %%" name "3\n" instruction " %%" name "14, %%" name \
  "15, %%" name "4\n" instruction " %%" name "14, %%" name "15, %%" name "5\n" instruction " %%" name "14, %%" name \
  "15, %%" name "6\n" instruction " %%" name "14, %%" name "15, %%" name "7\n" instruction " %%" name "14, %%" name \
  "15, %%" name "8\n" instruction " %%" name "14, %%" name "15, %%" name "9\n" instruction " %%" name "14, %%" name \
  "15, %%" name "10\n" instruction " %%" name "14, %%" name "15, %%" name "11\n"

#define CLOBBERED \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm14", "xmm15"

constexpr long kLoops = 20000;

double peak_gflops(Isa isa) {
  switch (isa) {
    case Isa::amx: {
      // Tiles of zeros are as fast as any.
      alignas(64) static unsigned char config[64] = {1};
      for (int tile = 0; tile < 8; ++tile) {
        config[16 + 2 * tile] = 64;
        config[48 + tile] = 16;
      }
      asm volatile("ldtilecfg %0" ::"m"(config));
      const double seconds = seconds_of([] {
        for (long i = 0; i < kLoops; ++i) {
          asm volatile(
              "tdpbf16ps %tmm7, %tmm6, %tmm0\n tdpbf16ps %tmm7, %tmm6, %tmm1\n"
              "tdpbf16ps %tmm7, %tmm6, %tmm2\n tdpbf16ps %tmm7, %tmm6, %tmm3\n");
        }
      });
      asm volatile("tilerelease");
      return kLoops * 4 * 2.0 * 16 * 16 * 32 / seconds / 1e9;
    }
    case Isa::avx512bf16:
      return kLoops * 12 * 64.0 / 1e9 / seconds_of([] {
               for (long i = 0; i < kLoops; ++i) asm volatile(TWELVE("vdpbf16ps", "zmm")::: CLOBBERED);
             });
    case Isa::avx512:
      return kLoops * 12 * 32.0 / 1e9 / seconds_of([] {
               for (long i = 0; i < kLoops; ++i) asm volatile(TWELVE("vfmadd231ps", "zmm")::: CLOBBERED);
             });
    case Isa::avx2:
      return kLoops * 12 * 16.0 / 1e9 / seconds_of([] {
               for (long i = 0; i < kLoops; ++i) asm volatile(TWELVE("vfmadd231ps", "ymm")::: CLOBBERED);
             });
    default:  // a multiply and an add, each of four
      return kLoops * 12 * 4.0 / 1e9 / seconds_of([] {
               for (long i = 0; i < kLoops; ++i) {
                 asm volatile(
                     "xorps %%xmm14, %%xmm14\n"
                     "mulps %%xmm14, %%xmm0\n addps %%xmm14, %%xmm1\n mulps %%xmm14, %%xmm2\n addps %%xmm14, %%xmm3\n"
                     "mulps %%xmm14, %%xmm4\n addps %%xmm14, %%xmm5\n mulps %%xmm14, %%xmm6\n addps %%xmm14, %%xmm7\n"
                     "mulps %%xmm14, %%xmm8\n addps %%xmm14, %%xmm9\n mulps %%xmm14, %%xmm10\n addps %%xmm14, "
                     "%%xmm11\n" ::
                         : CLOBBERED);
               }
             });
  }
}

}  // namespace

namespace mixed_r1 {

// The tile loop on one gathered part of 48 rows, over all columns and the whole depth.
double tile_gflops(std::int64_t dim) {
  constexpr std::int64_t kNumPanels = 4, kColumns = kNumPanels * kPanelWidth;
  const std::int64_t depth_words = dim / 2;
  alignas(64) static RowTiles tiles;
  alignas(64) static float out[kRows * kColumns];
  auto* panels = static_cast<std::uint32_t*>(aligned(kNumPanels * depth_words * kPanelWidth * 4));
  _tile_loadconfig(&kConfig);
  const double seconds = seconds_of([&] {
    for (int repeat = 0; repeat < 4; ++repeat) {
      for (std::int64_t begin = 0; begin < dim / kTileDepth; begin += kSteps) {
        for (std::int64_t p = 0; p < kNumPanels; ++p) {
          const std::uint32_t* panel = panels + p * depth_words * kPanelWidth + begin * kTileWords;
          add_dots<kRowTiles>(tiles, kSteps, panel, begin == 0, out + p * kPanelWidth, kColumns);
        }
      }
    }
  });
  _tile_release();
  std::free(panels);
  return 4 * 2.0 * kRows * kColumns * static_cast<double>(dim) / seconds / 1e9;
}

}  // namespace mixed_r1

int main() {
  const BmasKernel* kernels[] = {&mixed_r1::bmas_kernel_generic(), &mixed_r1::bmas_kernel_avx2(),
                                 &mixed_r1::bmas_kernel_avx512(), &mixed_r1::bmas_kernel_avx512bf16(),
                                 &mixed_r1::bmas_kernel_amx()};
  for (int level = 0; level <= static_cast<int>(mixed_r1::detected_isa()); ++level) {
    const Isa isa = static_cast<Isa>(level);
    const double peak = peak_gflops(isa);
    std::printf("%s %.1f %.1f %.1f\n", mixed_r1::isa_name(isa), kernel_gflops(*kernels[level], 2048),
                kernel_gflops(*kernels[level], 3584), peak);
    if (isa == Isa::amx) {
      std::printf("amx-tiles %.1f %.1f %.1f\n", mixed_r1::tile_gflops(2048), mixed_r1::tile_gflops(3584), peak);
    }
  }
}
