// The expressions of math answers: sums, products, powers, fractions, roots and decimals.
#include <algorithm>
#include <string>

#include "core/verify_math_parser.h"
#include "core/verify_number.h"
#include "core/verify_unicode.h"
#include "core/verify_units.h"

namespace mixed_r1::verify {

namespace {

constexpr int kMaxNesting = 32;
constexpr std::size_t kMaxDigits = 100, kMaxRepeating = 20;

Real read_decimal_token(std::u32string_view token) {
  const Decimal decimal = read_decimal(token, true);
  if (decimal.digits.empty() || decimal.length < token.size()) throw Unreadable{Reason::no_number};
  std::string mantissa = decimal.digits;
  std::string exponent;
  if (const std::size_t e = mantissa.find('e'); e != std::string::npos) {
    exponent = mantissa.substr(e + 1);
    mantissa.resize(e);
  }
  // The reference writes every number as whole.fraction before it counts characters.
  const std::size_t point = mantissa.find('.');
  const std::size_t written = decimal.digits.size() + (point == std::string::npos ? 2 : 0);
  if (written > kMaxDigits || exponent.size() > 4) throw NotNative();
  const int shift = exponent.empty() ? 0 : std::stoi(exponent);
  if (shift > static_cast<int>(kMaxDigits) || shift < -static_cast<int>(kMaxDigits)) throw NotNative();
  int scale = shift;
  if (point != std::string::npos) {
    scale -= static_cast<int>(mantissa.size() - point - 1);
    mantissa.erase(point, 1);
  }
  const Natural digits = Natural::from_digits(mantissa);
  const Natural power = Natural::power_of(10, static_cast<std::uint64_t>(std::abs(scale)));
  if (digits.is_zero()) return {};
  return rational(scale < 0 ? Rational(false, digits, power) : Rational(false, digits.times(power), Natural(1)));
}

}  // namespace

Real MathParser::sum() {
  if (++depth_ > kMaxNesting) throw Unreadable{Reason::too_deep};
  Real total = signed_product();
  while (kind() == TokenKind::plus || kind() == TokenKind::minus || kind() == TokenKind::plus_minus) {
    const Real term = signed_product();
    const bool alike =
        std::any_of(term.begin(), term.end(), [&](const auto& entry) { return total.contains(entry.first); });
    is_value_ = is_value_ && !(alike || total.empty() || term.empty());
    total = Arithmetic::add(total, term);
    form_ = Form::other;
  }
  --depth_;
  return total;
}

Real MathParser::signed_product() {
  bool negative = kind() == TokenKind::minus;
  if (kind() == TokenKind::plus_minus) {
    has_sign_ = true;
    negative = minus_;
  }
  if (negative || kind() == TokenKind::plus || kind() == TokenKind::plus_minus) ++at_;
  std::size_t last = at_;
  Real product = power();
  while (true) {
    const Form form = form_;
    if (skip_if(TokenKind::over)) {
      last = at_;
      const Real divisor = power();
      product = quotient(product, form, divisor);
      continue;
    }
    if (!skip_if(TokenKind::times)) {
      if (kind() == TokenKind::letter) {
        if (is_unit_here()) break;
        if (kind_at(last) == TokenKind::letter) throw NotNative();
      } else if (!starts_atom()) {
        break;
      }
    }
    last = at_;
    product = real_.multiply(product, power());
    if (form != Form::number || form_ != Form::ten_power) worked_out(product);
    form_ = Form::other;
  }
  return negative ? Arithmetic::negate(product) : product;
}

bool MathParser::starts_atom() const {
  const TokenKind k = kind();
  return k == TokenKind::open_round || k == TokenKind::open_brace || k == TokenKind::pi || k == TokenKind::root ||
         k == TokenKind::fraction;
}

bool MathParser::is_unit_here() const {
  const std::size_t begin = tokens_[at_].begin;
  return units_ && begin > 0 && text_[begin - 1] == U' ' && !unit_name(text_.substr(begin)).empty();
}

void MathParser::worked_out(const Real& result) {
  is_value_ = is_value_ && !is_rational(result);
  form_ = Form::other;
}

// top / bottom, which was read last: of two numbers a fraction, where it is not whole or over 1.
Real MathParser::quotient(const Real& top, Form form, const Real& bottom) {
  Real result = real_.divide(top, bottom);
  if (form != Form::number || form_ != Form::number) {
    worked_out(result);
    return result;
  }
  is_value_ = is_value_ && (!verify::is_whole(result) || bottom == rational(Rational(1)));
  form_ = Form::other;
  return result;
}

Real MathParser::power() {
  const bool ten = kind() == TokenKind::decimal && tokens_[at_].text == U"10" && kind(1) == TokenKind::caret;
  Real value = atom();
  if (is_temperature()) return value;
  if (skip_if(TokenKind::caret)) {
    if (kind() == TokenKind::open_brace && kind(1) == TokenKind::degree && kind(2) == TokenKind::close_brace) {
      at_ += 3;
    } else if (!skip_if(TokenKind::degree)) {
      const Real power = exponent();
      const bool scientific = ten && form_ == Form::number && verify::is_whole(power);
      value = real_.power(value, power);
      if (scientific) {
        form_ = Form::ten_power;
      } else {
        worked_out(value);
      }
    }
  }
  if (skip_if(TokenKind::degree)) return value;
  if (!skip_if(TokenKind::percent)) return value;
  percent_ = true;
  return real_.divide(value, rational(Rational(100)));
}

bool MathParser::is_temperature() const {
  const bool degrees = kind() == TokenKind::degree || kind(1) == TokenKind::degree || kind(2) == TokenKind::degree;
  if (!units_ || !degrees) return false;
  const std::u32string name = unit_name(text_.substr(tokens_[at_].begin));
  return name == U"\u00b0c" || name == U"\u00b0f";
}

Real MathParser::exponent() {
  if (kind() == TokenKind::open_round || kind() == TokenKind::open_brace) return group();
  const bool negative = skip_if(TokenKind::minus);
  const Real value = decimal();
  return negative ? Arithmetic::negate(value) : value;
}

Real MathParser::group() {
  const bool round = kind() == TokenKind::open_round;
  expect(round ? TokenKind::open_round : TokenKind::open_brace);
  Real value = sum();
  expect(round ? TokenKind::close_round : TokenKind::close_brace);
  return value;
}

Real MathParser::atom() {
  bool whole = false;
  switch (kind()) {
    case TokenKind::decimal:
      return numeral();
    case TokenKind::fraction:
      return fraction(whole);
    case TokenKind::root:
      return root();
    case TokenKind::pi:
    case TokenKind::letter:
      return symbol();
    default:
      return group();
  }
}

Real MathParser::symbol() {
  const MathToken& token = tokens_[at_++];
  form_ = Form::other;
  return token.kind == TokenKind::pi ? pi() : variable(token.text[0]);
}

Real MathParser::numeral() {
  const MathToken& token = tokens_[at_];
  const Real value = decimal();
  if (kind() == TokenKind::overline && token.text.find(U'.') != std::u32string_view::npos) {
    return repeating(token, value);
  }
  if (!token.is_whole()) return value;
  const bool braced = kind() == TokenKind::open_brace && kind(1) == TokenKind::fraction;
  if (braced || kind() == TokenKind::fraction) {
    at_ += braced ? 1 : 0;
    bool mixed = false;
    const Real part = fraction(mixed);
    if (braced) expect(TokenKind::close_brace);
    if (mixed) {
      if (!is_proper(part)) fail();
      return Arithmetic::add(value, part);
    }
    Real product = real_.multiply(value, part);
    worked_out(product);
    return product;
  }
  if (is_whole() && kind(1) == TokenKind::over && is_whole(2)) {  // 2 1/3, in one line
    if (text_.substr(token.begin, tokens_[at_].begin - token.begin).find(U'\n') != std::u32string_view::npos) fail();
    const Real top = decimal();
    ++at_;
    const Real bottom = decimal();
    const Real part = quotient(top, Form::number, bottom);
    if (!is_proper(part)) fail();
    return Arithmetic::add(value, part);
  }
  return value;
}

Real MathParser::repeating(const MathToken& token, const Real& value) {
  ++at_;
  const bool braced = skip_if(TokenKind::open_brace);
  if (kind() == TokenKind::end) fail();
  const MathToken& digits = tokens_[at_++];
  if (braced) expect(TokenKind::close_brace);
  const std::size_t places = token.text.size() - token.text.find(U'.') - 1;
  if (!digits.is_whole() || digits.text.size() + places > kMaxRepeating) fail();
  const std::string written(digits.text.begin(), digits.text.end());
  const Natural nines = Natural::from_digits(std::string(written.size(), '9'));
  const Natural shift = Natural::power_of(10, places);
  const Natural top = Natural::from_digits(written);
  if (top.is_zero()) return value;
  return Arithmetic::add(value, rational(Rational(false, top, nines.times(shift))));
}

// \frac{a}{b}, or \frac12, where each digit is an argument; `whole`: both are digits.
Real MathParser::fraction(bool& whole) {
  expect(TokenKind::fraction);
  Real top;
  if (kind() != TokenKind::decimal) {
    whole = is_whole_group();
    top = argument();
  } else {
    const MathToken& token = tokens_[at_];
    if (!token.is_whole() || token.text.size() > 2) fail();
    whole = true;
    if (token.text.size() == 2) {
      ++at_;
      form_ = Form::number;
      return quotient(read_decimal_token(token.text.substr(0, 1)), Form::number,
                      read_decimal_token(token.text.substr(1)));
    }
    top = decimal();
  }
  const Form form = form_;
  whole = whole && (is_whole_group() || is_whole());
  const Real bottom = argument();
  return quotient(top, form, bottom);
}

bool MathParser::is_whole_group() const {
  return kind() == TokenKind::open_brace && is_whole(1) && kind(2) == TokenKind::close_brace;
}

Real MathParser::root() {
  ++at_;
  std::uint64_t degree = 2;
  if (skip_if(TokenKind::open_square)) {
    if (!is_whole() || tokens_[at_].text.size() > 2) fail();
    degree = 0;
    for (const char32_t c : tokens_[at_].text) degree = degree * 10 + (c - U'0');
    ++at_;
    expect(TokenKind::close_square);
  }
  if (is_whole() && tokens_[at_].text.size() > 1) {  // \sqrt23 is 3 times \sqrt2
    const std::u32string_view digits = tokens_[at_++].text;
    const Real root = real_.root(read_decimal_token(digits.substr(0, 1)), degree);
    worked_out(root);
    Real product = real_.multiply(root, read_decimal_token(digits.substr(1)));
    worked_out(product);
    return product;
  }
  Real result = real_.root(argument(), degree);
  worked_out(result);
  return result;
}

Real MathParser::argument() {
  if (kind() == TokenKind::decimal) return decimal();
  return kind() == TokenKind::pi || kind() == TokenKind::letter ? symbol() : group();
}

Real MathParser::decimal() {
  if (kind() != TokenKind::decimal) fail();
  form_ = Form::number;
  return read_decimal_token(tokens_[at_++].text);
}

}  // namespace mixed_r1::verify
