#include "core/verify_algebra.h"

#include <cstdlib>
#include <numeric>
#include <optional>

namespace mixed_r1::verify {

namespace {

constexpr std::size_t kMaxSteps = 1024, kFactorSteps = 16, kMaxTerms = 32;
constexpr std::int64_t kMaxPower = 64, kMaxRoot = 16, kMaxParts = 1 << 12;
constexpr std::uint64_t kMaxTrial = 1 << 12;

using Roots = std::map<std::uint32_t, Exponent>;

Exponent reduced(std::int64_t numerator, std::int64_t denominator) {
  const std::int64_t common = std::gcd(numerator, denominator);
  return {numerator / common, denominator / common};
}

Exponent sum(const Exponent& a, const Exponent& b) {
  return reduced(a.numerator * b.denominator + b.numerator * a.denominator, a.denominator * b.denominator);
}

// prime ** exponent. The bits are bounded before the power is made.
Rational prime_power(std::uint32_t prime, std::int64_t exponent) {
  const auto size = static_cast<std::uint64_t>(std::llabs(exponent));
  if ((Natural(prime).bits() - 1) * size > kMaxBits) throw NotNative();
  const Rational power(false, Natural::power_of(prime, size), Natural(1));
  return (exponent < 0 ? power.inverse() : power).checked();
}

// The term with its exponents in (0, 1); the rational that this takes out goes to `factor`.
Term normal(const Exponent& pi, const Roots& exponents, Rational& factor) {
  Term term{pi, {}, {}};
  factor = Rational(1);
  for (const auto& [prime, exponent] : exponents) {
    const std::int64_t n = exponent.numerator, d = exponent.denominator;
    const std::int64_t whole = n / d - (n % d < 0 ? 1 : 0);
    if (std::llabs(whole) > static_cast<std::int64_t>(kMaxBits) || d > kMaxParts) throw NotNative();
    if (whole != 0) factor = factor.times(prime_power(prime, whole)).checked();
    if (n != whole * d) term.roots.emplace_back(prime, Exponent{n - whole * d, d});
  }
  const bool too_large = std::llabs(pi.numerator) > kMaxPower * pi.denominator;
  if (pi.denominator > kMaxParts || too_large) throw NotNative();
  return term;
}

Real kept(Real terms) {
  std::erase_if(terms, [](const auto& entry) { return entry.second.is_zero(); });
  if (terms.size() > kMaxTerms) throw NotNative();
  return terms;
}

void accumulate(Real& terms, const Term& term, const Rational& value) {
  Rational& entry = terms[term];
  entry = entry.plus(value).checked();
}

using Letters = std::vector<std::pair<char32_t, std::int64_t>>;

Letters joined(const Letters& a, const Letters& b) {
  std::map<char32_t, std::int64_t> exponents(a.begin(), a.end());
  for (const auto& [letter, exponent] : b) exponents[letter] += exponent;
  Letters out;
  for (const auto& [letter, exponent] : exponents) {
    if (std::llabs(exponent) > kMaxParts || (letter == U'i' && exponent != 0 && exponent != 1)) throw NotNative();
    if (exponent != 0) out.emplace_back(letter, exponent);
  }
  return out;
}

Real inverse(const Real& a) {
  const auto& [term, value] = *a.begin();
  Roots roots;
  for (const auto& [prime, exponent] : term.roots) roots[prime] = {-exponent.numerator, exponent.denominator};
  Rational factor;
  Term inverted = normal({-term.pi.numerator, term.pi.denominator}, roots, factor);
  for (const auto& [letter, exponent] : term.letters) {
    if (letter == U'i') throw NotNative();
    inverted.letters.emplace_back(letter, -exponent);
  }
  return {{inverted, factor.times(value.inverse()).checked()}};
}

// Adds count * sign / degree to the exponent of each prime factor of `number`.
void add_factors(Natural number, std::int64_t sign, std::int64_t degree, Roots& exponents) {
  const auto add = [&](std::uint64_t prime, std::int64_t count) {
    Exponent& exponent = exponents[static_cast<std::uint32_t>(prime)];
    exponent = sum(exponent, reduced(sign * count, degree));
  };
  for (std::uint64_t divisor = 2; divisor < kMaxTrial; ++divisor) {
    std::int64_t count = 0;
    for (; number.modulo_small(divisor) == 0; ++count) number.over_small(divisor);
    if (count > 0) add(divisor, count);
    if (number.fits_word() && number.word() < divisor * divisor) break;
  }
  if (!number.fits_word() || number.word() >= kMaxTrial * kMaxTrial) throw NotNative();
  if (number.word() > 1) add(number.word(), 1);
}

}  // namespace

std::strong_ordering Term::operator<=>(const Term& other) const {
  if (const auto order = pi <=> other.pi; order != 0) return order;
  const auto order =
      std::lexicographical_compare_three_way(roots.begin(), roots.end(), other.roots.begin(), other.roots.end());
  if (order != 0) return order;
  return letters <=> other.letters;
}

Real rational(const Rational& value) {
  if (value.checked().is_zero()) return {};
  return {{Term{}, value}};
}

bool is_rational(const Real& value) { return value.empty() || (value.size() == 1 && value.begin()->first == Term{}); }

bool is_proper(const Real& value) {
  if (value.empty()) return true;
  if (!is_rational(value)) return false;
  const Rational& number = value.begin()->second;
  return number.numerator().compare(number.denominator()) < 0;
}

bool is_whole(const Real& value) {
  return value.empty() || (is_rational(value) && value.begin()->second.denominator().compare(Natural(1)) == 0);
}

Real pi() { return {{Term{{1, 1}, {}, {}}, Rational(1)}}; }

Real variable(char32_t letter) { return {{Term{{}, {}, {{letter, 1}}}, Rational(1)}}; }

void Arithmetic::spend(std::size_t steps) {
  steps_ += steps;
  if (steps_ > kMaxSteps) throw NotNative();
}

Real Arithmetic::negate(const Real& a) {
  Real out = a;
  for (auto& [term, value] : out) value = value.negated();
  return out;
}

Real Arithmetic::add(const Real& a, const Real& b) {
  Real terms = a;
  for (const auto& [term, value] : b) accumulate(terms, term, value);
  return kept(std::move(terms));
}

Real Arithmetic::multiply(const Real& a, const Real& b) {
  spend(a.size() * b.size());
  Real terms;
  for (const auto& [term_a, value_a] : a) {
    for (const auto& [term_b, value_b] : b) {
      Roots exponents(term_a.roots.begin(), term_a.roots.end());
      for (const auto& [prime, exponent] : term_b.roots) exponents[prime] = sum(exponents[prime], exponent);
      Rational factor;
      Term term = normal(sum(term_a.pi, term_b.pi), exponents, factor);
      term.letters = joined(term_a.letters, term_b.letters);
      accumulate(terms, term, value_a.times(value_b).checked().times(factor).checked());
    }
  }
  return kept(std::move(terms));
}

Real Arithmetic::divide(const Real& a, const Real& b) {
  if (b.empty() || b.size() > 2) throw NotNative();
  if (b.size() == 1) return multiply(a, inverse(b));
  Real conjugate = b;
  Rational& last = conjugate.rbegin()->second;
  last = last.negated();
  const Real product = multiply(b, conjugate);
  if (product.size() != 1) throw NotNative();
  return multiply(multiply(a, conjugate), inverse(product));
}

Real Arithmetic::power(const Real& a, const Real& exponent) {
  Rational value;
  if (!exponent.empty()) {
    if (exponent.size() > 1 || exponent.begin()->first != Term{}) throw NotNative();
    value = exponent.begin()->second;
  }
  const Natural &p = value.numerator(), &q = value.denominator();
  if (p.compare(Natural(kMaxPower)) > 0 || q.compare(Natural(kMaxRoot)) > 0) throw NotNative();
  if (a.empty() && (value.is_zero() || value.is_negative())) throw NotNative();
  const Real base = root(a, q.word());
  Real result = rational(Rational(1));
  for (std::uint64_t i = 0; i < p.word(); ++i) result = multiply(result, base);
  return value.is_negative() ? divide(rational(Rational(1)), result) : result;
}

Real Arithmetic::root(const Real& a, std::uint64_t degree) {
  if (degree < 1 || degree > static_cast<std::uint64_t>(kMaxRoot)) throw NotNative();
  if (degree == 1 || a.empty()) return a;
  if (a.size() > 1) throw NotNative();
  const auto& [term, value] = *a.begin();
  if (!term.letters.empty()) throw NotNative();
  const bool plain = term == Term{};
  if (value.is_negative() && (degree % 2 == 0 || !plain)) throw NotNative();
  const auto d = static_cast<std::int64_t>(degree);
  Roots exponents;
  for (const auto& [prime, exponent] : term.roots) {
    exponents[prime] = reduced(exponent.numerator, exponent.denominator * d);
  }
  spend(kFactorSteps);
  add_factors(value.numerator(), 1, d, exponents);
  spend(kFactorSteps);
  add_factors(value.denominator(), -1, d, exponents);
  Rational factor;
  const Term found = normal(reduced(term.pi.numerator, term.pi.denominator * d), exponents, factor);
  return {{found, (value.is_negative() ? factor.negated() : factor).checked()}};
}

}  // namespace mixed_r1::verify
