// box_iou on NumPy arrays. Small calls are all overhead, so this reads the buffers itself: an array argument
// of nanobind costs more than the arithmetic of a hundred boxes.
#include <nanobind/nanobind.h>

#include <cstdlib>
#include <stdexcept>
#include <string_view>

#include "core/box_iou.h"
#include "numpy_gil.h"

namespace nb = nanobind;

namespace mixed_r1 {

namespace {

// The memory of an ndarray, held while this lives. Not held where the array lends none, such as one of dates.
struct Buffer : Py_buffer {
  Buffer(nb::handle array, int flags) : held(PyObject_GetBuffer(array.ptr(), this, flags) == 0) {
    if (!held) PyErr_Clear();
  }
  ~Buffer() {
    if (held) PyBuffer_Release(this);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  const bool held;
};

struct Boxes : Buffer {
  explicit Boxes(nb::handle array) : Buffer(array, PyBUF_RECORDS_RO) {}

  // 'f' or 'd', or 0 where this is no [N, 4] array of native float32 or float64.
  char type() const {
    if (!held) return '\0';
    const std::string_view name = format == nullptr ? "B" : format;
    return ndim == 2 && shape[1] == 4 && (name == "f" || name == "d") ? name[0] : '\0';
  }

  template <class T>
  BoxView<T> view() const {
    return {static_cast<const char*>(buf), shape[0], strides[0], strides[1]};
  }
};

// The kind of that name, or kNumBoxKinds.
int find_kind(nb::handle name) {
  constexpr std::string_view kNames[kNumBoxKinds] = {"iou", "giou", "diou", "ciou"};
  Py_ssize_t size = 0;
  const char* text = PyUnicode_Check(name.ptr()) ? PyUnicode_AsUTF8AndSize(name.ptr(), &size) : nullptr;
  if (text == nullptr) PyErr_Clear();
  int kind = 0;
  while (kind < kNumBoxKinds && std::string_view(text, static_cast<std::size_t>(size)) != kNames[kind]) ++kind;
  return kind;
}

template <class T>
void compute(const Boxes& boxes1, const Boxes& boxes2, BoxKind kind, bool paired, nb::handle result) {
  const Buffer out(result, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE);
  if (!out.held) throw std::logic_error("numpy.empty must lend its memory");
  const auto run = [&] {
    auto* const scores = static_cast<T*>(out.buf);
    if (paired) {
      paired_box_iou<T>(boxes1.view<T>(), boxes2.view<T>(), kind, scores);
    } else {
      box_iou<T>(boxes1.view<T>(), boxes2.view<T>(), kind, scores);
    }
  };
  constexpr Py_ssize_t kWorthReleasing = 1 << 12;
  if (out.len < kWorthReleasing) return run();
  const GilReleased released;
  run();
}

// None where the arrays are not both [N, 4] of one float type, the kind is unknown, or (automatic) MIXED_R1_IMPL
// chooses: the caller then takes the long way, which converts or explains. getenv costs 20 ns, os.environ 700.
nb::object run_box_iou(nb::handle array1, nb::handle array2, nb::handle kind_name, bool paired, bool automatic) {
  static const nb::object& empty = *new nb::object(nb::module_::import_("numpy").attr("empty"));
  static const nb::object& single = *new nb::object(nb::module_::import_("numpy").attr("dtype")("float32"));
  static const nb::object& wide = *new nb::object(nb::module_::import_("numpy").attr("dtype")("float64"));
  if (automatic) {
    const char* chosen = std::getenv("MIXED_R1_IMPL");
    if (chosen != nullptr && *chosen != '\0') return nb::none();
  }
  const int kind_index = find_kind(kind_name);
  if (kind_index == kNumBoxKinds || !PyObject_CheckBuffer(array1.ptr()) || !PyObject_CheckBuffer(array2.ptr())) {
    return nb::none();
  }
  const auto kind = static_cast<BoxKind>(kind_index);
  const Boxes boxes1(array1), boxes2(array2);
  if (boxes1.type() == 0 || boxes1.type() != boxes2.type()) return nb::none();
  const Py_ssize_t rows = boxes1.shape[0], columns = boxes2.shape[0];
  if (paired && rows != columns) return nb::none();
  const bool is_single = boxes1.type() == 'f';
  const nb::object shape = paired ? nb::object(nb::int_(rows)) : nb::object(nb::make_tuple(rows, columns));
  const nb::object result = empty(shape, is_single ? single : wide);
  if (is_single) {
    compute<float>(boxes1, boxes2, kind, paired, result);
  } else {
    compute<double>(boxes1, boxes2, kind, paired, result);
  }
  return result;
}

}  // namespace

void bind_box_iou(nb::module_& m) {
  m.def("box_iou", &run_box_iou, nb::arg("boxes1").none(), nb::arg("boxes2").none(), nb::arg("kind").none(),
        nb::arg("paired"), nb::arg("automatic"));
}

}  // namespace mixed_r1
