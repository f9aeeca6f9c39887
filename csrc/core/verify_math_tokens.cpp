#include "core/verify_math_tokens.h"

#include <algorithm>

#include "core/verify_number.h"
#include "core/verify_reading.h"
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
    {U"\\pm", TokenKind::plus_minus},
    {U"\u00b1", TokenKind::plus_minus},
    {U"*", TokenKind::times},
    {U"\\ast", TokenKind::times},
    {U"\\cdot", TokenKind::times},
    {U"\\times", TokenKind::times},
    {U"\u00d7", TokenKind::times},
    {U"\u00b7", TokenKind::times},
    {U"\u22c5", TokenKind::times},
    {U"/", TokenKind::over},
    {U"\\div", TokenKind::over},
    {U"\u00f7", TokenKind::over},
    {U"\u2215", TokenKind::over},
    {U"^", TokenKind::caret},
    {U"**", TokenKind::caret},
    {U",", TokenKind::comma},
    {U"or", TokenKind::either},
    {U"\\lor", TokenKind::either},
    {U"and", TokenKind::both},
    {U"=", TokenKind::equals},
    {U"\\approx", TokenKind::approx},
    {U"\\simeq", TokenKind::approx},
    {U"\u2248", TokenKind::approx},
    {U"\\in", TokenKind::element},
    {U"\u2208", TokenKind::element},
    {U"\\cup", TokenKind::cup},
    {U"\u222a", TokenKind::cup},
    {U"<", TokenKind::less},
    {U"\\lt", TokenKind::less},
    {U"<=", TokenKind::less_equal},
    {U"\\le", TokenKind::less_equal},
    {U"\\leq", TokenKind::less_equal},
    {U"\\leqslant", TokenKind::less_equal},
    {U"\u2264", TokenKind::less_equal},
    {U">", TokenKind::greater},
    {U"\\gt", TokenKind::greater},
    {U">=", TokenKind::greater_equal},
    {U"\\ge", TokenKind::greater_equal},
    {U"\\geq", TokenKind::greater_equal},
    {U"\\geqslant", TokenKind::greater_equal},
    {U"\u2265", TokenKind::greater_equal},
    {U":", TokenKind::colon},
    {U"\\colon", TokenKind::colon},
    {U"\u2236", TokenKind::colon},
    {U"_", TokenKind::underscore},
    {U"%", TokenKind::percent},
    {U"\\%", TokenKind::percent},
    {U"percent", TokenKind::percent},
    {U"percentage", TokenKind::percent},
    {U"pct", TokenKind::percent},
    {U"\\circ", TokenKind::degree},
    {U"\\degree", TokenKind::degree},
    {U"\u00b0", TokenKind::degree},
    {U"\\infty", TokenKind::infinity},
    {U"\u221e", TokenKind::infinity},
    {U"\\pi", TokenKind::pi},
    {U"\u03c0", TokenKind::pi},
    {U"pi", TokenKind::pi},
    {U"\\overline", TokenKind::overline},
    {U"\\dot", TokenKind::overline},
    {U"\\frac", TokenKind::fraction},
    {U"\\dfrac", TokenKind::fraction},
    {U"\\tfrac", TokenKind::fraction},
    {U"\\cfrac", TokenKind::fraction},
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
    {U"\\lbrace", TokenKind::open_set},
    {U"\\}", TokenKind::close_set},
    {U"\\rbrace", TokenKind::close_set},
    {U"\\left", TokenKind::ignored},
    {U"\\right", TokenKind::ignored},
    {U"\\big", TokenKind::ignored},
    {U"\\Big", TokenKind::ignored},
    {U"\\bigl", TokenKind::ignored},
    {U"\\bigr", TokenKind::ignored},
    {U"$", TokenKind::ignored},
    {U"\\angle", TokenKind::ignored},
    {U"\\triangle", TokenKind::ignored},
    {U"\u2220", TokenKind::ignored},
    {U"\u25b3", TokenKind::ignored},
    {U"|", TokenKind::bar},
    {U"\\lvert", TokenKind::function},
    {U"\\rvert", TokenKind::function},
    {U"\\vec", TokenKind::function},
    {U"\\overrightarrow", TokenKind::function},
    {U"\\bar", TokenKind::function},
    {U"\\hat", TokenKind::function},
    {U"\\widehat", TokenKind::function},
    {U"\\sin", TokenKind::function},
    {U"\\cos", TokenKind::function},
    {U"\\tan", TokenKind::function},
    {U"\\cot", TokenKind::function},
    {U"\\sec", TokenKind::function},
    {U"\\csc", TokenKind::function},
};

constexpr Known kGreek[] = {{U"\\alpha", {}},   {U"\\beta", {}}, {U"\\gamma", {}}, {U"\\delta", {}}, {U"\\epsilon", {}},
                            {U"\\zeta", {}},    {U"\\eta", {}},  {U"\\theta", {}}, {U"\\iota", {}},  {U"\\kappa", {}},
                            {U"\\lambda", {}},  {U"\\mu", {}},   {U"\\nu", {}},    {U"\\xi", {}},    {U"\\omicron", {}},
                            {U"", {}},          {U"\\rho", {}},  {U"", {}},        {U"\\sigma", {}}, {U"\\tau", {}},
                            {U"\\upsilon", {}}, {U"\\phi", {}},  {U"\\chi", {}},   {U"\\psi", {}},   {U"\\omega", {}}};
