#include "core/verify_math.h"

#include <algorithm>
#include <string>

#include "core/verify.h"
#include "core/verify_math_tokens.h"
#include "core/verify_number.h"
#include "core/verify_unicode.h"

namespace mixed_r1::verify {

namespace {

constexpr int kMaxNesting = 32;
constexpr std::size_t kMaxDigits = 100;

// Every element of each side is one of the other: equality of sets that may repeat elements.
template <class T>
bool same_set(const std::vector<T>& a, const std::vector<T>& b) {
  const auto within = [](const std::vector<T>& small, const std::vector<T>& large) {
    return std::all_of(small.begin(), small.end(),
                       [&](const T& element) { return std::find(large.begin(), large.end(), element) != large.end(); });
  };
  return within(a, b) && within(b, a);
}

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

class Parser {
 public:
  explicit Parser(const std::vector<MathToken>& tokens) : tokens_(tokens) {}

  MathValue answer() {
    const bool named = kind() == TokenKind::letter && (kind(1) == TokenKind::equals || kind(1) == TokenKind::element);
    if (named) at_ += 2;
    MathValue value{side(), is_value_};
    while (skip_if(TokenKind::equals)) {
      is_value_ = true;
      if (!same_set(side(), value.parts)) throw Unreadable{Reason::ambiguous};
      value.is_value = value.is_value || is_value_;
    }
    expect(TokenKind::end);
    return value;
  }

 private:
  // How an expression is written: a decimal, with signs and brackets; 10^n; else.
  enum class Form { number, ten_power, other };

  std::vector<MathPart> side() {
    std::vector<MathPart> parts{part()};
    if (kind() == TokenKind::comma && parts[0].closer == '\0') {
      parts[0].opener = '{';
      parts[0].closer = '}';
      while (kind() == TokenKind::comma) {
        ++at_;
        parts[0].items.push_back({0, sum()});
      }
    }
    while (kind() == TokenKind::cup) {
      ++at_;
      parts.push_back(part());
    }
    return parts;
  }

  TokenKind kind(std::size_t ahead = 0) const {
    return at_ + ahead < tokens_.size() ? tokens_[at_ + ahead].kind : TokenKind::end;
  }

  [[noreturn]] static void fail() { throw Unreadable{Reason::no_number}; }

  void expect(TokenKind expected) {
    if (kind() != expected) fail();
    ++at_;
  }

  bool skip_if(TokenKind wanted) {
    if (kind() != wanted) return false;
    ++at_;
    return true;
  }

  static bool opens(TokenKind k) {
    return k == TokenKind::open_round || k == TokenKind::open_square || k == TokenKind::open_brace ||
           k == TokenKind::open_set;
  }

  static bool closes(TokenKind k) {
    return k == TokenKind::close_round || k == TokenKind::close_square || k == TokenKind::close_brace ||
           k == TokenKind::close_set;
  }

  MathPart part() {
    const TokenKind opening = kind();
    const bool list = opening == TokenKind::open_square || opening == TokenKind::open_set;
    if (!opens(opening) || !(list || holds_comma())) return {'\0', '\0', {{0, sum()}}};
    ++at_;
    std::vector<MathItem> items{item()};
    while (skip_if(TokenKind::comma)) items.push_back(item());
    const bool round = kind() == TokenKind::close_round;
    if (opening == TokenKind::open_brace || opening == TokenKind::open_set) {
      expect(opening == TokenKind::open_brace ? TokenKind::close_brace : TokenKind::close_set);
      return {'{', '}', std::move(items)};
    }
    expect(round ? TokenKind::close_round : TokenKind::close_square);
    return {opening == TokenKind::open_round ? '(' : '[', round ? ')' : ']', std::move(items)};
  }

  // Whether the bracket here has a comma directly inside.
  bool holds_comma() const {
    int depth = 0;
    for (std::size_t i = at_; i < tokens_.size(); ++i) {
      depth += opens(tokens_[i].kind) ? 1 : closes(tokens_[i].kind) ? -1 : 0;
      if (depth == 0) return false;
      if (depth == 1 && tokens_[i].kind == TokenKind::comma) return true;
    }
    return false;
  }

  MathItem item() {
    const bool minus = kind() == TokenKind::minus;
    const std::size_t sign = minus || kind() == TokenKind::plus ? 1 : 0;
    if (kind(sign) == TokenKind::infinity) {
      at_ += sign + 1;
      return {minus ? -1 : 1, {}};
    }
    return {0, sum()};
  }

