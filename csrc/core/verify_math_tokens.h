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
  plus,
  minus,
  times,
  over,
  caret,
  comma,
  equals,
  element,
  cup,
  percent,
  degree,
  infinity,
  pi,
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
  std::u32string_view text;

  bool is_whole() const;  // digits only
};

// `text` without what may surround an answer: quotes, dollar signs, \( \), \[ \], a full stop, then one \boxed{ }.
std::u32string math_body(std::u32string_view text);

// "{,}" as ",".
std::u32string without_separators(std::u32string_view body);

// Throws Unreadable (too_many_items). The tokens view `body`.
std::vector<MathToken> math_tokens(std::u32string_view body);

}  // namespace mixed_r1::verify
