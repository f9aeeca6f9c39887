#include "core/verify_number.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "core/verify_reading.h"
#include "core/verify_unicode.h"
#include "core/verify_units.h"

namespace mixed_r1::verify {

namespace {

using Text = std::u32string_view;

template <class Drop>
Text drop_right(Text text, Drop drop) {
  while (!text.empty() && drop(text.back())) text.remove_suffix(1);
  return text;
}

template <class Drop>
Text drop_left(Text text, Drop drop) {
  while (!text.empty() && drop(text.front())) text.remove_prefix(1);
  return text;
}

bool is_blank(char32_t c) { return c == U' '; }

// The digits that start at `i` end here.
std::size_t digits_end(Text text, std::size_t i) {
  while (i < text.size() && is_digit(text[i])) ++i;
  return i;
}

char take_sign(Text& text) {
  if (text.empty() || (text[0] != U'+' && text[0] != U'-')) return '\0';
  const char sign = static_cast<char>(text[0]);
  text = drop_left(text.substr(1), is_blank);
  return sign;
}

// What a suffix multiplies by, and the rest of it, which is a unit or nothing.
double take_scale(Text& suffix) {
  struct Scale {
    Text name;
    double factor;
  };
  static constexpr Scale kCharacters[] = {
      {U"\u4e07\u4ebf", 1e12}, {U"\u767e\u4e07", 1e6}, {U"\u5343\u4e07", 1e7}, {U"\u4e07", 1e4}, {U"\u4ebf", 1e8}};
  static constexpr Scale kLetters[] = {{U"k", 1e3}, {U"K", 1e3}, {U"M", 1e6}, {U"B", 1e9}, {U"T", 1e12}};
  static constexpr Scale kWords[] = {{U"mn", 1e6},      {U"bn", 1e9},      {U"thousand", 1e3},
                                     {U"million", 1e6}, {U"billion", 1e9}, {U"trillion", 1e12}};
  for (const auto& [name, factor] : kCharacters) {
    if (!suffix.starts_with(name)) continue;
    suffix = drop_left(suffix.substr(name.size()), is_blank);
    return factor;
  }
  const std::size_t end = letters_end(suffix, 0);
  const Text name = suffix.substr(0, end), rest = suffix.substr(end);
  double scale = 0.0;
  for (const auto& [known, factor] : kLetters) scale = name == known ? factor : scale;
  for (const auto& [known, factor] : kWords) scale = scale == 0.0 && equals_lower(name, known) ? factor : scale;
  if (scale == 0.0 || (!rest.empty() && rest[0] != U' ' && !is_currency(rest[0]))) return 1.0;
  suffix = drop_left(rest, is_blank);
  return scale;
}

// Behind a sign or a code of a currency ("$", "US$", "USD", "RMB") at the start; 0 without one.
std::size_t currency_end(Text body) {
  static constexpr Text kCurrencies[] = {U"$", U"\u20ac", U"\u00a3", U"\u00a5", U"\u20b9"};
  if (body.empty() || is_digit(body[0])) return 0;
  if (is_currency(body[0])) return 1;
  if (body.starts_with(U"US$")) return 3;
  const std::size_t end = letters_end(body, 0);
  const bool capitals = end == 3 && std::all_of(body.begin(), body.begin() + 3, [](char32_t c) { return c <= U'Z'; });
  return capitals && in_lower(unit_name(body.substr(0, 3)), kCurrencies) ? 3 : 0;
}

bool is_percent(Text text) {
  static constexpr Text kNames[] = {U"%",        U"percent",    U"per cent",         U"pct",
                                    U"percents", U"percentage", U"percentage point", U"percentage points"};
  return in_lower(text, kNames);
}

// Four digits, then at most a point and zeros.
bool is_year(Text written) {
  const Text whole = written.substr(0, 4), rest = written.substr(whole.size());
  return whole.size() == 4 && (whole[0] == U'1' || whole[0] == U'2') &&
         std::all_of(whole.begin(), whole.end(), is_digit) && (rest.empty() || rest[0] == U'.') &&
         rest.find_first_not_of(U"0", 1) == Text::npos;
}

}  // namespace

Decimal read_decimal(std::u32string_view text, bool separators) {
  Decimal out;
  const auto copy = [&](std::size_t begin, std::size_t end) {
    for (std::size_t k = begin; k < end; ++k) out.digits.push_back(static_cast<char>(text[k]));
  };
  std::size_t i = digits_end(text, 0);
  copy(0, i);
  if (separators && i >= 1 && i <= 3) {
    while (i < text.size() && text[i] == U',' && digits_end(text, i + 1) == i + 4) {
      copy(i + 1, i + 4);
      i += 4;
    }
  }
  const bool whole = i > 0;
  std::size_t fraction = 0;
  if (i < text.size() && text[i] == U'.') {
    const std::size_t end = digits_end(text, i + 1);
    fraction = end - i - 1;
    if (!whole && fraction == 0) return {};
    if (!whole) out.digits.push_back('0');
    if (fraction > 0) {
      out.digits.push_back('.');
      copy(i + 1, end);
    }
    i = end;
  }
  if (!whole && fraction == 0) return {};
  if (i < text.size() && (text[i] == U'e' || text[i] == U'E')) {
    const std::size_t sign = i + 1 < text.size() && (text[i + 1] == U'+' || text[i + 1] == U'-') ? 1 : 0;
    const std::size_t end = digits_end(text, i + 1 + sign);
    if (end > i + 1 + sign) {
      out.digits.push_back('e');
      copy(i + 1, end);
      i = end;
    }
  }
  out.length = i;
  return out;
}

double to_double(std::string_view digits) {
  double value = 0.0;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (result.ec != std::errc::result_out_of_range) return value;
  // Out of range tells neither side; the decimal exponent of the first digit that is not 0 does.
  const std::size_t e = std::min(digits.find_first_of("eE"), digits.size());
  const std::string_view mantissa = digits.substr(0, e);
  const std::size_t point = std::min(mantissa.find('.'), mantissa.size());
  const std::size_t first = mantissa.find_first_not_of("0.");
  if (first == std::string_view::npos) return 0.0;
  const auto leading = static_cast<long long>(point) - static_cast<long long>(first);
  std::string_view exponent_text = digits.substr(std::min(e + 1, digits.size()));
  const bool negative = exponent_text.starts_with('-');
  if (negative || exponent_text.starts_with('+')) exponent_text.remove_prefix(1);
  long long exponent = 0;
  for (const char c : exponent_text) exponent = std::min(exponent * 10 + (c - '0'), 1'000'000'000'000LL);
  return leading + (negative ? -exponent : exponent) > 0 ? std::numeric_limits<double>::infinity() : 0.0;
}

std::u32string unit_phrase(std::u32string_view text) {
  static constexpr Text kNone[] = {U"or",      U"and",     U"to",       U"of",   U"dozen", U"hundred", U"thousand",
                                   U"million", U"billion", U"trillion", U"lakh", U"crore", U"k",       U"m",
                                   U"b",       U"t",       U"mn",       U"bn",   U"plus",  U"minus",   U"times",
                                   U"over",    U"percent", U"per",      U"e",    U"x",     U"not",     U"half"};
  std::u32string out;
  int words = 0;
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] == U' ') {
      ++i;
      continue;
    }
    const std::size_t end = std::min(text.find(U' ', i), text.size());
    const Text word = text.substr(i, end - i);
    const bool small = std::all_of(word.begin(), word.end(), [](char32_t c) { return c >= U'a' && c <= U'z'; });
    if (!small || ++words > 2 || in_lower(word, kNone)) return {};
    if (!out.empty()) out.push_back(U' ');
    out.append(word);
    i = end;
  }
  if (out.ends_with(U's')) out.pop_back();
  return out;
}

