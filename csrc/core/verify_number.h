// Decimal numbers as answers write them.
#pragma once

#include <string>
#include <string_view>

#include "core/verify_reason.h"

namespace mixed_r1::verify {

struct Number {
  double value = 0.0;
  bool percent = false;
  bool year = false;    // an integer 1000 to 2999 of four digits, without sign, unit or separator
  std::u32string unit;  // its one name, or the words of an unknown one
};

// An unsigned decimal in ASCII without separators, and how much of the source it took.
struct Decimal {
  std::string digits;  // empty where there is none
  std::size_t length = 0;
};

// The decimal at the start of `text`: digits (with `separators` also 1,234,567), fraction, exponent.
Decimal read_decimal(std::u32string_view text, bool separators);

// The double nearest to a decimal in ASCII, infinity beyond the range of doubles. `digits` is well formed, unsigned.
double to_double(std::string_view digits);

// One or two words in small letters, that a gold may have for a unit, without a plural's s; else empty.
std::u32string unit_phrase(std::u32string_view text);

// The number that the whole normalised text is. Not ok: no_number, non_finite.
Reason read_number(std::u32string_view text, Number& number);

// nan, inf or infinity in any case, without a sign.
bool is_non_finite_word(std::u32string_view text);

}  // namespace mixed_r1::verify
