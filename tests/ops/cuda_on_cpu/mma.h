// 16 x 16 x 16 matrix fragments: every lane holds both factors and computes eight of the results.
#pragma once
#include "cuda_runtime_api.h"

namespace nvcuda::wmma {

struct matrix_a {};
struct matrix_b {};
struct accumulator {};
struct row_major {};
struct col_major {};
enum layout_t { mem_row_major, mem_col_major };

template <class Use, int M, int N, int K, class T, class Layout = void>
struct fragment {
  static_assert(M == 16 && N == 16 && K == 16);
  static constexpr int num_elements = std::is_same_v<Use, accumulator> ? 8 : 256;
  std::conditional_t<std::is_same_v<Use, accumulator>, T, float> x[num_elements];
};

template <class T>
using Accumulator = fragment<accumulator, 16, 16, 16, T>;

// Where the eight results of a lane are.
inline int row_of(int element) { return (cuda_on_cpu::lane() * 8 + element) / 16; }
inline int column_of(int element) { return (cuda_on_cpu::lane() * 8 + element) % 16; }

template <class T>
void fill_fragment(Accumulator<T>& result, T value) {
  for (T& x : result.x) x = value;
}

template <class Use, class T, class Layout>
void load_matrix_sync(fragment<Use, 16, 16, 16, T, Layout>& to, const T* from, unsigned pitch) {
  cuda_on_cpu::require_alignment(from, 32);
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 16; ++j) {
      const bool is_row_major = std::is_same_v<Layout, row_major>;
      to.x[i * 16 + j] = static_cast<float>(from[is_row_major ? i * pitch + j : j * pitch + i]);
    }
  }
}

template <class T, class LayoutA, class LayoutB>
void mma_sync(Accumulator<float>& d, const fragment<matrix_a, 16, 16, 16, T, LayoutA>& a,
              const fragment<matrix_b, 16, 16, 16, T, LayoutB>& b, const Accumulator<float>& c) {
  for (int e = 0; e < 8; ++e) {
    float sum = c.x[e];
    for (int k = 0; k < 16; ++k) sum += a.x[row_of(e) * 16 + k] * b.x[k * 16 + column_of(e)];
    d.x[e] = sum;
  }
}

inline void store_matrix_sync(float* to, const Accumulator<float>& from, unsigned pitch, layout_t layout) {
  cuda_on_cpu::require_alignment(to, 32);
  for (int e = 0; e < 8; ++e) {
    const bool is_row_major = layout == mem_row_major;
    to[is_row_major ? row_of(e) * pitch + column_of(e) : column_of(e) * pitch + row_of(e)] = from.x[e];
  }
}

}  // namespace nvcuda::wmma
