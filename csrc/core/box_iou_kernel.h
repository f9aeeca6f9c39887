// The loop over pairs of boxes, compiled once per instruction set: each box_iou_<isa>.cpp names its vectors V, may
// define lower(), upper(), positive() and divide() for them, includes this file and exports one table. Everything is in
// an unnamed namespace, so no copy can replace another at link time.
#pragma once

#include <cstddef>
#include <cstring>
#include <limits>
#include <type_traits>

#include "core/box_iou_block.h"

namespace mixed_r1 {

namespace {

template <class V>
inline V lower(V a, V b) {
  return a < b ? a : b;
}

template <class V>
inline V upper(V a, V b) {
  return a > b ? a : b;
}

// max(a, 0).
template <class V>
inline V positive(V a) {
  return upper(a, V{});
}

template <class V>
inline V divide(V numerator, V denominator) {
  return numerator / denominator;
}

// Every lane `value` (V may be T itself).
template <class V, class T>
inline V repeat(T value) {
  return value - V{};
}

// numerator / denominator, and 0 where the denominator is not above 0: every numerator here is 0 there too.
template <class T, class V>
inline V ratio(V numerator, V denominator) {
  return divide(numerator, upper(denominator, repeat<V>(std::numeric_limits<T>::min())));
}

template <class V>
struct Lanes {
  V x1, y1, x2, y2, area, angle;
};

template <class V, class T>
inline V load(const T* from) {
  V lanes;
  std::memcpy(&lanes, from, sizeof(V));
  return lanes;
}

template <class V, class T>
inline Lanes<V> load_boxes(const BoxBlock<T>& block, int at) {
  return {load<V>(block.x1 + at), load<V>(block.y1 + at),   load<V>(block.x2 + at),
          load<V>(block.y2 + at), load<V>(block.area + at), load<V>(block.angle + at)};
}

template <class V, class T>
inline Lanes<V> repeat_box(const BoxBlock<T>& block, int at) {
  return {repeat<V>(block.x1[at]), repeat<V>(block.y1[at]),   repeat<V>(block.x2[at]),
          repeat<V>(block.y2[at]), repeat<V>(block.area[at]), repeat<V>(block.angle[at])};
}

template <BoxKind kind, class T, class V>
inline V score(const Lanes<V>& a, const Lanes<V>& b) {
  const V x_overlap = lower(a.x2, b.x2) - upper(a.x1, b.x1), y_overlap = lower(a.y2, b.y2) - upper(a.y1, b.y1);
  const V intersection = positive(x_overlap) * positive(y_overlap);
  const V both = (a.area + b.area) - intersection;
  const V iou = divide(intersection, both);
  if constexpr (kind == BoxKind::iou) return iou;
  const V width = upper(a.x2, b.x2) - lower(a.x1, b.x1), height = upper(a.y2, b.y2) - lower(a.y1, b.y1);
  if constexpr (kind == BoxKind::giou) {
    // From the corners: a stored area is never 0, which would count beside the smallest enclosing boxes.
    const V enclosing = width * height, of_a = (a.x2 - a.x1) * (a.y2 - a.y1), of_b = (b.x2 - b.x1) * (b.y2 - b.y1);
    return iou - ratio<T>(positive(enclosing - ((of_a + of_b) - intersection)), enclosing);
  }
  const V dx = (a.x1 - b.x1) + (a.x2 - b.x2), dy = (a.y1 - b.y1) + (a.y2 - b.y2);
  const V diou = iou - ratio<T>(T(0.25) * (dx * dx + dy * dy), width * width + height * height);
  if constexpr (kind == BoxKind::diou) return diou;
  constexpr T kFourOverPiSquared = T(0.40528473456935108577551785283891L);
  const V turn = a.angle - b.angle, aspect = kFourOverPiSquared * (turn * turn);
  return diou - ratio<T>(aspect * aspect, (T(1) - iou) + aspect);
}

// out[j] for j < count, a vector of them from at(j).
template <class T, class V, class Out, class At>
inline void score_lanes(int count, Out* out, const At& at) {
  constexpr int kLanes = sizeof(V) / sizeof(T);
  static_assert(kBoxPadding % kLanes == 0);
  const auto store = [&](int j) {
    const V lanes = at(j);
    if constexpr (std::is_same_v<T, Out>) {
      std::memcpy(out + j, &lanes, sizeof(V));
    } else {
      out[j] = static_cast<Out>(lanes);
    }
  };
  if (count < kLanes) {
    const V lanes = at(0);
    std::memcpy(out, &lanes, static_cast<std::size_t>(count) * sizeof(T));
    return;
  }
  for (int j = 0; j + kLanes <= count; j += kLanes) store(j);
  store(count - kLanes);  // the last lanes, some of them once more
}

template <BoxKind kind, class T, class V, class Out>
void score_matrix(const BoxBlock<T>& a, int rows, const BoxBlock<T>& b, int columns, Out* out, std::int64_t stride) {
  for (int i = 0; i < rows; ++i, out += stride) {
    const Lanes<V> row = repeat_box<V>(a, i);
    score_lanes<T, V>(columns, out, [&](int j) { return score<kind, T>(row, load_boxes<V>(b, j)); });
  }
}

template <BoxKind kind, class T, class V, class Out>
void score_pairs(const BoxBlock<T>& a, const BoxBlock<T>& b, int count, Out* out) {
  score_lanes<T, V>(count, out, [&](int j) { return score<kind, T>(load_boxes<V>(a, j), load_boxes<V>(b, j)); });
}

template <class T, class V, class Out = T>
constexpr BoxFunctions<T, Out> box_functions() {
  return {{score_matrix<BoxKind::iou, T, V, Out>, score_matrix<BoxKind::giou, T, V, Out>,
           score_matrix<BoxKind::diou, T, V, Out>, score_matrix<BoxKind::ciou, T, V, Out>},
          {score_pairs<BoxKind::iou, T, V, Out>, score_pairs<BoxKind::giou, T, V, Out>,
           score_pairs<BoxKind::diou, T, V, Out>, score_pairs<BoxKind::ciou, T, V, Out>}};
}

}  // namespace

}  // namespace mixed_r1
