// mixed_r1_kernels._native: the nanobind module. Each op binds itself in csrc/numpy_<op>.cpp (bind_<op>); this file
// only lists them.
#include <nanobind/nanobind.h>

#include "core/dispatch.h"

namespace mixed_r1 {
void bind_bmas(nanobind::module_& m);
void bind_bmas_plan(nanobind::module_& m);
void bind_box_iou(nanobind::module_& m);
void bind_group_advantages(nanobind::module_& m);
void bind_match_boxes(nanobind::module_& m);
void bind_verify(nanobind::module_& m);
}  // namespace mixed_r1

NB_MODULE(_native, m) {
  mixed_r1::bind_bmas(m);
  mixed_r1::bind_bmas_plan(m);
  mixed_r1::bind_box_iou(m);
  mixed_r1::bind_group_advantages(m);
  mixed_r1::bind_match_boxes(m);
  mixed_r1::bind_verify(m);
  m.def("isa", [] { return mixed_r1::isa_name(mixed_r1::active_isa()); }, "The instruction set in use.");
  m.def("detected_isa", [] { return mixed_r1::isa_name(mixed_r1::detected_isa()); }, "The best one this machine has.");
}
