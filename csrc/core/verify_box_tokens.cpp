#include "core/verify_box_tokens.h"

#include <algorithm>
#include <cstdint>
#include <limits>

#include "core/verify_number.h"

namespace mixed_r1::verify {

namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

bool equals_lower(std::string_view text, std::string_view known) {
  return std::equal(text.begin(), text.end(), known.begin(), known.end(), [](char a, char b) { return lower(a) == b; });
}

bool is_ascii_digit(char c) { return c >= '0' && c <= '9'; }

// At most 15 digits: exact.
double small_integer(std::string_view digits) {
  std::int64_t value = 0;
  for (const char c : digits) value = value * 10 + (c - '0');
  return static_cast<double>(value);
}

}  // namespace

bool is_corner(std::string_view word) {
  for (const std::string_view known : {"bottom-right", "bottom_right", "lower-right", "lower_right"}) {
    if (equals_lower(word, known)) return true;
  }
  return false;
}

bool is_between_points(std::string_view word) {
  for (const std::string_view known : {"to", "-", "through", "->", "\xE5\x88\xB0", "\xE8\x87\xB3", "corner", "at"}) {
    if (word == known) return true;
  }
  return false;
}

int coordinate(std::string_view name, bool point) {
  const auto is = [&](std::string_view known) { return equals_lower(name, known); };
  if (name.empty() || name.size() > 6) return -1;
  switch (lower(name[0])) {
    case 'x':
    case 'y': {
      const int axis = lower(name[0]) - 'x';
      if (name.size() == 1) return point ? 4 + axis : -1;
      const std::string_view rest = name.substr(name.size() > 1 && name[1] == '_' ? 2 : 1);
      if (rest.size() == 1 && name.size() == 2 && (rest[0] == '1' || rest[0] == '2')) return axis + 2 * (rest[0] - '1');
      if (rest.size() != 3) return -1;
      const bool low = lower(rest[0]) == 'm' && lower(rest[1]) == 'i' && lower(rest[2]) == 'n';
      const bool high = lower(rest[0]) == 'm' && lower(rest[1]) == 'a' && lower(rest[2]) == 'x';
      return low ? axis : high ? axis + 2 : -1;
    }
    case 'l':
      return is("left") ? 0 : -1;
    case 't':
      return is("top") ? 1 : -1;
    case 'r':
      return is("right") ? 2 : -1;
    case 'b':
      return is("bottom") ? 3 : -1;
    default:
      return -1;
  }
}

bool read_token(std::string_view token, double& value) {
  if (token.empty()) return false;
  const bool negative = token[0] == '-';
  if (negative || token[0] == '+') token.remove_prefix(1);
  if (!token.empty() && (token[0] | 0x20) >= 'i' && token.size() <= 8) {
    if (!equals_lower(token, "nan") && !equals_lower(token, "inf") && !equals_lower(token, "infinity")) return false;
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
