// Words and plain forms of answers.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace mixed_r1::verify {

struct Word {
  std::size_t begin;
  std::size_t end;
};

// Of a script that puts no spaces between words: Chinese, Japanese, Korean, Thai.
bool is_wide_script(char32_t c);

// Runs of letters, digits and marks of one kind of script; an apostrophe or hyphen between two is part of the word.
void find_words(std::u32string_view text, std::vector<Word>& words);

// Folded, single-spaced, without quotes, asterisks and backticks around it or full stops after it.
void plain(std::u32string_view text, std::u32string& out);

// Longer texts are not compared by similarity: its work grows with the product of the lengths.
inline constexpr std::size_t kMaxSimilar = 256;

// 1 - edit distance / longer length; 0 where the lengths alone put it under one half, or one is above kMaxSimilar.
double similarity(std::u32string_view left, std::u32string_view right);

}  // namespace mixed_r1::verify
