#include "core/verify_math_tokens.h"

#include <algorithm>

#include "core/verify_number.h"
#include "core/verify_unicode.h"

namespace mixed_r1::verify {

namespace {

using Text = std::u32string_view;

constexpr std::size_t kMaxTokens = 512;

struct Known {
  Text text;
  TokenKind kind;
};

constexpr Known kKnown[] = {
    {U"+", TokenKind::plus},
    {U"-", TokenKind::minus},
    {U"*", TokenKind::times},
    {U"\\cdot", TokenKind::times},
    {U"\\times", TokenKind::times},
    {U"/", TokenKind::over},
    {U"\\div", TokenKind::over},
    {U"^", TokenKind::caret},
    {U"**", TokenKind::caret},
    {U",", TokenKind::comma},
    {U"=", TokenKind::equals},
    {U"\\in", TokenKind::element},
    {U"\\cup", TokenKind::cup},
    {U"%", TokenKind::percent},
    {U"\\%", TokenKind::percent},
    {U"\\circ", TokenKind::degree},
    {U"\\degree", TokenKind::degree},
    {U"\u00b0", TokenKind::degree},
    {U"\\infty", TokenKind::infinity},
    {U"\u221e", TokenKind::infinity},
    {U"\\pi", TokenKind::pi},
    {U"\u03c0", TokenKind::pi},
    {U"pi", TokenKind::pi},
    {U"\\frac", TokenKind::fraction},
    {U"\\dfrac", TokenKind::fraction},
    {U"\\tfrac", TokenKind::fraction},
    {U"\\sqrt", TokenKind::root},
    {U"sqrt", TokenKind::root},
    {U"\u221a", TokenKind::root},
    {U"(", TokenKind::open_round},
    {U")", TokenKind::close_round},
    {U"[", TokenKind::open_square},
    {U"]", TokenKind::close_square},
    {U"{", TokenKind::open_brace},
    {U"}", TokenKind::close_brace},
    {U"\\{", TokenKind::open_set},
    {U"\\}", TokenKind::close_set},
    {U"\\left", TokenKind::ignored},
    {U"\\right", TokenKind::ignored},
    {U"\\!", TokenKind::ignored},
    {U"\\,", TokenKind::ignored},
    {U"\\;", TokenKind::ignored},
    {U"\\:", TokenKind::ignored},
    {U"\\ ", TokenKind::ignored},
    {U"~", TokenKind::ignored},
    {U"\\displaystyle", TokenKind::ignored},
};

bool is_ascii_letter(char32_t c) { return ascii_lower(c) >= U'a' && ascii_lower(c) <= U'z'; }

TokenKind kind_of(Text token) {
  for (const Known& known : kKnown) {
    if (known.text == token) return known.kind;
  }
  return token.size() == 1 && is_ascii_letter(token[0]) ? TokenKind::letter : TokenKind::unknown;
}

bool is_wrapper(char32_t c) { return Text(U"\"'`*$").find(c) != Text::npos || is_space(c); }

Text unwrap(Text text) {
  while (!text.empty() && is_wrapper(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_wrapper(text.back())) text.remove_suffix(1);
  return text;
}

Text without_delimiters(Text text, Text open, Text close) {
  const bool delimited = text.size() >= 4 && text.starts_with(open) && text.ends_with(close);
  return delimited ? text.substr(2, text.size() - 4) : text;
}

std::size_t letters_end(Text text, std::size_t i) {
  while (i < text.size() && is_ascii_letter(text[i])) ++i;
  return i;
}

// The end of the token at i that is no decimal.
std::size_t token_end(Text text, std::size_t i) {
  if (text[i] == U'\\') return std::max(letters_end(text, i + 1), std::min(i + 2, text.size()));
  if (text.substr(i).starts_with(U"**")) return i + 2;
  return std::max(i + 1, letters_end(text, i));
}

}  // namespace

bool MathToken::is_whole() const {
  return kind == TokenKind::decimal && std::all_of(text.begin(), text.end(), is_digit);
}

std::u32string math_body(std::u32string_view text) {
  const std::u32string narrowed = narrow(text);
  Text body = unwrap(narrowed);
  body = without_delimiters(body, U"\\(", U"\\)");
  body = without_delimiters(body, U"\\[", U"\\]");
  body = unwrap(body);
  if (body.ends_with(U'.') && !body.ends_with(U"..")) {
    body.remove_suffix(1);
    while (!body.empty() && is_wrapper(body.back())) body.remove_suffix(1);
  }
  return std::u32string(unwrap(unboxed(body)));
}

std::u32string without_separators(std::u32string_view body) {
  std::u32string out;
  for (std::size_t i = 0; i < body.size(); ++i) {
    const bool separator = body.substr(i).starts_with(U"{,}");
    out.push_back(separator ? U',' : body[i]);
    if (separator) i += 2;
  }
  return out;
}

std::vector<MathToken> math_tokens(std::u32string_view body) {
  std::vector<MathToken> tokens;
  int depth = 0;
  for (std::size_t i = 0; i < body.size();) {
    if (is_space(body[i])) {
      ++i;
      continue;
    }
    const bool number = is_digit(body[i]) || (body[i] == U'.' && i + 1 < body.size() && is_digit(body[i + 1]));
    const std::size_t end = number ? i + read_decimal(body.substr(i), depth == 0).length : token_end(body, i);
    const Text text = body.substr(i, end - i);
    const TokenKind kind = number ? TokenKind::decimal : kind_of(text);
    depth += kind == TokenKind::open_round || kind == TokenKind::open_square || kind == TokenKind::open_brace ||
             kind == TokenKind::open_set;
    depth -= kind == TokenKind::close_round || kind == TokenKind::close_square || kind == TokenKind::close_brace ||
             kind == TokenKind::close_set;
    if (kind != TokenKind::ignored) tokens.push_back({kind, text});
    if (tokens.size() > kMaxTokens) throw Unreadable{Reason::too_many_items};
    i = end;
  }
  return tokens;
}

}  // namespace mixed_r1::verify
