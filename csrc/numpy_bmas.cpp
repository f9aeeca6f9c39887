// NumPy binding of BMAS and of the embedding table's norms. Arguments are checked in Python; what memory safety needs
// is checked again here.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "core/bmas.h"
#include "core/embedding_rows.h"
#include "numpy_gil.h"

namespace nb = nanobind;

namespace mixed_r1 {

namespace {

using Rows = nb::ndarray<nb::ro, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <class T>
using Vector = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Array = nb::ndarray<nb::numpy, T, nb::ndim<1>>;

template <class T>
Array<T> moved_to_numpy(std::vector<T>&& values) {
  auto* moved = new std::vector<T>(std::move(values));
  nb::capsule owner(moved, [](void* memory) noexcept { delete static_cast<std::vector<T>*>(memory); });
  return Array<T>(moved->data(), {moved->size()}, owner);
}

Array<double> new_vector(std::size_t size) {
  auto* values = new double[size];
  nb::capsule owner(values, [](void* memory) noexcept { delete[] static_cast<double*>(memory); });
  return Array<double>(values, {size}, owner);
}

EmbeddingRows rows_of(const Rows& array, const std::string& dtype) {
  EmbeddingRows rows;
  rows.data = array.data();
  rows.num_rows = static_cast<std::int64_t>(array.shape(0));
  rows.dim = static_cast<std::int64_t>(array.shape(1));
  const bool is_float32 = array.dtype() == nb::dtype<float>();
  const bool is_bits = array.dtype() == nb::dtype<std::uint16_t>();
  if (dtype == "float32" && is_float32) {
    rows.type = RowType::float32;
  } else if (dtype == "float16" && is_bits) {
    rows.type = RowType::float16;
  } else if (dtype == "bfloat16" && is_bits) {
    rows.type = RowType::bfloat16;
  } else {
    throw nb::type_error("rows must be float32, or uint16 bits of float16 or bfloat16");
  }
  return rows;
}

TokenSequences sequences_of(const Vector<std::int32_t>& ids, const Vector<std::int64_t>& offsets,
                            std::int64_t num_ids) {
  const std::int64_t* begin = offsets.data();
  const auto count = static_cast<std::int64_t>(offsets.shape(0)) - 1;
  const auto num_tokens = static_cast<std::int64_t>(ids.shape(0));
  bool valid = count >= 0 && begin[0] == 0 && begin[count] == num_tokens;
  for (std::int64_t i = 0; valid && i < count; ++i) valid = begin[i] <= begin[i + 1];
  if (!valid) throw nb::value_error("offsets must start at 0, not decrease, and end at the number of ids");
  bool inside = true;
  for (std::int64_t t = 0; t < num_tokens; ++t) inside &= ids.data()[t] >= 0 && ids.data()[t] < num_ids;
  if (!inside) throw nb::value_error("ids must be in [0, V)");
  return {ids.data(), begin, count};
}

Array<double> row_norms_array(const Rows& array, const std::string& dtype, int num_threads) {
  const EmbeddingRows rows = rows_of(array, dtype);
  Array<double> norms = new_vector(array.shape(0));
  {
    const GilReleased released;
    row_norms(rows, num_threads, norms.data());
  }
  return norms;
}

std::tuple<Array<double>, Array<double>> bmas_arrays(const Rows& array, const std::string& dtype,
                                                     const Vector<float>& inverse_norms,
                                                     const Vector<std::int32_t>& completion_ids,
                                                     const Vector<std::int64_t>& completion_offsets,
                                                     const Vector<std::int32_t>& reference_ids,
                                                     const Vector<std::int64_t>& reference_offsets,
                                                     const Vector<std::int64_t>& reference_of, int num_threads) {
  const EmbeddingRows rows = rows_of(array, dtype);
  const TokenSequences completions = sequences_of(completion_ids, completion_offsets, rows.num_rows);
  const TokenSequences references = sequences_of(reference_ids, reference_offsets, rows.num_rows);
  bool valid = num_threads >= 1 && static_cast<std::int64_t>(inverse_norms.shape(0)) == rows.num_rows &&
               static_cast<std::int64_t>(reference_of.shape(0)) == completions.count;
  for (std::int64_t i = 0; valid && i < completions.count; ++i) {
    valid = reference_of.data()[i] >= 0 && reference_of.data()[i] < references.count;
  }
  if (!valid) throw nb::value_error("inverse_norms, reference_of and num_threads must fit the table and the sequences");
  Array<double> precision = new_vector(static_cast<std::size_t>(completions.count));
  Array<double> recall = new_vector(static_cast<std::size_t>(completions.count));
  {
    const GilReleased released;
    bmas(rows, inverse_norms.data(), completions, references, reference_of.data(), num_threads, precision.data(),
         recall.data());
  }
  return {precision, recall};
}

// Lists or tuples of plain ints as (ids int32 [T], offsets int64 [N + 1]); None where anything else is among them or an
// int does not fit: those are for Python to convert or to refuse.
std::optional<std::tuple<Array<std::int32_t>, Array<std::int64_t>>> flatten_lists(const nb::sequence& sequences) {
  std::vector<std::int32_t> ids;
  std::vector<std::int64_t> offsets = {0};
  for (const nb::handle sequence : sequences) {
    const bool is_list = PyList_CheckExact(sequence.ptr());
    if (!is_list && !PyTuple_CheckExact(sequence.ptr())) return std::nullopt;
    const Py_ssize_t size = is_list ? PyList_GET_SIZE(sequence.ptr()) : PyTuple_GET_SIZE(sequence.ptr());
    for (Py_ssize_t i = 0; i < size; ++i) {
      PyObject* item = is_list ? PyList_GET_ITEM(sequence.ptr(), i) : PyTuple_GET_ITEM(sequence.ptr(), i);
      if (!PyLong_CheckExact(item)) return std::nullopt;
      int overflow = 0;
      const long long value = PyLong_AsLongLongAndOverflow(item, &overflow);
      if (overflow != 0 || value < INT32_MIN || value > INT32_MAX) return std::nullopt;
      ids.push_back(static_cast<std::int32_t>(value));
    }
    offsets.push_back(static_cast<std::int64_t>(ids.size()));
  }
  return std::make_tuple(moved_to_numpy(std::move(ids)), moved_to_numpy(std::move(offsets)));
}

}  // namespace

void bind_bmas(nb::module_& m) {
  // noconvert: a table of another type or layout is an error here, never a silent copy.
  m.def("row_norms", row_norms_array, nb::arg("rows").noconvert(), nb::arg("dtype"), nb::arg("num_threads"));
  m.def("flatten_lists", flatten_lists, nb::arg("sequences"));
  m.def("bmas", bmas_arrays, nb::arg("rows").noconvert(), nb::arg("dtype"), nb::arg("inverse_norms").noconvert(),
        nb::arg("completion_ids").noconvert(), nb::arg("completion_offsets").noconvert(),
        nb::arg("reference_ids").noconvert(), nb::arg("reference_offsets").noconvert(),
        nb::arg("reference_of").noconvert(), nb::arg("num_threads"));
}

}  // namespace mixed_r1
