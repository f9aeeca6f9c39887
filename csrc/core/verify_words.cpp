#include "core/verify_words.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "core/verify.h"
#include "core/verify_unicode.h"

namespace mixed_r1::verify {

namespace {

bool is_inner(char32_t c) { return c == U'\'' || c == U'-' || c == 0x2019 || c == 0x2010 || c == 0x2011; }

bool is_quote(char32_t c) {
  return c == U'"' || c == U'\'' || c == U'`' || c == U'*' || c == U'_' || c == 0x2018 || c == 0x2019 || c == 0x201C ||
         c == 0x201D;
}

}  // namespace

void find_words(std::u32string_view text, std::vector<Word>& words) {
  words.clear();
  std::size_t i = 0;
  while (i < text.size()) {
    if (!is_letter(text[i])) {
      ++i;
      continue;
    }
    std::size_t end = i + 1;
    while (end < text.size()) {
      if (is_letter(text[end])) {
        ++end;
      } else if (is_inner(text[end]) && end + 1 < text.size() && is_letter(text[end + 1])) {
        end += 2;
      } else {
        break;
      }
    }
    words.push_back({i, end});
    i = end;
  }
}

void plain(std::u32string_view text, std::u32string& out) {
  thread_local std::u32string folded;
  fold(text, folded);
  out.clear();
  bool gap = false;
  for (const char32_t c : folded) {
    if (is_space(c)) {
      gap = true;
    } else if (!out.empty() || !is_quote(c)) {
      if (gap && !out.empty()) out.push_back(U' ');
      gap = false;
      out.push_back(c);
    }
  }
  while (!out.empty() && (is_quote(out.back()) || out.back() == U' ' || out.back() == U'.')) out.pop_back();
}

double similarity(std::u32string_view left, std::u32string_view right) {
  const std::size_t longer = std::max(left.size(), right.size());
  if (longer == 0) return 1.0;
  if (longer > kMaxSimilar || 2 * std::min(left.size(), right.size()) < longer) return 0.0;
  std::array<std::size_t, kMaxSimilar + 1> row;
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < left.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < right.size(); ++j) {
      const std::size_t replaced = diagonal + (left[i] == right[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({row[j + 1] + 1, row[j] + 1, replaced});
    }
  }
  return static_cast<double>(longer - row[right.size()]) / static_cast<double>(longer);
}

// Exactly one side must be said; see the reference for negations.
Verdict score_yes_no(std::string_view answer, bool gold) {
  constexpr std::u32string_view kYes[] = {U"yes", U"true", U"correct"};
  constexpr std::u32string_view kNo[] = {U"no", U"false", U"incorrect"};
  constexpr std::u32string_view kNegations[] = {U"not", U"never", U"cannot", U"neither", U"nor"};
  const auto is_one_of = [](std::u32string_view word, const auto& list) {
    return std::find(std::begin(list), std::end(list), word) != std::end(list);
  };
  thread_local std::u32string raw, text;
  thread_local std::vector<Word> words;
  decode_utf8(answer, raw);
  fold(raw, text);
  find_words(text, words);
  bool yes = false, no = false, plain_no = false, negated = false;
  for (const Word& at : words) {
    const auto word = std::u32string_view(text).substr(at.begin, at.end - at.begin);
    yes = yes || is_one_of(word, kYes);
    no = no || is_one_of(word, kNo);
    plain_no = plain_no || word == U"no";
    negated = negated || is_one_of(word, kNegations) || word.ends_with(U"n't") || word.ends_with(U"n\u2019t");
  }
  if (!yes && !no) return {0.0, Reason::no_match};
  if ((yes && no) || (negated && !plain_no)) return {0.0, Reason::ambiguous};
  return yes == gold ? Verdict{1.0, Reason::ok} : Verdict{0.0, Reason::no_match};
}

}  // namespace mixed_r1::verify
