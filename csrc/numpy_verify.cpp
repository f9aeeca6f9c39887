// verify on Python strings: their UTF-8 is read in place, and the GIL is released while they are scored.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/verify.h"
#include "core/verify_unicode.h"
#include "numpy_gil.h"

namespace nb = nanobind;

namespace mixed_r1 {

namespace {

using verify::Gold;
using verify::Reason;
using verify::Row;

using Codes = nb::ndarray<const std::uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

std::vector<std::uint32_t> as_vector(const Codes& codes) { return {codes.data(), codes.data() + codes.size()}; }

void set_tables(const Codes& decomposition_keys, const Codes& decomposition_offsets, const Codes& decomposition_values,
                const Codes& fold_keys, const Codes& fold_offsets, const Codes& fold_values, const Codes& class_keys,
                const Codes& class_values, const Codes& letter_bounds, const Codes& currency) {
  verify::UnicodeTables tables;
  tables.decompositions = {as_vector(decomposition_keys), as_vector(decomposition_offsets),
                           as_vector(decomposition_values)};
  tables.case_folds = {as_vector(fold_keys), as_vector(fold_offsets), as_vector(fold_values)};
  tables.class_keys = as_vector(class_keys);
  tables.class_values = as_vector(class_values);
  tables.letter_bounds = as_vector(letter_bounds);
  tables.currency = as_vector(currency);
  verify::set_unicode_tables(std::move(tables));
}

std::vector<std::string> as_strings(const nb::list& texts) {
  std::vector<std::string> out;
  for (nb::handle text : texts) {
    const auto bytes = nb::cast<nb::bytes>(text);
    out.emplace_back(bytes.c_str(), bytes.size());
  }
  return out;
}

template <class T>
T setting(const nb::dict& settings, const char* name) {
  return nb::cast<T>(settings[name]);
}

// A choice by its place in CHOICES of verify/settings.py.
template <class T>
T choice(const nb::dict& settings, const char* name) {
  return static_cast<T>(setting<int>(settings, name));
}

// `settings` are the fields of VerifySettings by name.
verify::Settings read_settings(const nb::dict& settings) {
  verify::Settings s;
  s.format = choice<verify::Format>(settings, "format");
  s.think_tag = setting<std::string>(settings, "think_tag");
  s.answer_tag = setting<std::string>(settings, "answer_tag");
  s.graded = choice<bool>(settings, "chart_score");
  s.anls = choice<bool>(settings, "chart_text");
  s.chart_tolerance = setting<double>(settings, "chart_tolerance");
  s.max_bytes = setting<std::size_t>(settings, "max_bytes");
  s.max_answer_bytes = setting<std::size_t>(settings, "max_answer_bytes");
  s.max_items = setting<std::size_t>(settings, "max_items");
  s.max_boxes = setting<std::size_t>(settings, "max_boxes");
  s.max_depth = setting<std::size_t>(settings, "max_depth");
  s.prefilled = choice<bool>(settings, "think");
  s.box = choice<verify::Box>(settings, "box");
  s.list_order = choice<verify::ListOrder>(settings, "list_order");
  s.tolerant_years = choice<bool>(settings, "chart_years");
  s.point = choice<bool>(settings, "places");
  return s;
}

void make_gold(Gold* self, int task, const nb::list& answers, bool is_list, const nb::list& options,
               const nb::dict& settings) {
  verify::GoldSpec spec;
  spec.task = static_cast<verify::Task>(task);
  spec.answers = as_strings(answers);
  spec.is_list = is_list;
  spec.options = as_strings(options);
  spec.settings = read_settings(settings);
  new (self) Gold(spec);
}

std::int64_t count_code_points(std::string_view text) {
  constexpr std::uint64_t kOnes = 0x0101010101010101;
  const auto is_continuation = [](unsigned char byte) { return (byte & 0xC0u) == 0x80u; };
  std::size_t i = 0, continuations = 0;
  for (; i + 8 <= text.size(); i += 8) {  // eight bytes at once: one bit for each that continues a character
    std::uint64_t word;
    std::memcpy(&word, text.data() + i, 8);
    continuations += ((word >> 7 & ~word >> 6 & kOnes) * kOnes) >> 56;
  }
  for (; i < text.size(); ++i) continuations += is_continuation(static_cast<unsigned char>(text[i]));
  return static_cast<std::int64_t>(text.size() - continuations);
}

// One completion as the scorer takes it. `refused` where its text cannot or need not be read.
struct Input {
  std::string_view text;
  const Gold* gold = nullptr;
  Reason refused = Reason::ok;
  std::int64_t length = 0;  // code points

