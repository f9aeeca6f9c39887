// Golds of multiple choice: letters, and options without their labels.
#include "core/verify.h"
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

// The readings of a normalised text as math; none where it is no value.
std::vector<MathValue> values_of(Text text) {
  static const Settings kSettings;
  std::vector<MathValue> values;
  if (is_ascii(text) && text.find_first_of(U"\\0123456789") == Text::npos) return values;
  if (read_math(text, kSettings, values) != Reason::ok) values.clear();
  std::erase_if(values, [](const MathValue& value) { return !value.is_value; });
  return values;
}

// "red car" for "a red car": a text in the form of plain() without the article that it begins with.
Text without_article(Text text) {
  for (const Text article : {Text(U"a "), Text(U"an "), Text(U"the ")}) {
    if (text.starts_with(article)) return text.substr(article.size());
  }
  return text;
}

// Where "Yes" and "No" are among the options, once each.
void find_verdicts(const std::vector<std::u32string>& options, ChoiceGold& out) {
  int yes = 0, no = 0;
  for (std::size_t i = 0; i < options.size(); ++i) {
    if (score_yes_no(options[i], true).reason == Reason::ok) {
      out.yes = static_cast<int>(i);
      ++yes;
    } else if (score_yes_no(options[i], false).reason == Reason::ok) {
      out.no = static_cast<int>(i);
      ++no;
    }
  }
  if (yes != 1 || no != 1) out.yes = out.no = -1;
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
    out.values.push_back(values_of(body));
    out.has_values = out.has_values || !out.values.back().empty();
  }
  find_verdicts(bodies, out);
  return true;
}

std::uint32_t ChoiceGold::named(std::u32string_view text) const {
  if (text.empty()) return 0;
  std::uint32_t same = 0, bare = 0;
  for (std::size_t i = 0; i < options.size(); ++i) {
    if (options[i] == text) same |= std::uint32_t{1} << i;
    if (without_article(options[i]) == without_article(text)) bare |= std::uint32_t{1} << i;
  }
  return same != 0 ? same : bare;
}

std::uint32_t ChoiceGold::valued(std::u32string_view text) const {
  if (!has_values) return 0;
  const std::vector<MathValue> found = values_of(text);
  std::uint32_t same = 0;
  for (std::size_t i = 0; i < values.size() && !found.empty(); ++i) {
    if (agree(found, values[i])) same |= std::uint32_t{1} << i;
  }
  return same;
}

}  // namespace mixed_r1::verify
