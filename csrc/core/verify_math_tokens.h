// Tokens of math answers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/verify_reason.h"

namespace mixed_r1::verify {

// Not an expression of the grammar, or beyond its limits.
struct Unreadable {
  Reason reason;
};

enum class TokenKind {
  end,
  decimal,
  letter,
  word,
  plus,
  minus,
  plus_minus,
  times,
  over,
  caret,
  comma,
  either,  // "or"
  both,    // "and"
  equals,
  approx,
  element,
  cup,
  less,
  less_equal,
  greater,
  greater_equal,
  colon,
  underscore,
  percent,
  degree,
  infinity,
  pi,
  overline,
  function,  // or an accent; in names only
  bar,
  fraction,
  root,
  open_round,
  close_round,
  open_square,
  close_square,
  open_brace,
  close_brace,
  open_set,
  close_set,
  ignored,
  unknown,
};

struct MathToken {
  TokenKind kind;
  std::u32string_view text;  // of a letter, the letter itself where it was written as a command
  std::size_t begin = 0;     // in the text

  bool is_whole() const;  // digits only
};

// Throws Unreadable (too_many_items). The tokens view `text`.
std::vector<MathToken> math_tokens(std::u32string_view text);

bool opens(TokenKind kind);
bool closes(TokenKind kind);

}  // namespace mixed_r1::verify
