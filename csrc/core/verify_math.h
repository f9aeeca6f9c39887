// Math answers: arithmetic and simple LaTeX, read to exact values. The grammar is in reference_math.py.
#pragma once

#include <string_view>
#include <vector>

#include "core/verify_algebra.h"
#include "core/verify_reason.h"

namespace mixed_r1::verify {

struct Verdict;

// A number, or one end of an interval at infinity.
struct MathItem {
  int infinity = 0;  // -1, 0, 1
  Real real;

  bool operator==(const MathItem& other) const = default;
};

// One number (closer 0), a set (closer '}'), or a tuple or interval with its brackets.
struct MathPart {
  char opener = '\0';
  char closer = '\0';
  std::vector<MathItem> items;

  bool operator==(const MathPart& other) const;
};

struct MathValue {
  std::vector<MathPart> parts;  // joined by union, in any order
  bool is_value = true;         // nothing is left to be worked out
};

// Not ok: no_number, too_many_items, too_deep, ambiguous (an equation whose sides differ).
Reason read_math(std::u32string_view text, MathValue& value);

Verdict score_math(std::string_view answer, const MathValue& gold);

}  // namespace mixed_r1::verify
