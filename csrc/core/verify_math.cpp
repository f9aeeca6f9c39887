#include "core/verify_math.h"

#include <algorithm>
#include <utility>

#include "core/verify.h"
#include "core/verify_leads.h"
#include "core/verify_math_parser.h"
#include "core/verify_math_tokens.h"
#include "core/verify_unicode.h"
#include "core/verify_units.h"
#include "core/verify_words.h"

namespace mixed_r1::verify {

namespace {

using Text = std::u32string_view;

bool has_letter(Text text) {
  return std::any_of(text.begin(), text.end(),
                     [](char32_t c) { return ascii_lower(c) >= U'a' && ascii_lower(c) <= U'z'; });
}

// Whether a gold is words, and says so by a text command.
bool is_words(std::string_view written, Text text) {
  static constexpr std::string_view kCommands[] = {"\\text{", "\\textbf{", "\\mathrm{", "\\mbox{", "\\textit{"};
  const bool commanded = std::any_of(std::begin(kCommands), std::end(kCommands), [&](std::string_view name) {
    return written.find(name) != std::string_view::npos;
  });
  return commanded && has_letter(text) && text.find_first_of(U"\\^_=<>+*/{}[],|") == Text::npos && !is_digit(text[0]);
}

// "9-12", "2024-05-01", "5/1/2024": digits joined by marks.
bool is_digits_joined(Text text) {
  std::size_t marks = 0, hyphens = 0, slashes = 0;
  bool digit = false;
  for (const char32_t c : text) {
    if (is_digit(c)) {
      digit = true;
      continue;
    }
    if (!digit || (c != U'-' && c != U'/' && c != U':')) return false;
    digit = false;
    ++marks;
    hyphens += c == U'-';
    slashes += c == U'/';
  }
  return digit && marks > 0 && (hyphens > 0 || slashes > 1);
}

std::u32string text_form(Text text) {
  std::u32string form;
  plain(text, form);
  Text body = form;
  if (body.size() >= 2 && body.starts_with(U'(') && body.ends_with(U')')) body = body.substr(1, body.size() - 2);
  std::u32string out;
  std::copy_if(body.begin(), body.end(), std::back_inserter(out), [](char32_t c) { return c != U' '; });
  return out;
}

bool times_hundred(const Real& value, Real& out) {
  try {
    out = Arithmetic().multiply(value, rational(Rational(100)));
    return true;
  } catch (const NotNative&) {
    return false;
  }
}

Reason compare(const MathValue& value, const MathValue& gold) {
  if (gold.is_value && !value.is_value) return Reason::unevaluated;
  const bool other_unit = !value.unit.empty() && value.unit != gold.unit;
  if (other_unit && !gold.unit.empty()) return Reason::no_match;
  if (other_unit && !is_known_unit(value.unit)) return Reason::no_number;
  if (same_items(value.parts, gold.parts)) return Reason::ok;
  const Real *left = value.number(), *right = gold.number();
  if (left == nullptr || right == nullptr || value.percent == gold.percent) return Reason::no_match;
  Real scaled;
  if (!times_hundred(value.percent ? *left : *right, scaled)) return Reason::no_match;
  return scaled == (value.percent ? *right : *left) ? Reason::ok : Reason::no_match;
}

}  // namespace

const Real* MathValue::number() const {
  const bool single = parts.size() == 1 && parts[0].is_single() && parts[0].items[0].infinity == 0;
  return single ? &parts[0].items[0].real : nullptr;
}

Reason read_math(std::u32string_view text, const Settings& settings, std::vector<MathValue>& values, bool gold) {
  const bool ordered = settings.list_order == ListOrder::ordered;
  std::vector<MathToken> tokens;
  bool has_names = false;
  values.clear();
  try {
    tokens = math_tokens(text);
    MathParser parser(text, tokens, true, ordered);
    values.push_back(parser.answer());
    MathValue named = values[0];
    has_names = parser.name(named);
    if (has_names) values.insert(values.begin(), std::move(named));
  } catch (const Unreadable& problem) {
    return problem.reason;
  } catch (const NotNative&) {
    return Reason::no_number;
  }
  if (has_names && gold) values.pop_back();
  if (has_names || values[0].unit.size() != 1 || !has_letter(values[0].unit)) return Reason::ok;
  try {
    values.push_back(MathParser(text, tokens, false, ordered).answer());
  } catch (const Unreadable&) {
  } catch (const NotNative&) {
  }
  return Reason::ok;
}

bool compile_math(const GoldSpec& spec, MathGold& out) {
  const std::string written = spec.answers.size() == 1 ? spec.answers[0] : std::string();
  std::u32string text;
  if (read_answer(written, Box::last, true, text) != Reason::ok) return false;
  if (is_words(written, text) || is_digits_joined(text)) {
    out.text = text_form(text);
    return true;
  }
  return read_math(text, spec.settings, out.values, true) == Reason::ok;
}

bool agree(const std::vector<MathValue>& values, const std::vector<MathValue>& golds) {
  return std::any_of(values.begin(), values.end(), [&](const MathValue& value) {
    return std::any_of(golds.begin(), golds.end(),
                       [&](const MathValue& gold) { return compare(value, gold) == Reason::ok; });
  });
}

Verdict score_math(std::u32string_view answer, const MathGold& gold, const Settings& settings) {
  if (gold.values.empty()) {
    return text_form(answer) == gold.text ? Verdict{1.0, Reason::ok} : Verdict{0.0, Reason::no_match};
  }
  std::vector<MathValue> values;
  Reason reason = read_math(answer, settings, values);
  if (reason == Reason::no_number) {
    const std::u32string tail = stated(answer);
    if (!tail.empty()) reason = read_math(tail, settings, values);
  }
  if (reason != Reason::ok) return {0.0, reason};
  Reason first = Reason::ok;
  for (const MathValue& value : values) {
    for (const MathValue& wanted : gold.values) {
      const Reason verdict = compare(value, wanted);
      if (verdict == Reason::ok) return {1.0, Reason::ok};
      if (first == Reason::ok) first = verdict;
    }
  }
  return {0.0, first};
}

}  // namespace mixed_r1::verify
