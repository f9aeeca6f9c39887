#include "core/verify_box_tokens.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>

#include "core/verify_number.h"

namespace mixed_r1::verify {

namespace {

bool is_ascii_digit(char c) { return c >= '0' && c <= '9'; }

// At most 15 digits: exact.
double small_integer(std::string_view digits) {
  std::int64_t value = 0;
  for (const char c : digits) value = value * 10 + (c - '0');
  return static_cast<double>(value);
}

}  // namespace

int coordinate(std::string_view name, bool point) {
  if (point && name.size() == 1 && (name[0] | 0x20) >= 'x' && (name[0] | 0x20) <= 'y')
    return (name[0] | 0x20) - 'x' + 4;
  constexpr std::string_view kNames[4][4] = {{"x1", "xmin", "x_min", "left"},
                                             {"y1", "ymin", "y_min", "top"},
                                             {"x2", "xmax", "x_max", "right"},
                                             {"y2", "ymax", "y_max", "bottom"}};
  if (name.size() < 2 || name.size() > 6) return -1;
  for (int i = 0; i < 4; ++i) {
    for (const std::string_view known : kNames[i]) {
      const auto same = [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + 32 : a) == b; };
      if (std::equal(name.begin(), name.end(), known.begin(), known.end(), same)) return i;
    }
  }
  return -1;
}

bool read_token(std::string_view token, double& value) {
  if (token.empty()) return false;
  const bool negative = token[0] == '-';
  if (negative || token[0] == '+') token.remove_prefix(1);
  if (!token.empty() && (token[0] | 0x20) >= 'i' && token.size() <= 8) {
    if (!is_non_finite_word(std::u32string(token.begin(), token.end()))) return false;
    value = std::numeric_limits<double>::quiet_NaN();
    return true;
  }
  std::size_t i = 0, digits = 0;
  const auto run = [&] {
    const std::size_t begin = i;
    while (i < token.size() && is_ascii_digit(token[i])) ++i;
    return i - begin;
  };
  digits += run();
  if (i < token.size() && token[i] == '.') {
    ++i;
    digits += run();
  }
  if (digits == 0) return false;
  if (i < token.size() && (token[i] == 'e' || token[i] == 'E')) {
    ++i;
    if (i < token.size() && (token[i] == '+' || token[i] == '-')) ++i;
    if (run() == 0) return false;
  }
  if (i != token.size()) return false;
  value = digits == i && digits <= 15 ? small_integer(token) : to_double(token);
  if (negative) value = -value;
  return true;
}

}  // namespace mixed_r1::verify
