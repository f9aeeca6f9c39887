// Golds of multiple choice.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/verify_math.h"
#include "core/verify_words.h"

namespace mixed_r1::verify {

struct ChoiceGold {
  std::uint32_t letters = 0;                   // a bit for each option that must be chosen
  std::vector<std::u32string> options;         // in the form of plain()
  std::vector<std::u32string> inner;           // as they are looked for inside a sentence
  std::vector<std::vector<MathValue>> values;  // the readings of each as math, none where it has no value
  bool has_values = false;
  int yes = -1, no = -1;  // the options that say so, where there is one of each

  // A bit for each option whose text this is, in the form of plain(); where there is none, without articles.
  std::uint32_t named(std::u32string_view text) const;

  // A bit for each option whose value the normalised text has.
  std::uint32_t valued(std::u32string_view text) const;
};

bool compile_choice(const std::vector<std::string>& answers, const std::vector<std::string>& options, ChoiceGold& out);

}  // namespace mixed_r1::verify
