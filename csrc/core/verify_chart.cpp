// Relaxed accuracy of chart answers: numbers, texts, and lists of them.
#include <algorithm>
#include <cmath>

#include "core/verify.h"
#include "core/verify_math_tokens.h"
#include "core/verify_unicode.h"
#include "core/verify_words.h"

namespace mixed_r1::verify {

namespace {

using Text = std::u32string_view;

constexpr double kRounding = 1 + 1e-9;

Text strip(Text text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

double closeness(double value, double gold, const Settings& settings) {
  const double error = std::fabs(value - gold), size = std::fabs(gold);
  if (gold == 0.0) return error == 0.0 ? 1.0 : 0.0;
  if (!settings.graded) return error <= settings.chart_tolerance * size * kRounding ? 1.0 : 0.0;
  int passed = 0;
  for (int k = 1; k <= 10; ++k) passed += error < k / 20.0 * size ? 1 : 0;
  return passed / 10.0;
}

// The number that one side of an equation states; unevaluated for arithmetic without a result.
Reason read_stated(Text answer, Number& number) {
  MathValue value;
  const Reason reason = read_math(answer, value);
  if (reason != Reason::ok) return reason == Reason::ambiguous ? reason : Reason::no_number;
  if (!value.is_value) return Reason::unevaluated;
  const std::u32string body = math_body(answer);
  Text rest = body;
  if (rest.find(U'=') == Text::npos) return Reason::no_number;
  while (true) {
    const std::size_t at = rest.rfind(U'=');
    if (read_number(at == Text::npos ? rest : rest.substr(at + 1), number) == Reason::ok) return Reason::ok;
    if (at == Text::npos) return Reason::no_number;
    rest = rest.substr(0, at);
  }
}

Verdict score_number(Text answer, const Number& gold, const Settings& settings) {
  Number number;
  Reason reason = read_number(strip(answer), number);
  if (reason == Reason::no_number) reason = read_stated(answer, number);
  if (reason != Reason::ok) return {0.0, reason};
  if (gold.year) {
    const bool exact = number.value == gold.value && !number.percent;
    return exact ? Verdict{1.0, Reason::ok} : Verdict{0.0, Reason::out_of_tolerance};
  }
  double value = closeness(number.value, gold.value, settings);
  if (number.percent && !gold.percent) value = std::max(value, closeness(number.value / 100.0, gold.value, settings));
  if (gold.percent && !number.percent) value = std::max(value, closeness(number.value, gold.value / 100.0, settings));
  return value > 0.0 ? Verdict{value, Reason::ok} : Verdict{0.0, Reason::out_of_tolerance};
}

Verdict score_item(Text answer, const ChartItem& gold, const Settings& settings) {
  if (gold.is_number) return score_number(answer, gold.number, settings);
  thread_local std::u32string text;
  plain(answer, text);
  if (text == gold.text) return {1.0, Reason::ok};
  const double value = settings.anls ? similarity(text, gold.text) : 0.0;
  if (value >= 0.5) return {settings.graded ? value : 1.0, Reason::ok};
  return {0.0, Reason::no_match};
}

// The separator that a list uses: the first of these that occurs.
enum class Separator { semicolon, line, comma_space, comma };

Separator separator_of(Text body) {
  if (body.find(U';') != Text::npos) return Separator::semicolon;
  if (body.find(U'\n') != Text::npos) return Separator::line;
  for (std::size_t i = 1; i < body.size(); ++i) {
    if (body[i - 1] == U',' && (body[i] == U' ' || body[i] == U'\t')) return Separator::comma_space;
  }
  return Separator::comma;
}

Text without_brackets(Text body) {
  if (body.size() < 2) return body;
  const char32_t a = body.front(), b = body.back();
  const bool bracketed = (a == U'[' && b == U']') || (a == U'(' && b == U')') || (a == U'{' && b == U'}');
  return bracketed ? strip(body.substr(1, body.size() - 2)) : body;
}

// Lines may end in a comma, as JSON is printed.
Text item(Text part, Separator separator) {
  if (separator != Separator::line) return part;
  part = strip(part);
  return part.ends_with(U',') ? part.substr(0, part.size() - 1) : part;
}

// Items of a list; false where there are more than `most`.
bool split(Text body, std::size_t most, std::vector<Text>& items) {
  const Separator separator = separator_of(body);
  std::size_t begin = 0;
  for (std::size_t i = 0; i < body.size(); ++i) {
    const char32_t next = i + 1 < body.size() ? body[i + 1] : U'x';
    const bool splits = separator == Separator::semicolon     ? body[i] == U';'
                        : separator == Separator::line        ? body[i] == U'\n'
                        : separator == Separator::comma_space ? body[i] == U',' && (next == U' ' || next == U'\t')
                                                              : body[i] == U',';
    if (!splits) continue;
    items.push_back(item(body.substr(begin, i - begin), separator));
    if (items.size() == most) return false;
    if (separator == Separator::comma_space) ++i;
    begin = i + 1;
  }
  items.push_back(item(body.substr(begin), separator));
  return true;
}

}  // namespace

Verdict score_chart(std::string_view answer, const ChartGold& gold, const Settings& settings) {
  thread_local std::u32string decoded;
  decode_utf8(answer, decoded);
  const Text text = unboxed(decoded);
  if (!gold.is_list) return score_item(text, gold.items[0], settings);
  const std::u32string narrowed = narrow(text);
  std::vector<Text> items;
  if (!split(without_brackets(strip(narrowed)), settings.max_items, items)) return {0.0, Reason::too_many_items};
  if (items.size() != gold.items.size()) return {0.0, Reason::no_match};
  Verdict worst{1.0, Reason::ok};
  for (std::size_t i = 0; i < items.size(); ++i) {
    const Verdict verdict = score_item(items[i], gold.items[i], settings);
    if (verdict.value < worst.value) worst = verdict;
  }
  return worst;
}

}  // namespace mixed_r1::verify
