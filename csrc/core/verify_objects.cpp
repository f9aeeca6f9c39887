#include "core/verify_objects.h"

#include <algorithm>
#include <utility>

#include "core/verify_reading.h"
#include "core/verify_unicode.h"

namespace mixed_r1::verify {

namespace {

using Text = std::u32string_view;

constexpr Text kSpace = U" \t\n\r\f\v";

bool is_quote(char32_t c) { return c == U'"' || c == U'\''; }

bool stands_at(Text text, std::size_t i, Text any) { return i < text.size() && any.find(text[i]) != Text::npos; }

// Where the string that opens at i closes, with one of `after` behind it; npos where there is none.
std::size_t string_end(Text text, std::size_t i, Text after) {
  if (!is_quote(text[i])) return Text::npos;
  for (std::size_t end = i + 1; end < text.size(); end += text[end] == U'\\' ? 2 : 1) {
    if (text[end] == text[i] && stands_at(text, skip(text, end + 1, kSpace), after)) return end;
  }
  return Text::npos;
}

// Where a number, a word, a list or an object that starts at i ends, inside an object.
std::size_t value_end(Text text, std::size_t i) {
  for (int depth = 0; i + 1 < text.size() && !(text[i] == U',' && depth == 0); ++i) {
    if (stands_at(text, i, U"[{(")) ++depth;
    if (stands_at(text, i, U"]})")) --depth;
  }
  return i;
}

void replace(std::u32string& text, Text from, char32_t to) {
  std::u32string out;
  for (std::size_t i = 0; i < text.size();) {
    const bool here = Text(text).substr(i).starts_with(from);
    out.push_back(here ? to : text[i]);
    i += here ? from.size() : 1;
  }
  text = std::move(out);
}

std::u32string unescaped(Text body) {
  std::u32string text(body);
  if (text.find(U'\\') == std::u32string::npos) return text;
  replace(text, U"\\\\", U'\\');
  replace(text, U"\\\"", U'"');
  return text;
}

}  // namespace

std::u32string_view unexplained(std::u32string_view text) {
  static constexpr Text kWords[] = {U"explanation", U"explanations",  U"reason",   U"reasons", U"reasoning",
                                    U"rationale",   U"justification", U"analysis", U"note"};
  static constexpr Text kWide[] = {U"\u89e3\u6790", U"\u89e3\u91ca", U"\u7406\u7531",
                                   U"\u5206\u6790", U"\u8bf4\u660e", U"\u539f\u56e0"};
  for (std::size_t at = text.find(U'\n'); at != Text::npos;) {
    const std::size_t i = skip(text, at + 1, U" \t\n\r\f\v*_#>-");
    std::size_t end = letters_end(text, i);
    if (!in_lower(text.substr(i, end - i), kWords)) {
      end = i;
      for (const Text word : kWide) end = text.substr(i).starts_with(word) ? i + word.size() : end;
    }
    if (end > i && stands_at(text, skip(text, end, U" \t*_"), U":\uff1a")) return text.substr(0, at);
    at = text.find(U'\n', i);
  }
  return text;
}

std::u32string object_answer(std::u32string_view text) {
  static constexpr Text kKeys[] = {U"answer", U"final_answer", U"final answer"};
  if (text.size() < 2 || text.front() != U'{' || text.back() != U'}') return {};
  const std::size_t last = text.size() - 1;
  std::u32string found;
  int count = 0;
  for (std::size_t i = skip(text, 1, kSpace); i < last;) {
    const std::size_t key_end = string_end(text, i, U":");
    if (key_end == Text::npos) return {};
    const Text key = text.substr(i + 1, key_end - i - 1);
    i = skip(text, skip(text, key_end + 1, kSpace) + 1, kSpace);
    const bool quoted = is_quote(text[i]);
    std::size_t end = quoted ? string_end(text, i, U",}") : value_end(text, i);
    if (end == Text::npos) return {};
    if (in_lower(key, kKeys)) {
      found = quoted ? unescaped(text.substr(i + 1, end - i - 1)) : std::u32string(text.substr(i, end - i));
      ++count;
    }
    i = skip(text, end + (quoted ? 1 : 0), kSpace);
    if (i >= last) break;
    if (text[i] != U',') return {};
    i = skip(text, i + 1, kSpace);
  }
  return count == 1 ? found : std::u32string();
}

}  // namespace mixed_r1::verify