  std::int64_t code_points_before(std::size_t at) const;
};

std::int64_t Input::code_points_before(std::size_t at) const {
  if (static_cast<std::size_t>(length) == text.size()) return static_cast<std::int64_t>(at);  // ASCII
  if (at <= text.size() / 2) return count_code_points(text.substr(0, at));
  return length - count_code_points(text.substr(at));  // an answer is near the end
}

Input read_input(PyObject* completion, Py_ssize_t i, const Gold& gold) {
  if (!PyUnicode_Check(completion)) {
    const std::string name = nb::str(nb::handle(completion).type().attr("__name__")).c_str();
    throw nb::type_error(("completions[" + std::to_string(i) + "] must be a str, got " + name).c_str());
  }
  Input input;
  input.gold = &gold;
  if (static_cast<std::size_t>(PyUnicode_GET_LENGTH(completion)) > gold.settings.max_bytes) {
    input.refused = Reason::too_long;
    return input;
  }
  Py_ssize_t size = 0;
  const char* data = PyUnicode_AsUTF8AndSize(completion, &size);
  if (data == nullptr) {  // a lone surrogate
    PyErr_Clear();
    input.refused = Reason::bad_utf8;
    return input;
  }
  input.text = {data, static_cast<std::size_t>(size)};
  input.length = PyUnicode_GET_LENGTH(completion);
  return input;
}

// Completions of a batch lie anywhere in memory; waiting for the first bytes of each would take longer than reading it.
constexpr std::size_t kAhead = 16;

void prefetch(std::string_view text) {
  constexpr std::size_t kLine = 64, kMost = 1024;
  for (std::size_t i = 0; i < std::min(text.size(), kMost); i += kLine) __builtin_prefetch(text.data() + i);
}

template <class T, std::size_t Dim>
using Out = nb::ndarray<T, nb::ndim<Dim>, nb::c_contig, nb::device::cpu>;

struct Outputs {
  double* format_value;
  std::uint8_t* format_reason;
  double* task_value;
  std::uint8_t* task_reason;
  std::int64_t* spans;
  std::int64_t* box_counts;

