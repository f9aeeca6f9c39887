#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <memory>

#include "core/match_boxes.h"
#include "numpy_gil.h"

namespace nb = nanobind;

namespace mixed_r1 {

namespace {

using Boxes = nb::ndarray<const double, nb::shape<-1, 4>, nb::c_contig, nb::device::cpu>;
using Counts = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

BoxView<double> view(const Boxes& boxes) {
  return {reinterpret_cast<const char*>(boxes.data()), static_cast<std::int64_t>(boxes.shape(0))};
}

std::span<const std::int64_t> span(const Counts& counts) { return {counts.data(), counts.shape(0)}; }

// A NumPy array that owns `values`.
template <class T>
nb::object array(std::unique_ptr<T[]> values, std::size_t size) {
  T* const data = values.release();
  nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
  return nb::cast(nb::ndarray<nb::numpy, T, nb::ndim<1>>(data, {size}, owner));
}

// (pred_index, target_index, iou, total); the caller has checked that the counts sum to the numbers of boxes.
nb::tuple run_match_boxes(const Boxes& pred, const Boxes& target, const Counts& pred_counts,
                          const Counts& target_counts) {
  const std::size_t num_sets = pred_counts.shape(0);
  auto total = std::make_unique<double[]>(num_sets);
  std::vector<BoxMatch> matches;
  {
    const GilReleased released;
    matches = match_boxes(view(pred), view(target), span(pred_counts), span(target_counts), total.get());
  }
  const std::size_t count = matches.size();
  auto pred_index = std::make_unique<std::int64_t[]>(count), target_index = std::make_unique<std::int64_t[]>(count);
  auto iou = std::make_unique<double[]>(count);
  for (std::size_t k = 0; k < count; ++k) {
    pred_index[k] = matches[k].pred;
    target_index[k] = matches[k].target;
    iou[k] = matches[k].iou;
  }
  return nb::make_tuple(array(std::move(pred_index), count), array(std::move(target_index), count),
                        array(std::move(iou), count), array(std::move(total), num_sets));
}

}  // namespace

void bind_match_boxes(nb::module_& m) {
  m.def("match_boxes", &run_match_boxes, nb::arg("pred"), nb::arg("target"), nb::arg("pred_counts"),
        nb::arg("target_counts"));
}

}  // namespace mixed_r1