constexpr Text kGreekLetters =
    U"\u03b1\u03b2\u03b3\u03b4\u03b5\u03b6\u03b7\u03b8\u03b9\u03ba\u03bb\u03bc\u03bd\u03be\u03bf\u03c0\u03c1\u03c2"
    U"\u03c3\u03c4\u03c5\u03c6\u03c7\u03c8\u03c9";

// A Greek letter that is a variable, as itself; empty for any other token.
Text greek(Text token) {
  if (token == U"\\varphi") return kGreekLetters.substr(21, 1);
  if (token == U"\\varepsilon") return kGreekLetters.substr(4, 1);
  for (std::size_t i = 0; i < std::size(kGreek); ++i) {
    if (kGreek[i].text.empty()) continue;  // pi, and the second sigma
    if (token == kGreek[i].text || token == kGreekLetters.substr(i, 1)) return kGreekLetters.substr(i, 1);
  }
  return {};
}

bool is_ascii_letter(char32_t c) { return ascii_lower(c) >= U'a' && ascii_lower(c) <= U'z'; }

MathToken make(Text token, std::size_t begin) {
  for (const Known& known : kKnown) {
    if (known.text == token) return {known.kind, token, begin};
  }
  if (const Text letter = greek(token); !letter.empty()) return {TokenKind::letter, letter, begin};
  if (!std::all_of(token.begin(), token.end(), is_ascii_letter)) return {TokenKind::unknown, token, begin};
  return {token.size() == 1 ? TokenKind::letter : TokenKind::word, token, begin};
}

// "\u00bd" and its like as a fraction, "\u00b2" as a power; false for any other token.
bool add_spelled(char32_t c, std::size_t begin, std::vector<MathToken>& tokens) {
  struct Spelled {
    char32_t character;
    Text top, bottom;
  };
  static constexpr Spelled kFractions[] = {
      {0xBD, U"1", U"2"},   {0x2153, U"1", U"3"}, {0x2154, U"2", U"3"}, {0xBC, U"1", U"4"},   {0xBE, U"3", U"4"},
      {0x2155, U"1", U"5"}, {0x2156, U"2", U"5"}, {0x2157, U"3", U"5"}, {0x2158, U"4", U"5"}, {0x2159, U"1", U"6"},
      {0x215A, U"5", U"6"}, {0x215B, U"1", U"8"}, {0x215C, U"3", U"8"}, {0x215D, U"5", U"8"}, {0x215E, U"7", U"8"}};
  static constexpr Spelled kPowers[] = {{0xB2, U"2", {}}, {0xB3, U"3", {}}, {0xB9, U"1", {}}};
  for (const auto& [character, top, bottom] : kFractions) {
    if (c != character) continue;
    for (const Text part : {Text(U"\\frac"), Text(U"{"), top, Text(U"}"), Text(U"{"), bottom, Text(U"}")}) {
      tokens.push_back(is_digit(part[0]) ? MathToken{TokenKind::decimal, part, begin} : make(part, begin));
    }
    return true;
  }
  for (const auto& [character, power, none] : kPowers) {
    if (c != character) continue;
    tokens.push_back({TokenKind::caret, U"^", begin});
    tokens.push_back({TokenKind::decimal, power, begin});
    return true;
  }
  return false;
}

// The end of the token at i that is no decimal.
std::size_t token_end(Text text, std::size_t i) {
  if (text[i] == U'\\') return std::max(letters_end(text, i + 1), std::min(i + 2, text.size()));
  const Text rest = text.substr(i);
  if (rest.starts_with(U"**") || rest.starts_with(U"<=") || rest.starts_with(U">=")) return i + 2;
  return std::max(i + 1, letters_end(text, i));
}

}  // namespace

bool MathToken::is_whole() const {
  return kind == TokenKind::decimal && std::all_of(text.begin(), text.end(), is_digit);
}

bool opens(TokenKind kind) {
  return kind == TokenKind::open_round || kind == TokenKind::open_square || kind == TokenKind::open_brace ||
         kind == TokenKind::open_set;
}

bool closes(TokenKind kind) {
  return kind == TokenKind::close_round || kind == TokenKind::close_square || kind == TokenKind::close_brace ||
         kind == TokenKind::close_set;
}

std::vector<MathToken> math_tokens(std::u32string_view text) {
  std::vector<MathToken> tokens;
  int depth = 0;
  for (std::size_t i = 0; i < text.size();) {
    if (is_space(text[i])) {
      ++i;
      continue;
    }
    const bool number = is_digit(text[i]) || (text[i] == U'.' && i + 1 < text.size() && is_digit(text[i + 1]));
    const std::size_t end = number ? i + read_decimal(text.substr(i), depth == 0).length : token_end(text, i);
    const Text written = text.substr(i, end - i);
    if (!number && written.size() == 1 && add_spelled(written[0], i, tokens)) {
      if (tokens.size() > kMaxTokens) throw Unreadable{Reason::too_many_items};
      i = end;
      continue;
    }
    const MathToken token = number ? MathToken{TokenKind::decimal, written, i} : make(written, i);
    // Brackets count as they are written: "\lbrace" opens none.
    const bool plain_bracket = written != U"\\lbrace" && written != U"\\rbrace";
    depth += opens(token.kind) && plain_bracket;
    depth -= closes(token.kind) && plain_bracket;
    const bool tie = written == U"~" && i > 0;
    if (token.kind != TokenKind::ignored && !tie) tokens.push_back(token);
    if (tokens.size() > kMaxTokens) throw Unreadable{Reason::too_many_items};
    i = end;
  }
  return tokens;
}

}  // namespace mixed_r1::verify
