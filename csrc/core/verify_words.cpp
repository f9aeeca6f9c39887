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

bool is_wide_script(char32_t c) {
  return (c >= 0xE00 && c <= 0xE7F) || (c >= 0x1100 && c <= 0x11FF) || (c >= 0x3040 && c <= 0x30FF) ||
         (c >= 0x3400 && c <= 0x9FFF) || (c >= 0xAC00 && c <= 0xD7FF) || (c >= 0xF900 && c <= 0xFAFF) ||
         (c >= 0x20000 && c <= 0x3FFFF);
}

void find_words(std::u32string_view text, std::vector<Word>& words) {
  words.clear();
  std::size_t i = 0;
  while (i < text.size()) {
    if (!is_letter(text[i])) {
      ++i;
      continue;
    }
    const bool wide = is_wide_script(text[i]);
    std::size_t end = i + 1;
    while (end < text.size() && ((is_letter(text[end]) && is_wide_script(text[end]) == wide) ||
                                 (is_inner(text[end]) && end + 1 < text.size() && is_letter(text[end + 1])))) {
      ++end;
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

}  // namespace mixed_r1::verify
