"""Exact arithmetic for the math reference: sums of rational multiples of roots, powers of pi and of letters.

A ``Real`` is a tuple of (term, coefficient), terms ascending, coefficients not 0. A term is (power of pi,
((prime, exponent), ...), ((letter, exponent), ...)), primes and letters ascending, exponents of primes in
(0, 1), of letters integers but 0. Such products are linearly independent over the rationals (Besicovitch
1940; pi is transcendental), so two Reals are one number, or one polynomial, iff they are equal. The letter i
is the imaginary unit, of which no power is taken here.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TypeAlias

__all__ = ["PI", "Arithmetic", "NotNative", "Real", "as_fraction", "rational", "variable"]

Roots: TypeAlias = tuple[tuple[int, Fraction], ...]
Letters: TypeAlias = tuple[tuple[str, int], ...]
Term: TypeAlias = tuple[Fraction, Roots, Letters]
Real: TypeAlias = tuple[tuple[Term, Fraction], ...]

MAX_STEPS = 1024  # products of two terms in one answer; a factorisation counts for 16
FACTOR_STEPS = 16
MAX_TERMS = 32
MAX_BITS = 256  # of numerators and denominators
MAX_POWER = 64
MAX_ROOT = 16
MAX_PARTS = 1 << 12  # denominators of exponents
MAX_TRIAL = 1 << 12

ONE_TERM: Term = (Fraction(0), (), ())
PI: Real = (((Fraction(1), (), ()), Fraction(1)),)


class NotNative(ArithmeticError):  # noqa: N818 (a verdict: this expression is for a computer algebra system)
    """An expression outside of what is compared here."""


def rational(value: Fraction) -> Real:
    return ((ONE_TERM, value),) if _checked(value) else ()


def variable(letter: str) -> Real:
    return (((Fraction(0), (), ((letter, 1),)), Fraction(1)),)


def as_fraction(value: Real, *, whole: bool = False) -> Fraction | None:
    """``value`` where it is rational (with ``whole``: an integer), else None."""
    if not value:
        return Fraction(0)
    if len(value) > 1 or value[0][0] != ONE_TERM or (whole and value[0][1].denominator > 1):
        return None
    return value[0][1]


def _checked(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise NotNative("number too large")
    return value


def _real(terms: dict[Term, Fraction]) -> Real:
    kept = tuple(sorted((term, value) for term, value in terms.items() if value != 0))
    if len(kept) > MAX_TERMS:
        raise NotNative("too many terms")
    return kept


class Arithmetic:
    """Operations on Reals under one budget of steps. All raise NotNative."""

    def __init__(self) -> None:
        self.steps = 0

    def _spend(self, steps: int) -> None:
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise NotNative("too much work")

    def negate(self, a: Real) -> Real:
        return tuple((term, -value) for term, value in a)

    def add(self, a: Real, b: Real) -> Real:
        terms = dict(a)
        for term, value in b:
            terms[term] = _checked(terms.get(term, Fraction(0)) + value)
        return _real(terms)

    def multiply(self, a: Real, b: Real) -> Real:
        self._spend(len(a) * len(b))
        terms: dict[Term, Fraction] = {}
        for (pi_a, exponents_a, letters_a), value_a in a:
            for (pi_b, exponents_b, letters_b), value_b in b:
                exponents = dict(exponents_a)
                for prime, exponent in exponents_b:
                    exponents[prime] = exponents.get(prime, Fraction(0)) + exponent
                (pi_power, roots), factor = _normal(pi_a + pi_b, exponents)
                term = (pi_power, roots, _joined(letters_a, letters_b))
                product = _checked(_checked(value_a * value_b) * factor)
                terms[term] = _checked(terms.get(term, Fraction(0)) + product)
        return _real(terms)

    def divide(self, a: Real, b: Real) -> Real:
        """a / b for b of one term, or of two whose product with the conjugate has one."""
        if not b:
            raise NotNative("division by zero")
        if len(b) == 1:
            return self.multiply(a, _inverse(b))
        if len(b) == 2:
            conjugate = (b[0], (b[1][0], -b[1][1]))
            product = self.multiply(b, conjugate)
            if len(product) == 1:
                return self.multiply(self.multiply(a, conjugate), _inverse(product))
        raise NotNative("division by a sum")

    def power(self, a: Real, exponent: Real) -> Real:
        """a ** exponent for a rational exponent p/q with |p| <= 64 and q <= 16."""
        value = Fraction(0)
        for term, coefficient in exponent:
            if term != ONE_TERM:
                raise NotNative("exponent not rational")
            value = coefficient
        if abs(value.numerator) > MAX_POWER or value.denominator > MAX_ROOT:
            raise NotNative("exponent too large")
        if not a and value <= 0:
            raise NotNative("power of zero")
        base = self.root(a, value.denominator)
        result = rational(Fraction(1))
        for _ in range(abs(value.numerator)):
            result = self.multiply(result, base)
        return result if value >= 0 else self.divide(rational(Fraction(1)), result)

    def root(self, a: Real, degree: int) -> Real:
        """The real root of a single term; of a negative rational for odd degrees only."""
        if not 1 <= degree <= MAX_ROOT:
            raise NotNative("degree of root too large")
        if degree == 1 or not a:
            return a
        if len(a) > 1:
            raise NotNative("root of a sum")
        ((pi_power, exponents, letters), value) = a[0]
        if letters:
            raise NotNative("root of a letter")
        if value < 0 and (degree % 2 == 0 or exponents or pi_power):
            raise NotNative("root of a negative number")
        found = {prime: exponent / degree for prime, exponent in exponents}
        for number, sign in ((abs(value.numerator), 1), (value.denominator, -1)):
            self._spend(FACTOR_STEPS)
            for prime, count in _factor(number):
                found[prime] = found.get(prime, Fraction(0)) + Fraction(sign * count, degree)
        (pi_power, roots), factor = _normal(pi_power / degree, found)
        return (((pi_power, roots, ()), _checked(factor if value > 0 else -factor)),)


def _joined(a: Letters, b: Letters) -> Letters:
    exponents = dict(a)
    for letter, exponent in b:
        exponents[letter] = exponents.get(letter, 0) + exponent
    if any(abs(exponent) > MAX_PARTS for exponent in exponents.values()) or exponents.get("i", 0) not in (
        0,
        1,
    ):
        raise NotNative("power of a letter too large, or of i")
    return tuple(sorted((letter, exponent) for letter, exponent in exponents.items() if exponent))


def _normal(pi_power: Fraction, exponents: dict[int, Fraction]) -> tuple[tuple[Fraction, Roots], Fraction]:
    """The power of pi and the roots with exponents in (0, 1), and the rational factor taken out."""
    factor = Fraction(1)
    kept = []
    for prime, exponent in sorted(exponents.items()):
        whole = exponent.numerator // exponent.denominator
        if abs(whole) > MAX_BITS or exponent.denominator > MAX_PARTS:
            raise NotNative("power too large")
        factor = _checked(factor * _checked(Fraction(prime) ** whole))
        if exponent != whole:
            kept.append((prime, exponent - whole))
    if pi_power.denominator > MAX_PARTS or abs(pi_power) > MAX_POWER:
        raise NotNative("power of pi too large")
    return (pi_power, tuple(kept)), factor


def _inverse(a: Real) -> Real:
    ((pi_power, exponents, letters), value) = a[0]
    (pi_power, roots), factor = _normal(-pi_power, {prime: -exponent for prime, exponent in exponents})
    inverted = tuple((letter, -exponent) for letter, exponent in letters)
    if dict(inverted).get("i", 0):
        raise NotNative("division by i")
    return (((pi_power, roots, inverted), _checked(factor / value)),)


def _factor(number: int) -> list[tuple[int, int]]:
    """Prime factors with counts, by trial division up to 2^12; the rest must be below 2^24, so a prime."""
    factors = []
    for divisor in range(2, MAX_TRIAL):
        count = 0
        while number % divisor == 0:
            number //= divisor
            count += 1
        if count:
            factors.append((divisor, count))
        if divisor * divisor > number:
            break
    if number >= MAX_TRIAL * MAX_TRIAL:
        raise NotNative("factor too large")
    if number > 1:
        factors.append((number, 1))
    return factors
