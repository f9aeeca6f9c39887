#include "core/verify_rational.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace mixed_r1::verify {

namespace {

using Wide = unsigned __int128;

constexpr std::size_t kWordBits = 64;

}  // namespace

void Natural::trim() {
  while (size_ > 0 && limbs_[size_ - 1] == 0) --size_;
}

std::size_t Natural::bits() const {
  return size_ == 0 ? 0 : size_ * kWordBits - static_cast<std::size_t>(std::countl_zero(limbs_[size_ - 1]));
}

int Natural::compare(const Natural& other) const {
  if (size_ != other.size_) return size_ < other.size_ ? -1 : 1;
  for (std::size_t i = size_; i-- > 0;) {
    if (limbs_[i] != other.limbs_[i]) return limbs_[i] < other.limbs_[i] ? -1 : 1;
  }
  return 0;
}

Natural Natural::plus(const Natural& other) const {
  Natural sum;
  sum.size_ = std::max(size_, other.size_);
  Wide carry = 0;
  for (std::size_t i = 0; i < sum.size_; ++i) {
    carry += static_cast<Wide>(limbs_[i]) + other.limbs_[i];
    sum.limbs_[i] = static_cast<std::uint64_t>(carry);
    carry >>= kWordBits;
  }
  if (carry != 0) {
    if (sum.size_ == kLimbs) throw NotNative();
    sum.limbs_[sum.size_++] = static_cast<std::uint64_t>(carry);
  }
  return sum;
}

Natural Natural::minus(const Natural& other) const {
  Natural difference = *this;
  std::uint64_t borrow = 0;
  for (std::size_t i = 0; i < size_; ++i) {
    const std::uint64_t subtrahend = other.limbs_[i] + borrow;
    const bool wrapped = borrow != 0 && subtrahend == 0;
    borrow = wrapped || limbs_[i] < subtrahend ? 1 : 0;
    difference.limbs_[i] = limbs_[i] - subtrahend;
  }
  difference.trim();
  return difference;
}

Natural Natural::times(const Natural& other) const {
  if (size_ + other.size_ > kLimbs) throw NotNative();
  Natural product;
  product.size_ = size_ + other.size_;
  for (std::size_t i = 0; i < size_; ++i) {
    Wide carry = 0;
    for (std::size_t j = 0; j < other.size_; ++j) {
      carry += static_cast<Wide>(limbs_[i]) * other.limbs_[j] + product.limbs_[i + j];
      product.limbs_[i + j] = static_cast<std::uint64_t>(carry);
      carry >>= kWordBits;
    }
    product.limbs_[i + other.size_] = static_cast<std::uint64_t>(carry);
  }
  product.trim();
  return product;
}

std::uint64_t Natural::over_small(std::uint64_t divisor) {
  Wide rest = 0;
  for (std::size_t i = size_; i-- > 0;) {
    rest = rest << kWordBits | limbs_[i];
    limbs_[i] = static_cast<std::uint64_t>(rest / divisor);
    rest %= divisor;
  }
  trim();
  return static_cast<std::uint64_t>(rest);
}

std::uint64_t Natural::modulo_small(std::uint64_t divisor) const {
  if (size_ <= 1) return limbs_[0] % divisor;
  Wide rest = 0;
  for (std::size_t i = size_; i-- > 0;) rest = (rest << kWordBits | limbs_[i]) % divisor;
  return static_cast<std::uint64_t>(rest);
}

// From the lowest word up: each word of the quotient is known modulo 2^64 (Jebelean's exact division).
Natural Natural::exactly_over(const Natural& divisor) const {
  Natural rest = *this, odd = divisor, quotient;
  const std::size_t twos = odd.trailing_zeros();
  rest.shift_right(twos);
  odd.shift_right(twos);
  std::uint64_t inverse = odd.limbs_[0];  // right to 3 bits; each round doubles them
  for (int round = 0; round < 5; ++round) inverse *= 2 - odd.limbs_[0] * inverse;
  for (std::size_t i = 0; i + odd.size_ <= rest.size_; ++i) {
    const std::uint64_t word = rest.limbs_[i] * inverse;
    quotient.limbs_[i] = word;
    quotient.size_ = i + 1;
    Wide borrow = 0;
    for (std::size_t j = 0; i + j < rest.size_; ++j) {
      borrow += static_cast<Wide>(word) * odd.limbs_[j];
      const std::uint64_t low = static_cast<std::uint64_t>(borrow);
      borrow = (borrow >> kWordBits) + (rest.limbs_[i + j] < low ? 1 : 0);
      rest.limbs_[i + j] -= low;
      if (j + 1 >= odd.size_ && borrow == 0) break;
    }
  }
  quotient.trim();
  return quotient;
}

