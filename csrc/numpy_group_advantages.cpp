#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <memory>
#include <optional>

#include "core/group_advantages.h"
#include "numpy_gil.h"

namespace nb = nanobind;

namespace mixed_r1 {

namespace {

template <class T, int dimensions>
using Array = nb::ndarray<const T, nb::ndim<dimensions>, nb::c_contig, nb::device::cpu>;

// The caller has checked shapes, and that the sizes add up to the number of rows.
nb::object run_group_advantages(const Array<double, 2>& rewards, const Array<std::int64_t, 1>& sizes,
                                const Array<double, 1>& weights, const std::optional<Array<bool, 1>>& mask, int method,
                                double eps, const std::optional<Array<double, 1>>& scales) {
  const std::size_t N = rewards.shape(0);
  auto advantages = std::make_unique<double[]>(N);
  {
    const GilReleased released;
    group_advantages({rewards.data(),
                      static_cast<std::int64_t>(N),
                      static_cast<std::int64_t>(rewards.shape(1)),
                      {sizes.data(), sizes.shape(0)},
                      weights.data(),
                      mask ? mask->data() : nullptr,
                      scales ? scales->data() : nullptr},
                     static_cast<AdvantageMethod>(method), eps, advantages.get());
  }
  double* const data = advantages.release();
  const nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<double*>(p); });
  return nb::cast(nb::ndarray<nb::numpy, double, nb::ndim<1>>(data, {N}, owner));
}

}  // namespace

void bind_group_advantages(nb::module_& m) {
  m.def("group_advantages", &run_group_advantages, nb::arg("rewards"), nb::arg("sizes"), nb::arg("weights"),
        nb::arg("mask").none(), nb::arg("method"), nb::arg("eps"), nb::arg("scales").none());
}

}  // namespace mixed_r1
