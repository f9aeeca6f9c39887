// Exact rationals for math answers: bounded integers without a heap. What would not fit throws NotNative, long before
// an integer could overflow: results are checked to kMaxBits, and no operation more than doubles the bits and adds one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string_view>

namespace mixed_r1::verify {

// An expression outside of what is compared here.
struct NotNative : std::exception {};

inline constexpr std::size_t kMaxBits = 256;

// A non-negative integer of at most 1024 bits.
class Natural {
 public:
  Natural() = default;
  explicit Natural(std::uint64_t value) : size_(value != 0 ? 1 : 0) { limbs_[0] = value; }

  bool is_zero() const { return size_ == 0; }
  std::size_t bits() const;
  bool fits_word() const { return size_ <= 1; }
  std::uint64_t word() const { return limbs_[0]; }  // the lowest one

  int compare(const Natural& other) const;
  Natural plus(const Natural& other) const;
  Natural minus(const Natural& other) const;  // other <= *this
  Natural times(const Natural& other) const;
  Natural exactly_over(const Natural& divisor) const;  // divisor > 0 divides *this
  std::uint64_t over_small(std::uint64_t divisor);     // divides in place, returns the remainder
  std::uint64_t modulo_small(std::uint64_t divisor) const;

  static Natural gcd(Natural a, Natural b);
  static Natural from_digits(std::string_view digits);
  static Natural power_of(std::uint64_t base, std::uint64_t exponent);  // not above 1024 bits

 private:
  static constexpr std::size_t kLimbs = 16;

  void trim();
  std::size_t trailing_zeros() const;
  void shift_right(std::size_t count);
  void shift_left(std::size_t count);

  std::array<std::uint64_t, kLimbs> limbs_{};
  std::size_t size_ = 0;
};

// A reduced fraction.
class Rational {
 public:
  Rational() : denominator_(1) {}
  explicit Rational(std::int64_t value);
  Rational(bool negative, const Natural& numerator, const Natural& denominator);  // denominator > 0; reduces

  bool is_zero() const { return numerator_.is_zero(); }
  bool is_negative() const { return negative_; }
  const Natural& numerator() const { return numerator_; }
  const Natural& denominator() const { return denominator_; }

  Rational negated() const;
  Rational plus(const Rational& other) const;
  Rational times(const Rational& other) const;
  Rational inverse() const;  // of a number that is not 0
  bool operator==(const Rational& other) const;

  // *this, where both parts have at most kMaxBits.
  const Rational& checked() const;

 private:
  bool negative_ = false;
  Natural numerator_;
  Natural denominator_;
};

}  // namespace mixed_r1::verify
