#include "core/verify_unicode.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace mixed_r1::verify {

namespace {

// Hangul syllables decompose by arithmetic (Unicode Standard, section 3.12).
constexpr char32_t kHangulBase = 0xAC00, kHangulCount = 11172;
constexpr char32_t kLeadBase = 0x1100, kVowelBase = 0x1161, kTailBase = 0x11A7;
constexpr char32_t kTailCount = 28, kVowelTailCount = 21 * kTailCount;

UnicodeTables g_tables;

std::pair<const std::uint32_t*, const std::uint32_t*> find(const CodePointMap& map, char32_t c) {
  const auto at = std::lower_bound(map.keys.begin(), map.keys.end(), c);
  if (at == map.keys.end() || *at != c) return {nullptr, nullptr};
  const std::size_t i = static_cast<std::size_t>(at - map.keys.begin());
  return {map.values.data() + map.offsets[i], map.values.data() + map.offsets[i + 1]};
}

std::uint32_t combining_class(char32_t c) {
  if (c < 0x300) return 0;
  const auto& keys = g_tables.class_keys;
  const auto at = std::lower_bound(keys.begin(), keys.end(), c);
  return at != keys.end() && *at == c ? g_tables.class_values[static_cast<std::size_t>(at - keys.begin())] : 0;
}

void append_decomposed(char32_t c, std::u32string& out) {
  if (c < 0x80) {
    out.push_back(c);
  } else if (c >= kHangulBase && c < kHangulBase + kHangulCount) {
    const char32_t s = c - kHangulBase;
    out.push_back(kLeadBase + s / kVowelTailCount);
    out.push_back(kVowelBase + s % kVowelTailCount / kTailCount);
    if (s % kTailCount != 0) out.push_back(kTailBase + s % kTailCount);
  } else if (const auto [begin, end] = find(g_tables.decompositions, c); begin != nullptr) {
    out.append(begin, end);
  } else {
    out.push_back(c);
  }
}

// Sorts every run of combining marks by class, equal classes in order.
void reorder_marks(std::u32string& text) {
  std::vector<std::pair<std::uint32_t, char32_t>> marks;
  for (std::size_t i = 0; i < text.size();) {
    marks.clear();
    std::size_t end = i;
    for (std::uint32_t cls; end < text.size() && (cls = combining_class(text[end])) != 0; ++end) {
      marks.emplace_back(cls, text[end]);
    }
    if (marks.size() > 1) {
      std::stable_sort(marks.begin(), marks.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
      for (std::size_t k = 0; k < marks.size(); ++k) text[i + k] = marks[k].second;
    }
    i = std::max(end, i + 1);
  }
}

bool fits(const CodePointMap& map) {
  return map.offsets.size() == map.keys.size() + 1 && std::is_sorted(map.keys.begin(), map.keys.end()) &&
         std::is_sorted(map.offsets.begin(), map.offsets.end()) && map.offsets.back() == map.values.size();
}

// The length of the well-formed UTF-8 sequence at text[i], or 0.
std::size_t sequence_length(std::string_view text, std::size_t i) noexcept {
  const auto byte = [&](std::size_t k) -> unsigned {
    return i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0u;
  };
  const auto continues = [&](std::size_t k) { return (byte(k) & 0xC0u) == 0x80u; };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return continues(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    const bool overlong = lead == 0xE0 && byte(1) < 0xA0;
    const bool surrogate = lead == 0xED && byte(1) > 0x9F;
    return continues(1) && continues(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    const bool overlong = lead == 0xF0 && byte(1) < 0x90;
    const bool beyond = lead == 0xF4 && byte(1) > 0x8F;
    return continues(1) && continues(2) && continues(3) && !overlong && !beyond ? 4 : 0;
  }
  return 0;
}

}  // namespace

void set_unicode_tables(UnicodeTables tables) {
  const bool sorted = std::is_sorted(tables.class_keys.begin(), tables.class_keys.end()) &&
                      std::is_sorted(tables.letter_bounds.begin(), tables.letter_bounds.end()) &&
                      std::is_sorted(tables.currency.begin(), tables.currency.end());
  if (!fits(tables.decompositions) || !fits(tables.case_folds) || !sorted ||
      tables.class_keys.size() != tables.class_values.size()) {
    throw std::invalid_argument("tables must be sorted, with one more offset than keys");
  }
  g_tables = std::move(tables);
}

bool is_valid_utf8(std::string_view text) noexcept {
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = sequence_length(text, i);
    if (length == 0) return false;
    i += length;
  }
  return true;
}

void decode_utf8(std::string_view text, std::u32string& out) {
  static constexpr unsigned kLeadBits[5] = {0, 0x7F, 0x1F, 0x0F, 0x07};
  unsigned char bits = 0;
  for (const char c : text) bits |= static_cast<unsigned char>(c);
  if (bits < 0x80) {
    out.assign(text.begin(), text.end());
    return;
  }
  out.clear();
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = sequence_length(text, i);
    if (length == 0) {
      out.push_back(0xFFFD);
      ++i;
      continue;
    }
    char32_t c = static_cast<unsigned char>(text[i]) & kLeadBits[length];
    for (std::size_t k = 1; k < length; ++k) c = c << 6 | (static_cast<unsigned char>(text[i + k]) & 0x3Fu);
    out.push_back(c);
    i += length;
  }
}

std::string encode_utf8(std::u32string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char32_t c : text) {
    const auto add = [&](char32_t bits) { out.push_back(static_cast<char>(bits)); };
    if (c < 0x80) {
      add(c);
      continue;
    }
    const int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static constexpr char32_t kLead[] = {0, 0xC0, 0xE0, 0xF0};
    add(kLead[more] | c >> 6 * more);
    for (int k = more - 1; k >= 0; --k) add(0x80 | (c >> 6 * k & 0x3F));
  }
  return out;
}

std::u32string nfkd(std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (const char32_t c : text) append_decomposed(c, out);
  reorder_marks(out);
  return out;
}

void fold(std::u32string_view text, std::u32string& out) {
  if (is_ascii(text)) {
    out.resize(text.size());
    std::transform(text.begin(), text.end(), out.begin(), ascii_lower);
    return;
  }
  out.clear();
  for (const char32_t c : nfkd(text)) {
    if (c < 0x80) {
      out.push_back(ascii_lower(c));
    } else if (const auto [begin, end] = find(g_tables.case_folds, c); begin != nullptr) {
      for (const auto* p = begin; p != end; ++p) append_decomposed(*p, out);
    } else {
      append_decomposed(c, out);
    }
  }
  reorder_marks(out);
}

bool is_wide_letter(char32_t c) noexcept {
  const auto& bounds = g_tables.letter_bounds;
  return (std::upper_bound(bounds.begin(), bounds.end(), c) - bounds.begin()) % 2 == 1;
}

bool is_currency(char32_t c) noexcept {
  if (c < 0x80) return c == U'$';
  return std::binary_search(g_tables.currency.begin(), g_tables.currency.end(), c);
}

}  // namespace mixed_r1::verify
