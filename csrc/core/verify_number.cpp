#include "core/verify_number.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "core/verify_unicode.h"

namespace mixed_r1::verify {

namespace {

using Text = std::u32string_view;

bool is_wrapper(char32_t c) { return c == U'"' || c == U'\'' || c == U'`' || c == U'*' || is_space(c); }

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

bool equals_lower(Text text, std::string_view known) {
  return std::equal(text.begin(), text.end(), known.begin(), known.end(),
                    [](char32_t a, char b) { return ascii_lower(a) == static_cast<char32_t>(b); });
}

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

// What a suffix multiplies by; 0 for an unknown one.
double scale_of(Text suffix) {
  struct Scale {
    std::string_view name;
    double factor;
  };
  constexpr Scale kWords[] = {{"mn", 1e6},      {"bn", 1e9},      {"thousand", 1e3},
                              {"million", 1e6}, {"billion", 1e9}, {"trillion", 1e12}};
  if (suffix.empty()) return 1.0;
  if (suffix.size() == 1) {
    switch (suffix[0]) {
      case U'k':
      case U'K':
        return 1e3;
      case U'M':
        return 1e6;
      case U'B':
        return 1e9;
      case U'T':
        return 1e12;
      default:
        return 0.0;
    }
  }
  for (const Scale& word : kWords) {
    if (equals_lower(suffix, word.name)) return word.factor;
  }
  return 0.0;
}

// Four digits, then at most a point and zeros.
bool is_year(Text written) {
  const Text whole = written.substr(0, 4), rest = written.substr(whole.size());
  return whole.size() == 4 && (whole[0] == U'1' || whole[0] == U'2') &&
         std::all_of(whole.begin(), whole.end(), is_digit) && (rest.empty() || rest[0] == U'.') &&
         rest.find_first_not_of(U"0", 1) == Text::npos;
}

}  // namespace

std::u32string narrow(std::u32string_view text) {
  std::u32string out(text);
  for (char32_t& c : out) {
    if (c < 0xA0) continue;
    if (c >= 0xFF01 && c <= 0xFF5E) {
      c -= 0xFEE0;
    } else if (c == 0x2212) {
      c = U'-';
    } else if (c == 0x3000 || c == 0xA0) {
      c = U' ';
    }
  }
  return out;
}

std::u32string_view unboxed(std::u32string_view text) {
  constexpr Text kOpen = U"\\boxed{", kBefore = U"\"'`*$ \t\n\r\f\v", kAfter = U"\"'`*$. \t\n\r\f\v";
  const std::size_t begin = text.find_first_not_of(kBefore);
  if (begin == Text::npos || !text.substr(begin).starts_with(kOpen)) return text;
  const Text body = text.substr(0, text.find_last_not_of(kAfter) + 1).substr(begin + kOpen.size());
  std::size_t depth = 1;
  for (std::size_t i = 0; i < body.size(); ++i) {
    if (body[i] == U'\\') {
      ++i;
    } else if (body[i] == U'{') {
      ++depth;
    } else if (body[i] == U'}' && --depth == 0) {
      return i + 1 == body.size() ? body.substr(0, i) : text;
    }
  }
  return text;
}

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

Reason read_number(std::u32string_view text, Number& number) {
  const std::u32string narrowed = narrow(text);
  Text body = drop_right(drop_left(narrowed, is_wrapper), is_wrapper);
  if (body.ends_with(U'.') && !body.ends_with(U"..")) body = drop_right(body.substr(0, body.size() - 1), is_wrapper);
  char sign = take_sign(body);
  const bool unit_before = !body.empty() && is_currency(body[0]);
  if (unit_before) {
    body = drop_left(body.substr(1), is_blank);
    if (sign == '\0') sign = take_sign(body);
  }
  if (is_non_finite_word(body)) return Reason::non_finite;
  const Decimal decimal = read_decimal(body, true);
  if (decimal.digits.empty()) return Reason::no_number;
  Text suffix = drop_right(drop_left(body.substr(decimal.length), is_blank), is_blank);
  const bool bare = sign == '\0' && !unit_before && suffix.empty();
  if (!suffix.empty() && is_currency(suffix.back())) {
    suffix = drop_right(suffix.substr(0, suffix.size() - 1), is_blank);
  }
  const bool percent = suffix == U"%" || equals_lower(suffix, "percent");
  const double scale = percent ? 1.0 : scale_of(suffix);
  if (scale == 0.0) return Reason::no_number;
  const double value = to_double(decimal.digits) * scale;
  if (value == std::numeric_limits<double>::infinity()) return Reason::non_finite;
  number = {sign == '-' ? -value : value, percent, bare && is_year(body.substr(0, decimal.length))};
  return Reason::ok;
}

bool is_non_finite_word(std::u32string_view text) {
  return equals_lower(text, "nan") || equals_lower(text, "inf") || equals_lower(text, "infinity");
}

}  // namespace mixed_r1::verify
