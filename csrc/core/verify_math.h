// Math answers: arithmetic, simple LaTeX and polynomials, read to exact values. The grammar is in reference_math.py.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/verify_algebra.h"
#include "core/verify_reason.h"

namespace mixed_r1::verify {

struct Settings;

// A number or a polynomial, or one end of an interval at infinity.
struct MathItem {
  int infinity = 0;  // -1, 0, 1
  Real real;

  bool operator==(const MathItem& other) const = default;
};

// How a part is bracketed: one number (no brackets), a set, a tuple or interval by its brackets, a ratio, a sequence.
struct MathPart {
  char opener = '\0';
  char closer = '\0';
  std::vector<MathItem> items;

  bool is_single() const { return opener == '\0'; }
  bool operator==(const MathPart& other) const;
};

struct MathValue {
  std::vector<MathPart> parts;  // joined by union, in any order
  bool is_value = true;         // nothing is left to be worked out
  std::u32string unit;
  bool percent = false;  // one number with a percent sign

  const Real* number() const;  // the one number that this is, or null
};

// The readings of a gold, two where a letter may be a unit; or, without any, the text that it is.
struct MathGold {
  std::vector<MathValue> values;
  std::u32string text;
};

// The readings of a normalised text. Not ok: no_number, too_many_items, too_deep, ambiguous (an equation whose sides
// differ).
Reason read_math(std::u32string_view text, const Settings& settings, std::vector<MathValue>& values, bool gold = false);

// Whether one of the readings of an answer is one of those of a gold.
bool agree(const std::vector<MathValue>& values, const std::vector<MathValue>& golds);

}  // namespace mixed_r1::verify
