// mixed_r1_kernels._torch_ops: torch.ops.mixed_r1.*, for torch.compile and for callers that stay in torch.
//
// Each op registers itself when the module is loaded: csrc/torch_<op>.cpp holds its schema and its CPU kernel,
// torch_<op>_cuda.cpp its CUDA launcher, torch_<op>.h the checks that both make, and
// mixed_r1_kernels/<op>/torch_fake.py its shapes without values. The module itself is empty, but Python can import it.
#include <Python.h>

PyMODINIT_FUNC PyInit__torch_ops() {
  static PyModuleDef definition = {
      PyModuleDef_HEAD_INIT, "_torch_ops", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr};
  PyObject* const module = PyModule_Create(&definition);
#ifdef MIXED_R1_WITH_CUDA
  constexpr int kHasCuda = 1;
#else
  constexpr int kHasCuda = 0;
#endif
  if (module != nullptr && PyModule_AddObjectRef(module, "has_cuda", kHasCuda ? Py_True : Py_False) < 0) {
    Py_DECREF(module);
    return nullptr;
  }
  return module;
}