Reason read_number(std::u32string_view text, Number& number) {
  Text body = strip_space(text);
  char sign = take_sign(body);
  const std::size_t currency = currency_end(body);
  const bool unit_before = currency > 0;
  std::u32string unit;
  if (unit_before) {
    unit = unit_name(body.substr(0, currency));
    if (unit.empty()) unit = body[0];
    body = drop_left(body.substr(currency), is_blank);
    if (sign == '\0') sign = take_sign(body);
  }
  if (is_non_finite_word(body)) return Reason::non_finite;
  const Decimal decimal = read_decimal(body, true);
  if (decimal.digits.empty()) return Reason::no_number;
  Text suffix = body.substr(decimal.length);
  if (suffix == U"\u5e74") suffix = Text();
  const bool bare = sign == '\0' && !unit_before && suffix.empty();
  if (suffix == U"m") return Reason::no_number;
  const bool apart = suffix.starts_with(U' ');
  suffix = drop_right(drop_left(suffix, is_blank), is_blank);
  const double scale = take_scale(suffix);
  const bool percent = is_percent(suffix);
  if (!suffix.empty() && !percent) {
    std::u32string found = unit_name(suffix);
    if (found.empty() && apart) found = unit_phrase(suffix);
    if (found.empty() && suffix.size() == 1 && is_currency(suffix[0])) found = suffix[0];
    if (found.empty() || (!unit.empty() && found != unit)) return Reason::no_number;
    unit = std::move(found);
  }
  const double value = to_double(decimal.digits) * scale;
  if (value == std::numeric_limits<double>::infinity()) return Reason::non_finite;
  number = {sign == '-' ? -value : value, percent, bare && is_year(body.substr(0, decimal.length)), std::move(unit)};
  return Reason::ok;
}

bool is_non_finite_word(std::u32string_view text) {
  return equals_lower(text, U"nan") || equals_lower(text, U"inf") || equals_lower(text, U"infinity");
}

}  // namespace mixed_r1::verify
