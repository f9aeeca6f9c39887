// Words and plain forms of answers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mixed_r1::verify {

struct Word {
  std::size_t begin;
  std::size_t end;
};

// Runs of letters, digits and marks; an apostrophe or hyphen between two of them is part of the word.
void find_words(std::u32string_view text, std::vector<Word>& words);

// Folded, single-spaced, without quotes, asterisks and backticks around it or full stops after it.
void plain(std::u32string_view text, std::u32string& out);

// 1 - edit distance / longer length; 0 where the lengths alone put it under one half.
double similarity(std::u32string_view left, std::u32string_view right);

}  // namespace mixed_r1::verify
