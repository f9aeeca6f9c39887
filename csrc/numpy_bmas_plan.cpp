// NumPy binding of the plan that the GPU kernels of BMAS run from. Python has checked ids, offsets and reference_of.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <memory>
#include <utility>
#include <vector>

#include "core/bmas_device_plan.h"
#include "numpy_gil.h"

namespace nb = nanobind;

namespace mixed_r1 {

namespace {

template <class T>
using Vector = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

nb::object as_array(BmasDevicePlan::Array&& values) {
  auto owned = std::make_unique<BmasDevicePlan::Array>(std::move(values));
  auto* const array = owned.release();
  const nb::capsule owner(array, [](void* p) noexcept { delete static_cast<BmasDevicePlan::Array*>(p); });
  return nb::cast(nb::ndarray<nb::numpy, std::int32_t, nb::ndim<1>>(array->data(), {array->size()}, owner));
}

TokenSequences sequences_of(const Vector<std::int32_t>& ids, const Vector<std::int64_t>& offsets) {
  return {ids.data(), offsets.data(), static_cast<std::int64_t>(offsets.shape(0)) - 1};
}

// The arrays in the order of BmasDevicePlan.
nb::tuple bmas_plan(std::int64_t num_ids, const Vector<std::int32_t>& completion_ids,
                    const Vector<std::int64_t>& completion_offsets, const Vector<std::int32_t>& reference_ids,
                    const Vector<std::int64_t>& reference_offsets, const Vector<std::int64_t>& reference_of,
                    int row_block, int num_threads) {
  BmasDevicePlan plan;
  {
    const GilReleased released;
    plan = plan_for_device(num_ids, sequences_of(completion_ids, completion_offsets),
                           sequences_of(reference_ids, reference_offsets), reference_of.data(), row_block, num_threads);
  }
  return nb::make_tuple(as_array(std::move(plan.row_begin)), as_array(std::move(plan.row_ids)),
                        as_array(std::move(plan.column_begin)), as_array(std::move(plan.column_ids)),
                        as_array(std::move(plan.column_counts)), as_array(std::move(plan.tile_group)),
                        as_array(std::move(plan.tile_row)), as_array(std::move(plan.completion_group)),
                        as_array(std::move(plan.completion_index)), as_array(std::move(plan.distinct_begin)),
                        as_array(std::move(plan.distinct_rows)), as_array(std::move(plan.distinct_counts)));
}

}  // namespace

void bind_bmas_plan(nb::module_& m) {
  m.def("bmas_plan", bmas_plan, nb::arg("num_ids"), nb::arg("completion_ids").noconvert(),
        nb::arg("completion_offsets").noconvert(), nb::arg("reference_ids").noconvert(),
        nb::arg("reference_offsets").noconvert(), nb::arg("reference_of").noconvert(), nb::arg("row_block"),
        nb::arg("num_threads"));
}

}  // namespace mixed_r1
