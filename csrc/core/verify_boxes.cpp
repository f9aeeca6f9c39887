// Boxes in an answer: one pass over the bytes, a stack of open brackets, no allocation per token.
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "core/verify.h"
#include "core/verify_number.h"

namespace mixed_r1::verify {

namespace {

constexpr double kMaxCoordinate = 1e9;

struct Group {
  char opener = '[';
  bool second_point = false;  // holds the (x2, y2) of first_point
  bool other = false;         // something that is no number is directly inside
  int num_boxes = 0;          // of an object
  int count = 0;              // numbers directly inside, five standing for any more
  std::array<double, 2> first_point{};
  std::array<double, 4> numbers{};
};

char closer_of(char opener) { return opener == '[' ? ']' : opener == '(' ? ')' : '}'; }

// The classes of bytes that matter here.
enum : unsigned char { kToken = 0, kBlank, kOpen, kClose, kQuote, kColon };

constexpr std::array<unsigned char, 256> kClasses = [] {
  std::array<unsigned char, 256> table{};
  for (const char c : {' ', '\t', '\n', '\r', '\f', '\v', ','}) table[static_cast<unsigned char>(c)] = kBlank;
  for (const char c : {'[', '(', '{'}) table[static_cast<unsigned char>(c)] = kOpen;
  for (const char c : {']', ')', '}'}) table[static_cast<unsigned char>(c)] = kClose;
  table['"'] = kQuote;
  table[':'] = kColon;
  return table;
}();

unsigned char class_of(char c) { return kClasses[static_cast<unsigned char>(c)]; }

bool is_ascii_digit(char c) { return c >= '0' && c <= '9'; }

// At most 15 digits: exact.
double small_integer(std::string_view digits) {
  std::int64_t value = 0;
  for (const char c : digits) value = value * 10 + (c - '0');
  return static_cast<double>(value);
}

// [sign] digits [. digits] [exponent], or nan for nan, inf and infinity. False for any other token.
bool read_token(std::string_view token, double& value) {
  const bool negative = token[0] == '-';
  if (negative || token[0] == '+') token.remove_prefix(1);
  if (!token.empty() && (token[0] | 0x20) >= 'i' && token.size() <= 8) {
    if (!is_non_finite_word(std::u32string(token.begin(), token.end()))) return false;
    value = std::numeric_limits<double>::quiet_NaN();
    return true;
  }
  std::size_t i = 0, digits = 0;
  const auto run = [&] {
    const std::size_t begin = i;
    while (i < token.size() && is_ascii_digit(token[i])) ++i;
    return i - begin;
  };
  digits += run();
  if (i < token.size() && token[i] == '.') {
    ++i;
    digits += run();
  }
  if (digits == 0) return false;
  if (i < token.size() && (token[i] == 'e' || token[i] == 'E')) {
    ++i;
    if (i < token.size() && (token[i] == '+' || token[i] == '-')) ++i;
    if (run() == 0) return false;
  }
  if (i != token.size()) return false;
  value = digits == i && digits <= 15 ? small_integer(token) : to_double(token);
  if (negative) value = -value;
  return true;
}

class Reader {
 public:
  Reader(std::string_view text, const Settings& settings, std::vector<double>& boxes)
      : text_(text), settings_(settings), boxes_(boxes) {}

  Reason read() {
    std::size_t i = 0;
    while (i < text_.size()) {
      const char c = text_[i];
      const unsigned char kind = class_of(c);
      if (kind == kBlank) {
        ++i;
        continue;
      }
      if (point_pending_ && c != '(') return Reason::bad_box;
      Reason reason = Reason::ok;
      if (kind == kOpen) {
        reason = open(c);
        ++i;
      } else if (kind == kClose) {
        reason = close(c);
        ++i;
      } else {
        i = skip(i, kind);
      }
      if (reason != Reason::ok) return reason;
    }
    if (point_pending_) return Reason::bad_box;
    for (const Group& group : stack_) {
      if (group.second_point || (group.opener == '[' && group.count > 0)) return Reason::bad_box;
    }
    return num_boxes_ > 0 ? Reason::ok : Reason::no_box;
  }

 private:
  Reason open(char c) {
    if (stack_.size() == settings_.max_depth) return Reason::too_deep;
    if (!stack_.empty()) stack_.back().other = true;
    Group group;
    group.opener = c;
    group.second_point = point_pending_;
    group.first_point = point_;
    point_pending_ = false;
    stack_.push_back(group);
    return Reason::ok;
  }

  Reason close(char c) {
    if (stack_.empty()) return Reason::ok;
    if (closer_of(stack_.back().opener) != c) {
      stack_.back().other = true;
      return Reason::ok;
    }
    const Group group = stack_.back();
    stack_.pop_back();
    const auto& n = group.numbers;
    if (group.second_point) {
      if (group.other || group.count != 2) return Reason::bad_box;
      return add(group.first_point[0], group.first_point[1], n[0], n[1]);
    }
    if (group.opener == '{' || group.count == 0) return Reason::ok;
    if (group.opener == '(' && (group.other || group.count == 1)) return Reason::ok;
    if (group.opener == '(' && group.count == 2) {
      point_pending_ = true;
      point_ = {n[0], n[1]};
      return Reason::ok;
    }
    if (group.other || group.count != 4) return Reason::bad_box;
    return add(n[0], n[1], n[2], n[3]);
  }

  Reason add(double x1, double y1, double x2, double y2) {
    for (const double v : {x1, y1, x2, y2}) {
      if (!(std::fabs(v) <= kMaxCoordinate)) return Reason::bad_box;
    }
    if (!(x1 < x2 && y1 < y2)) return Reason::bad_box;
    if (!stack_.empty() && stack_.back().opener == '{' && ++stack_.back().num_boxes > 1) return Reason::bad_box;
    if (num_boxes_ == settings_.max_boxes) return Reason::too_many_items;
    ++num_boxes_;
    boxes_.insert(boxes_.end(), {x1, y1, x2, y2});
    return Reason::ok;
  }

  // Passes a string, a colon or a token; returns where it ends.
  std::size_t skip(std::size_t i, unsigned char kind) {
    std::size_t end = i + 1;
    if (kind == kToken) {
      while (end < text_.size() && class_of(text_[end]) == kToken) ++end;
    } else if (kind == kQuote && !stack_.empty() && may_quote_) {
      const std::size_t closing = closing_quote(end);
      may_quote_ = closing < text_.size();
      if (may_quote_) end = closing + 1;
    }
    if (stack_.empty()) return end;
    Group& group = stack_.back();
    double value = 0.0;
    if (kind != kToken || !read_token(text_.substr(i, end - i), value)) {
      group.other = true;
    } else if (group.count < 4) {
      group.numbers[static_cast<std::size_t>(group.count++)] = value;
    } else {
      group.count = 5;
    }
    return end;
  }

  std::size_t closing_quote(std::size_t i) const {
    while (i < text_.size() && text_[i] != '"') i += text_[i] == '\\' ? 2 : 1;
    return i;
  }

  std::string_view text_;
  const Settings& settings_;
  std::vector<double>& boxes_;
  std::vector<Group> stack_;
  std::array<double, 2> point_{};
  bool point_pending_ = false;
  bool may_quote_ = true;
  std::size_t num_boxes_ = 0;
};

}  // namespace

Reason parse_boxes(std::string_view answer, const Settings& settings, std::vector<double>& boxes) {
  const std::size_t before = boxes.size();
  const Reason reason = Reader(answer, settings, boxes).read();
  if (reason != Reason::ok) boxes.resize(before);
  return reason;
}

}  // namespace mixed_r1::verify
