// mixed_r1_kernels._torch_ops: torch.ops.mixed_r1.*, for torch.compile and for callers that stay in torch.
//
// Each op registers itself when the module is loaded: csrc/torch_<op>.cpp holds its schema and its CPU kernel,
// torch_<op>_cuda.cpp its CUDA launcher, torch_<op>.h the checks that both make, and
// mixed_r1_kernels/<op>/torch_fake.py its shapes without values.
#include <torch/csrc/utils/pybind.h>

PYBIND11_MODULE(_torch_ops, m) {
#ifdef MIXED_R1_WITH_CUDA
  m.attr("has_cuda") = true;
#else
  m.attr("has_cuda") = false;
#endif
}
