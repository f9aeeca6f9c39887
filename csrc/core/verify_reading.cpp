#include "core/verify_reading.h"

#include <algorithm>
#include <utility>

#include "core/verify_objects.h"
#include "core/verify_unicode.h"

namespace mixed_r1::verify {

namespace {

using Text = std::u32string_view;

constexpr int kRounds = 8;

bool is_ascii_letter(char32_t c) { return ascii_lower(c) >= U'a' && ascii_lower(c) <= U'z'; }

std::string_view strip_bytes(std::string_view text) {
  while (!text.empty() && is_space(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  while (!text.empty() && is_space(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  return text;
}

bool is_text_command(Text name) {
  static constexpr Text kNames[] = {U"text",       U"textbf",       U"textit",     U"textrm", U"textsf",
                                    U"texttt",     U"mathrm",       U"mathbf",     U"mathit", U"mathsf",
                                    U"mbox",       U"operatorname", U"bm",         U"hbox",   U"emph",
                                    U"boldsymbol", U"underline",    U"textnormal", U"textup"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

bool is_dropped_command(Text name) {
  static constexpr Text kNames[] = {U"displaystyle", U"textstyle", U"quad", U"qquad", U"limits", U"bf", U"rm", U"it"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

// What "\c" shows before `following`, added to `out`.
void add_escaped(char32_t c, Text following, std::u32string& out) {
  if (c == U'!') return;  // a space of less than nothing
  if (Text(U",;: ").find(c) != Text::npos) {
    const bool group = following.size() >= 3 && is_digit(following[0]) && is_digit(following[1]) &&
                       is_digit(following[2]) && (following.size() == 3 || !is_digit(following[3]));
    if (out.empty() || !is_digit(out.back()) || !group) out.push_back(U' ');
  } else {
    if (Text(U"%$&#_").find(c) == Text::npos) out.push_back(U'\\');
    out.push_back(c);
  }
}

// Text commands as their text, spaces as spaces, escapes as their character.
std::u32string plain_latex(Text text) {
  std::u32string out;
  std::vector<bool> braces;  // whether each open one belongs to a text command
  for (std::size_t i = 0; i < text.size();) {
    const char32_t c = text[i];
    if (c == U'\\' && i + 1 < text.size()) {
      const std::size_t end = letters_end(text, i + 1);
      const Text name = text.substr(i + 1, end - i - 1);
      const std::size_t opening = is_text_command(name) ? skip(text, end, U" \t\n\r\f\v") : text.size();
      if (opening < text.size() && text[opening] == U'{') {
        braces.push_back(true);
        out.push_back(U' ');
        i = opening + 1;
      } else if (is_dropped_command(name)) {
        out.push_back(U' ');
        i = end;
      } else if (!name.empty()) {
        out.append(text.substr(i, end - i));
        i = end;
      } else {
        i += 2;
        if (text[i - 1] == U'!' && out.ends_with(U',')) {  // 11,\! 111 is one number
          i = skip(text, i, U" \t\n\r\f\v");
          continue;
        }
        add_escaped(text[i - 1], text.substr(i, 4), out);
      }
      continue;
    }
    if (text.substr(i).starts_with(U"{,}")) {
      out.push_back(U',');
      i += 3;
      continue;
    }
    bool commanded = false;
    if (c == U'{') braces.push_back(false);
    if (c == U'}' && !braces.empty()) {
      commanded = braces.back();
      braces.pop_back();
    }
    out.push_back(commanded ? U' ' : c);
    ++i;
  }
  return out;
}

// Letters and digits, which are around no answer.
bool is_plain(char32_t c) { return is_ascii_letter(c) || (c >= U'0' && c <= U'9'); }

// The text without white space and one layer of what is around it.
Text unwrapped(Text text) {
  struct Pair {
    Text open, close;
  };
  static constexpr Pair kPairs[] = {{U"**", U"**"}, {U"*", U"*"}, {U"\"", U"\""},   {U"'", U"'"},    {U"`", U"`"},
                                    {U"$$", U"$$"}, {U"$", U"$"}, {U"\\(", U"\\)"}, {U"\\[", U"\\]"}};
  text = strip_space(text);
  if (!text.empty() && is_plain(text.front()) && is_plain(text.back())) return text;  // most answers
  if (text.size() >= 6 && text.starts_with(U"```") && text.ends_with(U"```")) {
    const Text inner = text.substr(3, text.size() - 6);
    return inner.find(U'\n') != Text::npos ? inner.substr(letters_end(inner, 0)) : inner;
  }
  for (const auto& [open, close] : kPairs) {
    if (text.size() < open.size() + close.size() || !text.starts_with(open) || !text.ends_with(close)) continue;
    const Text inner = text.substr(open.size(), text.size() - open.size() - close.size());
    if (inner.find(open) == Text::npos && inner.find(close) == Text::npos) return inner;
  }
  if (text.empty()) return text;
  if (text.starts_with(U'*') != text.ends_with(U'*')) {
    const std::size_t begin = text.find_first_not_of(U'*');
    return begin == Text::npos ? Text() : text.substr(begin, text.find_last_not_of(U'*') + 1 - begin);
  }
  const char32_t last = text.back();
  if ((last == U'.' || last == U',' || last == U';') && (text.size() < 2 || text[text.size() - 2] != last)) {
    return text.substr(0, text.size() - 1);
  }
  if (text.starts_with(U'=') && !text.starts_with(U"==")) return text.substr(1);
  return text;
}

}  // namespace

std::u32string_view strip_space(std::u32string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

std::size_t skip(std::u32string_view text, std::size_t i, std::u32string_view characters) {
  while (i < text.size() && characters.find(text[i]) != Text::npos) ++i;
  return i;
}

std::size_t letters_end(std::u32string_view text, std::size_t i) {
  while (i < text.size() && is_ascii_letter(text[i])) ++i;
  return i;
}

bool equals_lower(std::u32string_view text, std::u32string_view known) {
  return std::equal(text.begin(), text.end(), known.begin(), known.end(),
                    [](char32_t a, char32_t b) { return ascii_lower(a) == b; });
}

void find_boxes(std::string_view text, std::vector<std::pair<std::size_t, std::size_t>>& found) {
  constexpr std::string_view kBoxed = "\\boxed{", kFramed = "\\fbox{";
  constexpr std::size_t kNowhere = std::string_view::npos;
  std::size_t i = 0;
  // Each opener is looked for anew only once it is passed: the search stays linear.
  std::size_t boxed = text.find(kBoxed), framed = text.find(kFramed);
  while (true) {
    if (boxed != kNowhere && boxed < i) boxed = text.find(kBoxed, i);
    if (framed != kNowhere && framed < i) framed = text.find(kFramed, i);
    if (boxed == kNowhere && framed == kNowhere) return;
    const std::size_t begin = boxed < framed ? boxed + kBoxed.size() : framed + kFramed.size();
    std::size_t depth = 1;
    for (i = begin; depth > 0; ++i) {
      if (i >= text.size()) return;
      if (text[i] == '\\') {
        ++i;
      } else if (text[i] == '{') {
        ++depth;
      } else if (text[i] == '}') {
        --depth;
      }
    }
    found.emplace_back(begin, i - 1);
  }
}

Reason commit(std::string_view text, Box box, std::string_view& chosen) {
  chosen = text;
  if (text.find("box") == std::string_view::npos) return Reason::ok;
  std::vector<std::pair<std::size_t, std::size_t>> boxes;
  find_boxes(text, boxes);
  if (boxes.empty()) return Reason::ok;
  const auto body = [&](const auto& at) { return strip_bytes(text.substr(at.first, at.second - at.first)); };
  chosen = body(boxes.back());
  const bool same = std::all_of(boxes.begin(), boxes.end(), [&](const auto& at) { return body(at) == chosen; });
  return box == Box::last || same ? Reason::ok : Reason::ambiguous;
}

std::u32string narrow(std::u32string_view text) {
  if (is_ascii(text)) return std::u32string(text);
  std::u32string out;
  out.reserve(text.size());
  for (const char32_t c : text) {
    if (c < 0x80) {
      out.push_back(c);
    } else if (c >= 0xFF01 && c <= 0xFF5E) {
      out.push_back(c - 0xFEE0);
    } else if (c == 0xAD || (c >= 0x200B && c <= 0x200D) || c == 0x2060 || c == 0xFEFF) {
      continue;
    } else if ((c >= 0x2010 && c <= 0x2013) || c == 0x2212 || c == 0xFE63) {
      out.push_back(U'-');
    } else if (c == 0x2014 || c == 0x2015) {
      out.append(U" - ");
    } else if ((c >= 0x2018 && c <= 0x201B) || c == 0x2BC) {
      out.push_back(U'\'');
    } else if (c >= 0x201C && c <= 0x201F) {
      out.push_back(U'"');
    } else if (c == 0xA0 || (c >= 0x2000 && c <= 0x200A) || c == 0x202F || c == 0x205F || c == 0x3000) {
      out.push_back(U' ');
    } else if (c == 0x3002 || c == 0xFF61) {
      out.push_back(U'.');
    } else {
      out.push_back(c == 0x3001 ? U',' : c == 0x2044 ? U'/' : c);
    }
  }
  return out;
}

void normal(std::u32string_view text, std::u32string& out) {
  std::u32string narrowed, shown;
  Text inner = text;
  char32_t bits = 0;
  bool may_be_latex = false;
  for (const char32_t c : text) {
    bits |= c;
    may_be_latex = may_be_latex || c == U'\\' || c == U'{';
  }
  if (bits >= 0x80) {
    inner = narrowed = narrow(text);
    may_be_latex = inner.find_first_of(U"\\{") != Text::npos;
  }
  if (may_be_latex) inner = shown = plain_latex(inner);
  for (int round = 0; round < kRounds; ++round) {
    const Text next = unwrapped(inner);
    if (next.size() == inner.size()) break;
    inner = next;
  }
  out.assign(inner);
}

std::u32string normal(std::u32string_view text) {
  std::u32string out;
  normal(text, out);
  return out;
}

Reason read_text(std::string_view text, Box box, std::u32string& out) {
  std::string_view chosen;
  const Reason reason = commit(strip_bytes(text), box, chosen);
  if (reason != Reason::ok) return reason;
  thread_local std::u32string decoded;
  decode_utf8(chosen, decoded);
  normal(unexplained(decoded), out);
  const std::u32string value = object_answer(out);
  std::u32string inner = value.empty() ? value : normal(value);
  if (!inner.empty()) out = std::move(inner);
  return Reason::ok;
}

}  // namespace mixed_r1::verify