  Real sum() {
    if (++depth_ > kMaxNesting) throw Unreadable{Reason::too_deep};
    Real total = signed_product();
    while (kind() == TokenKind::plus || kind() == TokenKind::minus) {
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

  Real signed_product() {
    const bool negative = kind() == TokenKind::minus;
    if (negative || kind() == TokenKind::plus) ++at_;
    Real product = power();
    while (true) {
      const Form form = form_;
      if (skip_if(TokenKind::over)) {
        const Real divisor = power();
        product = quotient(product, form, divisor);
      } else if (skip_if(TokenKind::times) || starts_atom()) {
        product = real_.multiply(product, power());
        if (form != Form::number || form_ != Form::ten_power) worked_out(product);
        form_ = Form::other;
      } else {
        return negative ? Arithmetic::negate(product) : product;
      }
    }
  }

  // What may follow a factor without a sign.
  bool starts_atom() const {
    const TokenKind k = kind();
    return k == TokenKind::open_round || k == TokenKind::open_brace || k == TokenKind::pi || k == TokenKind::root ||
           k == TokenKind::fraction;
  }

  // Where the result of an operation is rational, the answer could have given it.
  void worked_out(const Real& result) {
    is_value_ = is_value_ && !is_rational(result);
    form_ = Form::other;
  }

  // top / bottom, which was read last: of two numbers a fraction, where it is not whole or over 1.
  Real quotient(const Real& top, Form form, const Real& bottom) {
    Real result = real_.divide(top, bottom);
    if (form != Form::number || form_ != Form::number) {
      worked_out(result);
      return result;
    }
    is_value_ = is_value_ && (!is_whole(result) || bottom == rational(Rational(1)));
    form_ = Form::other;
    return result;
  }

  Real power() {
    const bool ten = kind() == TokenKind::decimal && tokens_[at_].text == U"10" && kind(1) == TokenKind::caret;
    Real value = atom();
    if (skip_if(TokenKind::caret)) {
      if (kind() == TokenKind::open_brace && kind(1) == TokenKind::degree && kind(2) == TokenKind::close_brace) {
        at_ += 3;
      } else if (!skip_if(TokenKind::degree)) {
        const Real power = exponent();
        const bool scientific = ten && form_ == Form::number && is_whole(power);
        value = real_.power(value, power);
        if (scientific) {
          form_ = Form::ten_power;
        } else {
          worked_out(value);
        }
      }
    }
    while (kind() == TokenKind::percent || kind() == TokenKind::degree) {
      if (tokens_[at_++].kind == TokenKind::percent) value = real_.divide(value, rational(Rational(100)));
    }
    return value;
  }

  Real exponent() {
    if (kind() == TokenKind::open_round || kind() == TokenKind::open_brace) return group();
    const bool negative = skip_if(TokenKind::minus);
    const Real value = decimal();
    return negative ? Arithmetic::negate(value) : value;
  }

  Real group() {
    const bool round = kind() == TokenKind::open_round;
    expect(round ? TokenKind::open_round : TokenKind::open_brace);
    Real value = sum();
    expect(round ? TokenKind::close_round : TokenKind::close_brace);
    return value;
  }

  Real atom() {
    switch (kind()) {
      case TokenKind::decimal: {
        const bool whole = tokens_[at_].is_whole();
        const Real value = decimal();
        if (!whole || kind() != TokenKind::fraction) return value;
        const bool mixed = whole_in_braces(at_ + 1) && whole_in_braces(at_ + 4);
        const Real part = fraction();
        if (mixed) return Arithmetic::add(value, part);
        const Real product = real_.multiply(value, part);
        worked_out(product);
        return product;
      }
      case TokenKind::pi:
        return take_pi();
      case TokenKind::fraction:
        return fraction();
      case TokenKind::root:
        return root();
      default:
        return group();
    }
  }

  bool whole_in_braces(std::size_t i) const {
    return i + 2 < tokens_.size() && tokens_[i].kind == TokenKind::open_brace && tokens_[i + 1].is_whole() &&
           tokens_[i + 2].kind == TokenKind::close_brace;
  }

  Real fraction() {
    ++at_;
    if (kind() != TokenKind::decimal) {
      const Real top = argument();
      const Form form = form_;
      const Real bottom = argument();
      return quotient(top, form, bottom);
    }
    const MathToken& token = tokens_[at_++];
    if (!token.is_whole() || token.text.size() > 2) fail();
    const Real top = read_decimal_token(token.text.substr(0, 1));
    form_ = Form::number;
    const Real bottom = token.text.size() == 2 ? read_decimal_token(token.text.substr(1)) : argument();
    return quotient(top, Form::number, bottom);
  }

  Real root() {
    ++at_;
    std::uint64_t degree = 2;
    if (skip_if(TokenKind::open_square)) {
      if (kind() != TokenKind::decimal || !tokens_[at_].is_whole() || tokens_[at_].text.size() > 2) fail();
      degree = 0;
      for (const char32_t c : tokens_[at_].text) degree = degree * 10 + (c - U'0');
      ++at_;
      expect(TokenKind::close_square);
    }
    const Real result = real_.root(argument(), degree);
    worked_out(result);
    return result;
  }

  Real argument() {
    if (kind() == TokenKind::decimal) return decimal();
    if (kind() == TokenKind::pi) return take_pi();
    return group();
  }

  Real take_pi() {
    ++at_;
    form_ = Form::other;
    return pi();
  }

  Real decimal() {
    if (kind() != TokenKind::decimal) fail();
    form_ = Form::number;
    return read_decimal_token(tokens_[at_++].text);
  }

  const std::vector<MathToken>& tokens_;
  std::size_t at_ = 0;
  int depth_ = 0;
  bool is_value_ = true;     // of the side that is being read
  Form form_ = Form::other;  // of the expression read last
  Arithmetic real_;
};

}  // namespace

bool MathPart::operator==(const MathPart& other) const {
  if (opener != other.opener || closer != other.closer) return false;
  return closer == '}' ? same_set(items, other.items) : items == other.items;
}

Reason read_math(std::u32string_view text, MathValue& value) {
  const std::u32string body = without_separators(math_body(text));
  try {
    value = Parser(math_tokens(body)).answer();
  } catch (const Unreadable& problem) {
    return problem.reason;
  } catch (const NotNative&) {
    return Reason::no_number;
  }
  return Reason::ok;
}

Verdict score_math(std::string_view answer, const MathValue& gold) {
  MathValue value;
  const Reason reason = read_math(decode_utf8(answer), value);
  if (reason != Reason::ok) return {0.0, reason};
  if (gold.is_value && !value.is_value) return {0.0, Reason::unevaluated};
  return same_set(value.parts, gold.parts) ? Verdict{1.0, Reason::ok} : Verdict{0.0, Reason::no_match};
}

}  // namespace mixed_r1::verify
