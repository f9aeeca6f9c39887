// Golds of multiple choice: letters, and options without their labels.
#include "core/verify_choice.h"
#include "core/verify_reading.h"
#include "core/verify_unicode.h"

namespace mixed_r1::verify {

namespace {

using Text = std::u32string_view;

Text without_blanks(Text text) {
  while (text.starts_with(U' ')) text.remove_prefix(1);
  return text;
}

// Options without "A.", "(B)", "C:" where each carries its own.
void drop_labels(std::vector<std::u32string>& options) {
  std::vector<std::u32string> bodies;
  for (std::size_t i = 0; i < options.size(); ++i) {
    Text body = options[i];
    if (body.starts_with(U'(')) body.remove_prefix(1);
    if (!body.starts_with(static_cast<char32_t>(U'A' + i))) return;
    body = without_blanks(body.substr(1));
    if (body.empty() || Text(U".):").find(body[0]) == Text::npos) return;
    body = strip_space(body.substr(1));
    if (body.empty()) return;
    bodies.emplace_back(body);
  }
  options = std::move(bodies);
}

// An option as it is looked for inside a sentence: small letters, single spaces; empty for a letter or nothing.
std::u32string inner_form(Text option) {
  const std::u32string decomposed = is_ascii(option) ? std::u32string(option) : nfkd(option);
  std::u32string out;
  bool gap = false;
  for (const char32_t c : decomposed) {
    if (is_space(c)) {
      gap = !out.empty();
      continue;
    }
    if (gap) out.push_back(U' ');
    gap = false;
    out.push_back(ascii_lower(c));
  }
  if (out.size() == 1 && out[0] >= U'a' && out[0] <= U'z') out.clear();
  return out;
}

}  // namespace

bool compile_choice(const std::vector<std::string>& answers, const std::vector<std::string>& options, ChoiceGold& out) {
  const std::size_t count = options.size();
  if (count < 1 || count > 26 || answers.size() != 1 || answers[0].empty()) return false;
  for (const char letter : answers[0]) {
    if (letter < 'A' || letter >= static_cast<char>('A' + count)) return false;
    const std::uint32_t bit = std::uint32_t{1} << (letter - 'A');
    if ((out.letters & bit) != 0) return false;
    out.letters |= bit;
  }
  std::vector<std::u32string> bodies;
  for (const std::string& option : options) bodies.push_back(normal(decode_utf8(option)));
  drop_labels(bodies);
  for (const std::u32string& body : bodies) {
    plain(body, out.options.emplace_back());
    out.inner.push_back(inner_form(body));
  }
  return true;
}

}  // namespace mixed_r1::verify
