// Unicode text as the verifiers compare it. The character data come from outside (set_unicode_tables): Python's
// unicodedata, so both sides of a comparison read one version of Unicode. Without tables only ASCII is known.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mixed_r1::verify {

// keys[i] maps to values[offsets[i] .. offsets[i + 1]); keys ascend.
struct CodePointMap {
  std::vector<std::uint32_t> keys;
  std::vector<std::uint32_t> offsets;
  std::vector<std::uint32_t> values;
};

struct UnicodeTables {
  CodePointMap decompositions;  // full compatibility decompositions, Hangul left out
  CodePointMap case_folds;      // full case folding
  std::vector<std::uint32_t> class_keys;
  std::vector<std::uint32_t> class_values;   // canonical combining classes above 0
  std::vector<std::uint32_t> letter_bounds;  // letters, marks and numbers are [bounds[0], bounds[1]), [bounds[2], ...
  std::vector<std::uint32_t> currency;       // category Sc
};

// Call before the first gold is compiled, from one thread. Throws std::invalid_argument for tables that do not fit.
void set_unicode_tables(UnicodeTables tables);

bool is_valid_utf8(std::string_view text) noexcept;

// Code points of valid UTF-8; a malformed byte becomes U+FFFD. `out` keeps its memory, here and below.
void decode_utf8(std::string_view text, std::u32string& out);

inline std::u32string decode_utf8(std::string_view text) {
  std::u32string out;
  decode_utf8(text, out);
  return out;
}

std::string encode_utf8(std::u32string_view text);

std::u32string nfkd(std::u32string_view text);

// NFKD, case folded, NFKD.
void fold(std::u32string_view text, std::u32string& out);

// Beyond ASCII.
bool is_wide_letter(char32_t c) noexcept;

bool is_currency(char32_t c) noexcept;

inline bool is_ascii(std::u32string_view text) noexcept {
  char32_t bits = 0;
  for (const char32_t c : text) bits |= c;
  return bits < 0x80;
}

inline bool is_space(char32_t c) noexcept { return c == U' ' || (c >= U'\t' && c <= U'\r'); }

inline bool is_digit(char32_t c) noexcept { return c >= U'0' && c <= U'9'; }

inline char32_t ascii_lower(char32_t c) noexcept { return c >= U'A' && c <= U'Z' ? c + 32 : c; }

// Category L, N or M.
inline bool is_letter(char32_t c) noexcept {
  if (c >= 0x80) return is_wide_letter(c);
  return is_digit(c) || (ascii_lower(c) >= U'a' && ascii_lower(c) <= U'z');
}

}  // namespace mixed_r1::verify
