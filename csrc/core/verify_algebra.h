// Exact numbers and polynomials: sums of rational multiples of products of prime roots, powers of pi and letters. The
// form is canonical, so equal numbers are equal objects; why, and every limit, is in the reference
// (reference_algebra.py).
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "core/verify_rational.h"

namespace mixed_r1::verify {

// A reduced fraction of small integers, denominator above 0.
struct Exponent {
  std::int64_t numerator = 0;
  std::int64_t denominator = 1;

  std::strong_ordering operator<=>(const Exponent& other) const {
    return numerator * other.denominator <=> other.numerator * denominator;
  }
  bool operator==(const Exponent& other) const = default;
};

struct Term {
  Exponent pi;
  std::vector<std::pair<std::uint32_t, Exponent>> roots;   // primes ascending, exponents in (0, 1)
  std::vector<std::pair<char32_t, std::int64_t>> letters;  // ascending, exponents not 0

  std::strong_ordering operator<=>(const Term& other) const;
  bool operator==(const Term& other) const = default;
};

using Real = std::map<Term, Rational>;

Real rational(const Rational& value);
bool is_rational(const Real& value);
bool is_whole(const Real& value);   // an integer
bool is_proper(const Real& value);  // a rational below 1 in magnitude
Real pi();
Real variable(char32_t letter);

// Operations under one budget of steps; all throw NotNative.
class Arithmetic {
 public:
  static Real negate(const Real& a);
  static Real add(const Real& a, const Real& b);
  Real multiply(const Real& a, const Real& b);
  Real divide(const Real& a, const Real& b);
  Real power(const Real& a, const Real& exponent);
  Real root(const Real& a, std::uint64_t degree);

 private:
  void spend(std::size_t steps);

  std::size_t steps_ = 0;
};

}  // namespace mixed_r1::verify