std::size_t Natural::trailing_zeros() const {
  std::size_t i = 0;
  while (i < size_ && limbs_[i] == 0) ++i;
  return i == size_ ? 0 : i * kWordBits + static_cast<std::size_t>(std::countr_zero(limbs_[i]));
}

void Natural::shift_right(std::size_t count) {
  const std::size_t words = count / kWordBits, rest = count % kWordBits;
  for (std::size_t i = 0; i < size_; ++i) {
    const std::uint64_t low = i + words < size_ ? limbs_[i + words] : 0;
    const std::uint64_t high = i + words + 1 < size_ ? limbs_[i + words + 1] : 0;
    limbs_[i] = rest == 0 ? low : low >> rest | high << (kWordBits - rest);
  }
  trim();
}

void Natural::shift_left(std::size_t count) {
  if (size_ == 0 || count == 0) return;
  const std::size_t words = count / kWordBits, rest = count % kWordBits;
  if (bits() + count > kLimbs * kWordBits) throw NotNative();
  const std::size_t top = std::min(size_ + words + 1, kLimbs);
  for (std::size_t i = top; i-- > 0;) {
    const std::uint64_t high = i >= words && i - words < size_ ? limbs_[i - words] : 0;
    const std::uint64_t low = i > words && i - words - 1 < size_ ? limbs_[i - words - 1] : 0;
    limbs_[i] = rest == 0 ? high : high << rest | low >> (kWordBits - rest);
  }
  size_ = top;
  trim();
}

// Binary; Euclid on words once both fit one.
Natural Natural::gcd(Natural a, Natural b) {
  if (a.is_zero()) return b;
  if (b.is_zero()) return a;
  const std::size_t twos = std::min(a.trailing_zeros(), b.trailing_zeros());
  a.shift_right(a.trailing_zeros());
  b.shift_right(b.trailing_zeros());
  while (a.size_ > 1 || b.size_ > 1) {
    const int order = a.compare(b);
    if (order == 0) break;
    if (order < 0) std::swap(a, b);
    a = a.minus(b);
    a.shift_right(a.trailing_zeros());
  }
  if (a.size_ <= 1 && b.size_ <= 1) {
    std::uint64_t x = a.limbs_[0], y = b.limbs_[0];
    while (y != 0) x = std::exchange(y, x % y);
    a = Natural(x);
  }
  a.shift_left(twos);
  return a;
}

Natural Natural::from_digits(std::string_view digits) {
  Natural value;
  const Natural ten(10);
  for (const char c : digits) value = value.times(ten).plus(Natural(static_cast<std::uint64_t>(c - '0')));
  return value;
}

Natural Natural::power_of(std::uint64_t base, std::uint64_t exponent) {
  Natural result(1);
  for (const Natural factor(base); exponent > 0; --exponent) result = result.times(factor);
  return result;
}

Rational::Rational(std::int64_t value)
    : negative_(value < 0),
      numerator_(value < 0 ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value)),
      denominator_(1) {}

Rational::Rational(bool negative, const Natural& numerator, const Natural& denominator)
    : negative_(negative && !numerator.is_zero()), numerator_(numerator), denominator_(denominator) {
  const Natural common = Natural::gcd(numerator, denominator);
  if (common.fits_word() && common.word() == 1) return;
  numerator_ = numerator.exactly_over(common);
  denominator_ = denominator.exactly_over(common);
}

Rational Rational::negated() const {
  Rational out = *this;
  out.negative_ = !negative_ && !is_zero();
  return out;
}

Rational Rational::plus(const Rational& other) const {
  const Natural left = numerator_.times(other.denominator_), right = other.numerator_.times(denominator_);
  const Natural denominator = denominator_.times(other.denominator_);
  if (negative_ == other.negative_) return Rational(negative_, left.plus(right), denominator);
  if (left.compare(right) >= 0) return Rational(negative_, left.minus(right), denominator);
  return Rational(other.negative_, right.minus(left), denominator);
}

Rational Rational::times(const Rational& other) const {
  return Rational(negative_ != other.negative_, numerator_.times(other.numerator_),
                  denominator_.times(other.denominator_));
}

Rational Rational::inverse() const {
  Rational out = *this;
  std::swap(out.numerator_, out.denominator_);
  return out;
}

bool Rational::operator==(const Rational& other) const {
  return negative_ == other.negative_ && numerator_.compare(other.numerator_) == 0 &&
         denominator_.compare(other.denominator_) == 0;
}

const Rational& Rational::checked() const {
  if (std::max(numerator_.bits(), denominator_.bits()) > kMaxBits) throw NotNative();
  return *this;
}

}  // namespace mixed_r1::verify
