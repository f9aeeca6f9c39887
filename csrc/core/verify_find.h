// Where the answer of a completion is, and whether the completion keeps the format.
#pragma once

#include <cstddef>
#include <string_view>

#include "core/verify.h"

namespace mixed_r1::verify {

// Where the answer is (task ok), and whether the completion keeps the format.
struct Found {
  Reason task = Reason::ok;
  Reason format = Reason::ok;
  std::size_t begin = 0, end = 0;
};

// Without white space and tokens that end the turn, at the end.
std::string_view without_turn_end(std::string_view text);

Found find_answer(std::string_view text, const Gold& gold);

}  // namespace mixed_r1::verify