  void write(std::size_t i, const Input& input, const Row& row) const {
    format_value[i] = row.format_value;
    format_reason[i] = static_cast<std::uint8_t>(row.format_reason);
    task_value[i] = row.task_value;
    task_reason[i] = static_cast<std::uint8_t>(row.task_reason);
    spans[2 * i] = input.code_points_before(row.begin);
    spans[2 * i + 1] = input.code_points_before(row.end);
    box_counts[i] = static_cast<std::int64_t>(row.num_boxes);
  }
};

// The boxes of all rows, [M, 4]; everything else goes to the arrays given, which are of the right length.
nb::object run_verify(const nb::object& completions, const nb::list& golds,
                      const nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>& gold_of,
                      const Out<double, 1>& format_value, const Out<std::uint8_t, 1>& format_reason,
                      const Out<double, 1>& task_value, const Out<std::uint8_t, 1>& task_reason,
                      const Out<std::int64_t, 2>& spans, const Out<std::int64_t, 1>& box_counts) {
  // The tuple keeps every string alive while other threads may change the caller's list.
  const auto texts = nb::steal<nb::tuple>(PySequence_Tuple(completions.ptr()));
  if (!texts.is_valid()) throw nb::python_error();
  const std::size_t N = nb::len(texts);
  for (const std::size_t size : {gold_of.size(), format_value.size(), format_reason.size(), task_value.size(),
                                 task_reason.size(), spans.shape(0), box_counts.size()}) {
    if (size != N) throw std::invalid_argument("arrays must have one row per completion");
  }
  if (N > 0 && spans.shape(1) != 2) throw std::invalid_argument("spans must have two columns");
  std::vector<const Gold*> compiled;
  for (nb::handle gold : golds) compiled.push_back(nb::cast<const Gold*>(gold));
  std::vector<Input> inputs;
  inputs.reserve(N);
  for (std::size_t i = 0; i < N; ++i) {
    const std::int64_t which = gold_of.data()[i];
    if (which < 0 || which >= static_cast<std::int64_t>(compiled.size())) {
      throw std::invalid_argument("gold_of must index golds");
    }
    PyObject* text = PyTuple_GET_ITEM(texts.ptr(), static_cast<Py_ssize_t>(i));
    if (i + kAhead < N) __builtin_prefetch(PyTuple_GET_ITEM(texts.ptr(), static_cast<Py_ssize_t>(i + kAhead)));
    inputs.push_back(read_input(text, static_cast<Py_ssize_t>(i), *compiled[static_cast<std::size_t>(which)]));
  }
  const Outputs out{format_value.data(), format_reason.data(), task_value.data(),
                    task_reason.data(),  spans.data(),         box_counts.data()};
  auto* const boxes = new std::vector<double>();
  const nb::capsule owner(boxes, [](void* p) noexcept { delete static_cast<std::vector<double>*>(p); });
  {
    const GilReleased released;
    for (std::size_t i = 0; i < N; ++i) {
      const Input& input = inputs[i];
      if (i + 2 < N) prefetch(inputs[i + 2].text);
      const Row row = input.refused != Reason::ok ? verify::unreadable(*input.gold, input.refused)
                                                  : verify::score(input.text, *input.gold, true, *boxes);
      out.write(i, input, row);
    }
  }
  const std::size_t shape[2] = {boxes->size() / 4, 4};
  return nb::cast(nb::ndarray<nb::numpy, double, nb::ndim<2>>(boxes->data(), 2, shape, owner));
}

// The addresses of the objects of a list or tuple, as id() gives them.
nb::object object_ids(const nb::object& objects) {
  const auto items = nb::steal<nb::object>(PySequence_Fast(objects.ptr(), "objects must be a sequence"));
  if (!items.is_valid()) throw nb::python_error();
  const std::size_t N = static_cast<std::size_t>(PySequence_Fast_GET_SIZE(items.ptr()));
  auto* const ids = new std::vector<std::int64_t>(N);
  const nb::capsule owner(ids, [](void* p) noexcept { delete static_cast<std::vector<std::int64_t>*>(p); });
  PyObject** const found = PySequence_Fast_ITEMS(items.ptr());
  for (std::size_t i = 0; i < N; ++i) (*ids)[i] = static_cast<std::int64_t>(reinterpret_cast<std::intptr_t>(found[i]));
  return nb::cast(nb::ndarray<nb::numpy, std::int64_t, nb::ndim<1>>(ids->data(), {N}, owner));
}

}  // namespace

void bind_verify(nb::module_& m) {
  m.def("object_ids", &object_ids, nb::arg("objects"), "id() of each object of a sequence, [N] int64.");
  nb::set_leak_warnings(false);  // golds may live in a caller's module until the interpreter is gone
  nb::class_<Gold>(m, "VerifyGold", "A gold read once, for verify.")
      .def("__init__", &make_gold, nb::arg("task"), nb::arg("answers"), nb::arg("is_list"), nb::arg("options"),
           nb::arg("settings"))
      .def("add_alternative",
           [](Gold& gold, const Gold& other) {
             gold.valid = gold.valid && other.valid;
             gold.others.push_back(other);
           })
      .def_ro("valid", &Gold::valid);
  m.def("set_unicode_tables", &set_tables, "Character data of verify, from Python's unicodedata.");
  m.def("verify", &run_verify);
}

}  // namespace mixed_r1
