// The parser of math answers; the grammar is in reference_math.py.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/verify_algebra.h"
#include "core/verify_math.h"
#include "core/verify_math_tokens.h"

namespace mixed_r1::verify {

bool same_items(const std::vector<MathPart>& a, const std::vector<MathPart>& b);

// Recursive descent over tokens. Throws Unreadable and NotNative.
class MathParser {
 public:
  MathParser(std::u32string_view text, const std::vector<MathToken>& tokens, bool units, bool ordered);

  MathValue answer();

  // Makes "x = 2, y = -3", which was read, a tuple in the order of the letters; false for anything else.
  bool name(MathValue& value) const;

 private:
  // How an expression is written: a decimal, with signs and brackets; 10^n; else.
  enum class Form { number, ten_power, other };
  using Parts = std::vector<MathPart>;

  // Structure: statements, sides, parts.
  Parts listed(const Parts& parts, bool both) const;
  Parts statement(bool& is_value);
  void skip_point();
  std::size_t name_end() const;
  std::size_t long_name_end() const;
  std::size_t subscript_end(std::size_t i) const;
  std::size_t group_end(std::size_t i) const;
  Parts side();
  void take_unit();
  Parts part();
  bool holds_comma() const;
  MathPart inequality(const Parts& first);
  MathItem item();

  // Expressions.
  Real sum();
  Real signed_product();
  bool is_unit_here() const;
  void worked_out(const Real& result);
  Real quotient(const Real& top, Form form, const Real& bottom);
  Real power();
  bool is_temperature() const;
  Real exponent();
  Real group();
  Real atom();
  Real symbol();
  Real numeral();
  Real repeating(const MathToken& token, const Real& value);
  Real fraction(bool& whole);
  bool is_whole_group() const;
  Real root();
  Real argument();
  Real decimal();

  TokenKind kind_at(std::size_t i) const { return i < tokens_.size() ? tokens_[i].kind : TokenKind::end; }
  TokenKind kind(std::size_t ahead = 0) const { return kind_at(at_ + ahead); }
  bool is_whole(std::size_t ahead = 0) const { return at_ + ahead < tokens_.size() && tokens_[at_ + ahead].is_whole(); }
  bool is_separator() const;
  bool is_relation() const;
  bool starts_atom() const;
  void expect(TokenKind expected);
  bool skip_if(TokenKind wanted);
  [[noreturn]] static void fail() { throw Unreadable{Reason::no_number}; }

  std::u32string_view text_;
  const std::vector<MathToken>& tokens_;
  bool units_, ordered_;
  std::size_t at_ = 0;
  int depth_ = 0;
  bool is_value_ = true;     // of the side that is being read
  Form form_ = Form::other;  // of the expression read last
  bool percent_ = false;
  std::vector<char32_t> names_;    // of each statement, 0 where it is no one letter
  std::vector<MathItem> numbers_;  // of each statement that is one
  bool either_ = false;            // an "or" was met
  std::u32string unit_;
  bool minus_ = false;     // what \pm means
  bool has_sign_ = false;  // a \pm was met
  Arithmetic real_;
};

}  // namespace mixed_r1::verify
