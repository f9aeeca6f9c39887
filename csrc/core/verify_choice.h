// Golds of multiple choice.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/verify_words.h"

namespace mixed_r1::verify {

struct ChoiceGold {
  std::uint32_t letters = 0;            // a bit for each option that must be chosen
  std::vector<std::u32string> options;  // in the form of plain()
  std::vector<std::u32string> inner;    // as they are looked for inside a sentence
};

bool compile_choice(const std::vector<std::string>& answers, const std::vector<std::string>& options, ChoiceGold& out);

}  // namespace mixed_r1::verify
