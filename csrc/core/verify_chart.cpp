// Relaxed accuracy of chart answers: numbers, texts, and lists of them. The rules are in reference_chart.py.
#include "core/verify_chart.h"

#include <algorithm>
#include <cmath>

#include "core/verify.h"
#include "core/verify_leads.h"
#include "core/verify_lists.h"
#include "core/verify_reading.h"
#include "core/verify_unicode.h"
#include "core/verify_units.h"
#include "core/verify_words.h"

namespace mixed_r1::verify {

namespace {

using Text = std::u32string_view;

constexpr double kRounding = 1 + 1e-9;
constexpr std::size_t kExactBits = 53;

constexpr Text kMonths[] = {U"january", U"february", U"march",     U"april",   U"may",      U"june",
                            U"july",    U"august",   U"september", U"october", U"november", U"december"};

constexpr Text kOpposites[][2] = {
    {U"male", U"female"},
    {U"men", U"women"},
    {U"man", U"woman"},
    {U"boys", U"girls"},
    {U"boy", U"girl"},
    {U"increase", U"decrease"},
    {U"increasing", U"decreasing"},
    {U"increased", U"decreased"},
    {U"agree", U"disagree"},
    {U"satisfied", U"dissatisfied"},
    {U"favorable", U"unfavorable"},
    {U"legal", U"illegal"},
    {U"approve", U"disapprove"},
    {U"likely", U"unlikely"},
    {U"employed", U"unemployed"},
    {U"urban", U"suburban"},
    {U"import", U"export"},
    {U"imports", U"exports"},
    {U"positive", U"negative"},
    {U"higher", U"lower"},
    {U"minimum", U"maximum"},
    {U"married", U"unmarried"},
    {U"republican", U"non-republican"},
    {U"direct", U"indirect"},
    {U"inside", U"outside"},
    {U"upward", U"downward"},
    {U"rising", U"falling"},
    {U"north", U"south"},
    {U"east", U"west"},
    {U"northern", U"southern"},
    {U"eastern", U"western"},
    {U"important", U"unimportant"},
    {U"able", U"unable"},
};

bool are_opposites(Text a, Text b) {
  return std::any_of(std::begin(kOpposites), std::end(kOpposites), [&](const auto& pair) {
    return (pair[0] == a && pair[1] == b) || (pair[0] == b && pair[1] == a);
  });
}

// "jan", "jan.", "jan," as "january"; any other word as it is.
Text month(Text word) {
  const Text name = word.substr(0, word.find_last_not_of(U".,") + 1);
  for (const Text full : kMonths) {
    if (name == full || name == full.substr(0, 3) || (name == U"sept" && full == U"september")) return full;
  }
  return word;
}

std::size_t digits_end(Text text, std::size_t i) {
  while (i < text.size() && (is_digit(text[i]) || (text[i] == U'.' && i + 1 < text.size()))) ++i;
  return i;
}

// Two numbers with "-", ":" or "to" between; `sign` is empty where the text is no such pair.
struct Pair {
  Text first, sign, second;

