// mixed_r1_kernels/reason.py, with the same numbers.
#pragma once

#include <cstdint>

namespace mixed_r1::verify {

enum class Reason : std::uint8_t {
  ok = 0,
  empty,
  too_long,
  bad_utf8,
  no_answer_tag,
  duplicate_tag,
  tag_order,
  text_outside_tags,
  ambiguous,
  no_match,
  no_number,
  non_finite,
  out_of_tolerance,
  no_box,
  bad_box,
  too_many_items,
  too_deep,
  degenerate,
  not_applicable,
  bad_gold,
  internal_error,
  unevaluated,
};

}  // namespace mixed_r1::verify
