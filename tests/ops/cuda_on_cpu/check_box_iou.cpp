// With core/dispatch.cpp.
// Runs csrc/cuda/box_iou.cu against scalar formulas in long double; exits with 1 on a difference.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <random>
#include <vector>

#include "cuda/box_iou.h"
#include "gpu_memory.h"

namespace {

using namespace mixed_r1;
using Wide = long double;

Wide over(Wide numerator, Wide denominator) { return denominator > 0 ? numerator / denominator : 0; }

template <class T>
Wide expected(const T* p, const T* q, BoxKind kind) {
  for (int k = 0; k < 4; ++k) {
    if (!std::isfinite(p[k]) || !std::isfinite(q[k])) return 0;
  }
  Wide low[2][2], high[2][2], overlap = 1, hull = 1, area[2] = {1, 1}, apart = 0, diagonal = 0;
  for (int axis = 0; axis < 2; ++axis) {
    for (int box = 0; box < 2; ++box) {
      const T* const v = box == 0 ? p : q;
      low[box][axis] = std::min(v[axis], v[axis + 2]);
      high[box][axis] = std::max(v[axis], v[axis + 2]);
      area[box] *= high[box][axis] - low[box][axis];
    }
    const Wide from = std::max(low[0][axis], low[1][axis]), to = std::min(high[0][axis], high[1][axis]);
    overlap *= std::max<Wide>(to - from, 0);
    const Wide extent = std::max(high[0][axis], high[1][axis]) - std::min(low[0][axis], low[1][axis]);
    const Wide centres = (low[0][axis] + high[0][axis] - low[1][axis] - high[1][axis]) / 2;
    hull *= extent;
    apart += centres * centres;
    diagonal += extent * extent;
  }
  const Wide both = area[0] + area[1] - overlap, iou = over(overlap, both);
  if (kind == BoxKind::iou) return iou;
  if (kind == BoxKind::giou) return iou - over(hull - both, hull);
  const Wide diou = iou - over(apart, diagonal);
  if (kind == BoxKind::diou) return diou;
  Wide angle[2];
  for (int box = 0; box < 2; ++box) {
    angle[box] = std::atan2(high[box][0] - low[box][0], high[box][1] - low[box][1]);
  }
  const Wide pi = std::acos(Wide(-1)), turn = angle[0] - angle[1], aspect = 4 / (pi * pi) * turn * turn;
  return diou - over(aspect * aspect, 1 - iou + aspect);
}

template <class T>
bool check(std::int64_t count1, std::int64_t count2, T scale) {
  std::mt19937 random(static_cast<unsigned>(count1 * 1000 + count2));
  std::uniform_real_distribution<T> uniform(T(-1), T(1));
  std::vector<T> a(4 * count1), b(4 * count2), out(count1 * count2), paired(std::min(count1, count2));
  for (T& v : a) v = uniform(random) * scale;
  for (T& v : b) v = uniform(random) * scale;
  if (count1 > 2) a[5] = std::numeric_limits<T>::quiet_NaN();
  if (count1 > 0 && count2 > 2) std::copy_n(a.begin(), 4, b.begin() + 4);  // the same box
  if (count2 > 3) b[12] = b[14];                                           // no width
  const OnGpu a_on_gpu(a), b_on_gpu(b), out_on_gpu(out), paired_on_gpu(paired);
  const auto tolerance = 32 * std::numeric_limits<T>::epsilon();
  for (int k = 0; k < kNumBoxKinds; ++k) {
    const auto kind = static_cast<BoxKind>(k);
    if (box_iou_cuda(a_on_gpu.get(), count1, b_on_gpu.get(), count2, kind, out_on_gpu.get(), nullptr) !=
        cudaSuccess)
      return false;
    const auto count = static_cast<std::int64_t>(paired.size());
    if (paired_box_iou_cuda(a_on_gpu.get(), b_on_gpu.get(), count, kind, paired_on_gpu.get(), nullptr) !=
        cudaSuccess)
      return false;
    out_on_gpu.copy_back(out.data());
    paired_on_gpu.copy_back(paired.data());
    for (std::int64_t i = 0; i < count1; ++i) {
      for (std::int64_t j = 0; j < count2; ++j) {
        const Wide exact = expected(&a[4 * i], &b[4 * j], kind), found = out[i * count2 + j];
        if (!(std::abs(found - exact) <= tolerance) ||
            (i == j && i < count && paired[i] != out[i * count2 + j])) {
          std::printf("kind %d, boxes %ld and %ld: %Lg, must be %Lg\n", k, static_cast<long>(i),
                      static_cast<long>(j), found, exact);
          return false;
        }
      }
    }
    if (count1 > 0 && count2 > 2 && out[1] != T(1)) return false;
  }
  return true;
}

template <class T>
bool check_all(T large, T small) {
  return check(0, 3, T(1)) && check(3, 0, T(1)) && check(17, 129, T(500)) && check(3, 4, large) &&
         check(3, 4, small);
}

}  // namespace

int main() { return check_all(3e38f, 1e-30f) && check_all(1.7e308, 1e-290) ? 0 : 1; }