  std::u32string joined() const { return std::u32string(first) + std::u32string(sign) + std::u32string(second); }
};

Pair read_pair(Text text) {
  if (text.starts_with(U"from ")) text.remove_prefix(5);
  const std::size_t first = digits_end(text, 0);
  const std::size_t at = text.find_first_not_of(U' ', first);
  if (first == 0 || at == Text::npos) return {};
  for (const Text sign : {Text(U"-"), Text(U":"), Text(U"to")}) {
    if (!text.substr(at).starts_with(sign)) continue;
    const std::size_t second = text.find_first_not_of(U' ', at + sign.size());
    if (second == Text::npos || digits_end(text, second) < text.size()) return {};
    return {text.substr(0, first), sign, text.substr(second)};
  }
  return {};
}

// "45to54" says "45-54" or "45:54", whichever the gold is, and the other way round.
bool same_pair(Text answer, Text gold) {
  const Pair a = read_pair(answer), b = read_pair(gold);
  if (a.sign.empty() || b.sign.empty() || a.first != b.first || a.second != b.second) return false;
  return a.sign == U"to" || b.sign == U"to" || a.sign == b.sign;
}

// Plain text, names of months in full, a pair without spaces.
void one_form(Text text, std::u32string& out) {
  plain(text, out);
  if (const Pair pair = read_pair(out); !pair.sign.empty()) {
    out = pair.joined();
    return;
  }
  if (std::count(out.begin(), out.end(), U' ') > 2) return;
  std::u32string named;
  for (std::size_t i = 0; i <= out.size();) {
    const std::size_t end = std::min(out.find(U' ', i), out.size());
    if (i > 0) named.push_back(U' ');
    named.append(month(Text(out).substr(i, end - i)));
    i = end + 1;
  }
  out = std::move(named);
}

double closeness(double value, double gold, const Settings& settings) {
  const double error = std::fabs(value - gold), size = std::fabs(gold);
  if (gold == 0.0) return error == 0.0 ? 1.0 : 0.0;
  if (!settings.graded) return error <= settings.chart_tolerance * size * kRounding ? 1.0 : 0.0;
  int passed = 0;
  for (int k = 1; k <= 10; ++k) passed += error < k / 20.0 * size ? 1 : 0;
  return passed / 10.0;
}

// The number that the text is as math; unevaluated for arithmetic without a result.
Reason read_as_math(Text text, Number& number) {
  static const Settings kSettings;
  if (is_ascii(text) && text.find_first_of(U"\\/+*^=-(%:") == Text::npos) return Reason::no_number;
  std::vector<MathValue> values;
  const Reason reason = read_math(text, kSettings, values);
  if (reason != Reason::ok) return reason == Reason::ambiguous ? reason : Reason::no_number;
  const MathValue& value = values[0];
  if (!value.is_value) return Reason::unevaluated;
  const Real* const real = text.starts_with(U'(') ? nullptr : value.number();
  if (real == nullptr || !is_rational(*real)) return Reason::no_number;
  double quotient = 0.0;
  if (!real->empty()) {
    const Rational& rational = real->begin()->second;
    const Natural &top = rational.numerator(), &bottom = rational.denominator();
    if (top.bits() > kExactBits || bottom.bits() > kExactBits) return Reason::no_number;
    quotient = static_cast<double>(top.word()) / static_cast<double>(bottom.word());
    if (rational.is_negative()) quotient = -quotient;
  }
  number = {quotient, false, false, value.unit};
  return Reason::ok;
}

Verdict score_number(const Number& number, const Number& gold, const Settings& settings) {
  const bool other_unit = !number.unit.empty() && number.unit != gold.unit;
  if (other_unit && !gold.unit.empty()) return {0.0, Reason::no_match};
  if (other_unit && !is_known_unit(number.unit)) return {0.0, Reason::no_number};
  if (gold.year && !settings.tolerant_years) {
    const bool exact = number.value == gold.value && !number.percent;
    return exact ? Verdict{1.0, Reason::ok} : Verdict{0.0, Reason::out_of_tolerance};
  }
  double value = closeness(number.value, gold.value, settings);
  if (number.percent && !gold.percent) value = std::max(value, closeness(number.value / 100.0, gold.value, settings));
  if (gold.percent && !number.percent) value = std::max(value, closeness(number.value, gold.value / 100.0, settings));
  return value > 0.0 ? Verdict{value, Reason::ok} : Verdict{0.0, Reason::out_of_tolerance};
}

Verdict score_text(Text answer, Text gold, const Settings& settings) {
  if (answer == gold || same_pair(answer, gold)) return {1.0, Reason::ok};
  const double value = settings.anls && !are_opposites(answer, gold) ? similarity(answer, gold) : 0.0;
  if (value >= 0.5) return {settings.graded ? value : 1.0, Reason::ok};
  return {0.0, Reason::no_match};
}

// Of a normalised text.
Verdict score_item(Text text, const ChartItem& gold, const Settings& settings) {
  thread_local std::u32string form;
  if (!gold.is_number) {
    one_form(text, form);
    return score_text(form, gold.text, settings);
  }
  Number number;
  Reason reason = read_number(text, number);
  if (reason == Reason::no_number) reason = read_as_math(text, number);
  if (reason == Reason::ok) return score_number(number, gold.number, settings);
  if (!gold.number.unit.empty()) {
    one_form(text, form);
    if (form == gold.text) return {1.0, Reason::ok};
  }
  return {0.0, reason};
}

// Each part takes the gold that is left and that it is nearest to, the first of equals.
Verdict score_in_any_order(const std::vector<std::u32string>& parts, const ChartGold& gold, const Settings& settings) {
  std::vector<bool> taken(gold.items.size(), false);
  Verdict worst{1.0, Reason::ok};
  for (const std::u32string& part : parts) {
    std::size_t best = gold.items.size();
    Verdict nearest;
    for (std::size_t i = 0; i < gold.items.size(); ++i) {
      if (taken[i]) continue;
      const Verdict verdict = score_item(part, gold.items[i], settings);
      if (best < gold.items.size() && verdict.value <= nearest.value) continue;
      best = i;
      nearest = verdict;
    }
    taken[best] = true;
    if (nearest.value < worst.value) worst = nearest;
  }
  return worst;
}

}  // namespace

bool compile_chart(const GoldSpec& spec, ChartGold& out) {
  const Settings& settings = spec.settings;
  if (spec.answers.empty() || spec.answers.size() > settings.max_items) return false;
  out.is_list = spec.is_list;
  for (const std::string& answer : spec.answers) {
    if (answer.size() > settings.max_answer_bytes) return false;
    std::u32string text;
    if (read_answer(answer, Box::last, true, text) != Reason::ok) return false;
    ChartItem item;
    const Reason reason = read_number(text, item.number);
    item.is_number = reason == Reason::ok;
    one_form(text, item.text);
    if (reason == Reason::non_finite || item.text.empty()) return false;
    out.items.push_back(std::move(item));
  }
  return true;
}

Verdict score_chart(std::u32string_view answer, const ChartGold& gold, const Settings& settings) {
  if (!gold.is_list) {
    const Verdict verdict = score_item(answer, gold.items[0], settings);
    if (verdict.reason != Reason::no_number) return verdict;
    const std::u32string tail = stated(answer);
    return tail.empty() ? verdict : score_item(tail, gold.items[0], settings);
  }
  if (gold.items.size() == 1) {
    const Verdict whole = score_item(answer, gold.items[0], settings);
    if (whole.value > 0.0) return whole;
  }
  const std::vector<Text> items = split_list(answer, gold.items.size(), settings.max_items);
  if (items.size() > settings.max_items) return {0.0, Reason::too_many_items};
  if (items.size() != gold.items.size()) return {0.0, Reason::no_match};
  std::vector<std::u32string> parts;
  for (const Text item : items) parts.push_back(normal(item));
  if (settings.list_order == ListOrder::any) return score_in_any_order(parts, gold, settings);
  Verdict worst{1.0, Reason::ok};
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const Verdict verdict = score_item(parts[i], gold.items[i], settings);
    if (verdict.value < worst.value) worst = verdict;
  }
  return worst;
}

}  // namespace mixed_r1::verify
