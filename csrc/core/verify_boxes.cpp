// Boxes in an answer: one pass over the bytes, a stack of open brackets, no allocation per token.
#include <algorithm>
#include <array>
#include <cmath>

#include "core/verify.h"
#include "core/verify_box_tokens.h"
#include "core/verify_reading.h"
#include "core/verify_unicode.h"

namespace mixed_r1::verify {

namespace {

constexpr double kMaxCoordinate = 1e9;

struct Group {
  char opener = '\0';         // of the whole answer: none
  bool second_point = false;  // holds the (x2, y2) of first_point
  bool other = false;         // something that is no number is directly inside
  int num_children = 0;       // three standing for any more
  int num_boxes = 0;          // of an object
  int count = 0;              // numbers directly inside, five standing for any more
  int num_points = 0;         // children that are a point, three standing for any more
  unsigned named = 0;         // a bit for each number that was given by its name
  // Written before they are read: nothing is cleared for each of a million brackets.
  std::array<double, 2> first_point;
  std::array<double, 4> numbers, points;
  std::array<double, 6> by_name;

  Group() {}
};

constexpr std::array<std::string_view, 3> kOpenTags = {"<box>", "<bbox>", "<point>"};
constexpr std::array<std::string_view, 3> kCloseTags = {"</box>", "</bbox>", "</point>"};
constexpr unsigned kBoxNames = 15, kPointNames = 48;  // bits of a group's names
constexpr std::size_t kMaxQuoted = 128;

// The length of the tag that the text begins with, or 0.
std::size_t tag_length(std::string_view text, const std::array<std::string_view, 3>& tags) {
  for (const std::string_view tag : tags) {
    if (text.starts_with(tag)) return tag.size();
  }
  return 0;
}

char closer_of(char opener) { return opener == '[' ? ']' : opener == '(' ? ')' : opener == '<' ? '>' : '}'; }

// The classes of bytes that matter here.
enum : unsigned char { kToken = 0, kBlank, kOpen, kClose, kQuote, kColon, kLess };

constexpr std::array<unsigned char, 256> kClasses = [] {
  std::array<unsigned char, 256> table{};
  for (const char c : {' ', '\t', '\n', '\r', '\f', '\v', ','}) table[static_cast<unsigned char>(c)] = kBlank;
  for (const char c : {'[', '(', '{'}) table[static_cast<unsigned char>(c)] = kOpen;
  for (const char c : {']', ')', '}'}) table[static_cast<unsigned char>(c)] = kClose;
  table['"'] = kQuote;
  table[':'] = kColon;
  table['<'] = kLess;
  return table;
}();

unsigned char class_of(char c) { return kClasses[static_cast<unsigned char>(c)]; }

// The open brackets; their memory is kept from answer to answer.
std::vector<Group>& cleared_stack() {
  thread_local std::vector<Group> stack;
  stack.clear();
  return stack;
}

class Reader {
 public:
  Reader(std::string_view text, const Settings& settings, std::vector<double>& boxes)
      : text_(text), settings_(settings), boxes_(boxes), stack_(cleared_stack()) {}

  Reason read() {
    std::size_t i = 0;
    while (i < text_.size()) {
      unsigned char kind = class_of(text_[i]);
      if (kind == kBlank) {
        ++i;
        continue;
      }
      char c = text_[i];
      std::size_t length = 1;
      if (kind == kLess) {
        const std::string_view rest = text_.substr(i, kCloseTags[2].size());
        if (const std::size_t opening = tag_length(rest, kOpenTags); opening > 0) {
          kind = kOpen;
          length = opening;
        } else if (const std::size_t closing = tag_length(rest, kCloseTags); closing > 0) {
          kind = kClose;
          c = '>';
          length = closing;
        }
      }
      Reason reason = Reason::ok;
      if (kind == kOpen) {
        reason = open(c);
        i += length;
      } else if (kind == kClose) {
        reason = close(c);
        i += length;
      } else {
        i = other(i, kind, reason);
      }
      if (reason != Reason::ok) return reason;
    }
    return end();
  }

 private:
  Group& group() { return stack_.empty() ? whole_ : stack_.back(); }

  Reason end() {
    for (const Group& group : stack_) {
      const bool numbers = (group.opener == '[' || group.opener == '<') && group.count > 0;
      if (group.second_point || numbers) return Reason::bad_box;
    }
    if (whole_.count == 4 && !whole_.other && whole_.num_children == 0 && num_boxes_ == 0) {
      const Reason reason = add(whole_.numbers);
      if (reason != Reason::ok) return reason;
    }
    if (settings_.point) return one_point();
    if (num_boxes_ > 0) return Reason::ok;
    return has_points_ ? Reason::bad_box : Reason::no_box;
  }

  // The one place that is named, as a point: a point, or the centre of a box.
  Reason one_point() {
    if (whole_.count == 2 && !whole_.other && whole_.num_children == 0) {
      free_point_ = {whole_.numbers[0], whole_.numbers[1]};
      ++free_points_;
    }
    if (num_boxes_ + free_points_ == 0) return Reason::no_box;
    if (num_boxes_ + free_points_ > 1) return Reason::ambiguous;
    std::array<double, 2> point = free_point_;
    if (num_boxes_ == 1) {
      const std::size_t at = boxes_.size() - 4;
      point = {(boxes_[at] + boxes_[at + 2]) / 2, (boxes_[at + 1] + boxes_[at + 3]) / 2};
      boxes_.resize(at);
    }
    for (const double v : point) {
      if (!(std::fabs(v) <= kMaxCoordinate)) return Reason::bad_box;
    }
    boxes_.insert(boxes_.end(), {point[0], point[1], point[0], point[1]});
    return Reason::ok;
  }

  Reason open(char c) {
    if (stack_.size() == settings_.max_depth) return Reason::too_deep;
    Group& parent = group();
    parent.num_children = std::min(parent.num_children + 1, 3);
    Group& child = stack_.emplace_back();
    child.opener = c;
    child.second_point = point_pending_ && !parted_ && c == '(';
    child.first_point = point_;
    point_pending_ = false;
    name_ = -1;
    return Reason::ok;
  }

  Reason close(char c) {
    point_pending_ = false;
    name_ = -1;
    if (stack_.empty()) return Reason::ok;
    if (closer_of(stack_.back().opener) != c) {
      stack_.back().other = true;
      return Reason::ok;
    }
    const Group& top = stack_.back();
    if (!top.second_point && top.count == 0 && top.num_points == 0) {  // most brackets of an attack
      stack_.pop_back();
      return Reason::ok;
    }
    const Group closed = top;
    stack_.pop_back();
    const bool alone = !closed.other && closed.num_children == 0;
    const bool square = closed.opener == '[' || closed.opener == '<';
    if (closed.second_point) {
      if (!alone || closed.count != 2) return Reason::bad_box;
      --free_points_;
      return add({closed.first_point[0], closed.first_point[1], closed.numbers[0], closed.numbers[1]});
    }
    const bool two_points = closed.num_points == 2 && closed.num_children == 2;
    if (square && closed.count == 0 && two_points && !closed.other) {
      free_points_ -= 2;
      return add(closed.points);
    }
    if (closed.opener == '{' || closed.count == 0) return Reason::ok;
    if (closed.opener == '(' && (!alone || closed.count == 1)) return Reason::ok;
    if (closed.count <= 2) {
      if (closed.count == 2 && alone) take_point(closed);
      return Reason::ok;
    }
    return alone && closed.count == 4 ? add(closed.numbers) : Reason::bad_box;
  }

  // Two numbers alone in a bracket: a point that may be the corner of a box.
  void take_point(const Group& closed) {
    has_points_ = true;
    ++free_points_;
    free_point_ = {closed.numbers[0], closed.numbers[1]};
    if (closed.opener == '(') {
      point_pending_ = true;
      parted_ = false;
      point_ = {closed.numbers[0], closed.numbers[1]};
      return;
    }
    Group& parent = group();
    if (parent.opener != '[' && parent.opener != '<') return;
    if (parent.num_points < 2) {
      const auto at = static_cast<std::size_t>(2 * parent.num_points);
      parent.points[at] = closed.numbers[0];
      parent.points[at + 1] = closed.numbers[1];
    }
    parent.num_points = std::min(parent.num_points + 1, 3);
  }

  Reason add(const std::array<double, 4>& box) {
    for (const double v : box) {
      if (!(std::fabs(v) <= kMaxCoordinate)) return Reason::bad_box;
    }
    if (!(box[0] < box[2] && box[1] < box[3])) return Reason::bad_box;
    if (!stack_.empty() && stack_.back().opener == '{' && ++stack_.back().num_boxes > 1) return Reason::bad_box;
    if (num_boxes_ == settings_.max_boxes) return Reason::too_many_items;
    ++num_boxes_;
    boxes_.insert(boxes_.end(), box.begin(), box.end());
    return Reason::ok;
  }

  // Takes a string, a colon or a token; returns where it ends.
  std::size_t other(std::size_t i, unsigned char kind, Reason& reason) {
    std::size_t end = i + 1;
    if (kind == kColon) {
      group().other = true;
      return end;
    }
    if (kind == kQuote) {
      const std::size_t closing = !stack_.empty() && may_quote_ ? closing_quote(end) : i;
      if (!stack_.empty() && may_quote_) may_quote_ = closing < text_.size();
      if (closing == i || closing >= text_.size()) {
        group().other = true;
        return end;
      }
      reason = quoted(text_.substr(end, closing - end));
      return closing + 1;
    }
    while (end < text_.size() && class_of(text_[end]) == kToken) ++end;
    reason = token(text_.substr(i, end - i));
    return end;
  }

  // A text in double quotes: a name, a number, or a box of four.
  Reason quoted(std::string_view body) {
    std::array<double, 4> numbers{};
    int count = body.size() <= kMaxQuoted ? 0 : 5;
    for (std::size_t i = 0; i < body.size() && count < 5;) {
      const std::size_t end = std::min(body.find_first_of(", ", i), body.size());
      double value = 0.0;
      if (end > i) {
        if (count == 4 || !read_token(body.substr(i, end - i), value)) {
          count = 5;
          break;
        }
        numbers[static_cast<std::size_t>(count++)] = value;
      }
      i = end + 1;
    }
    if (count == 4) {
      group().other = true;
      return add(numbers);
    }
    if (count == 1) return take(numbers[0]);
    group().other = true;
    name_ = coordinate(body, settings_.point);
    return Reason::ok;
  }

  Reason token(std::string_view written) {
    std::string_view bare = written;
    while (bare.starts_with('\'')) bare.remove_prefix(1);
    while (bare.ends_with('\'')) bare.remove_suffix(1);
    if (bare.empty()) bare = written;
    double number = 0.0;
    if (const std::size_t equals = bare.find('='); equals != std::string_view::npos) {
      point_pending_ = false;
      group().other = true;
      if (equals > 0) name_ = coordinate(bare.substr(0, equals), settings_.point);
      return read_token(bare.substr(equals + 1), number) ? take(number) : Reason::ok;
    }
    if (read_token(bare, number)) {
      point_pending_ = false;
      return take(number);
    }
    if (point_pending_) between_points(bare);
    group().other = true;
    name_ = coordinate(bare, settings_.point);
    return Reason::ok;
  }

  // A word behind a point: whether the next one may be the other corner of a box.
  void between_points(std::string_view word) {
    if (word == "and") {
      parted_ = true;
    } else if (is_corner(word)) {
      parted_ = false;
    } else if (!is_between_points(word)) {
      point_pending_ = false;
    }
  }

  // A number of the group, or the one that a name was given for.
  Reason take(double number) {
    Group& group = this->group();
    if (name_ < 0) {
      if (group.count < 4) {
        group.numbers[static_cast<std::size_t>(group.count++)] = number;
      } else {
        group.count = 5;
      }
      return Reason::ok;
    }
    const unsigned bit = 1u << name_;
    if ((group.named & bit) != 0) return Reason::bad_box;
    group.named |= bit;
    group.by_name[static_cast<std::size_t>(name_)] = number;
    name_ = -1;
    if ((group.named & kPointNames) == kPointNames) {
      group.named &= ~kPointNames;
      free_point_ = {group.by_name[4], group.by_name[5]};
      ++free_points_;
    }
    if ((group.named & kBoxNames) != kBoxNames) return Reason::ok;
    group.named = 0;
    return add({group.by_name[0], group.by_name[1], group.by_name[2], group.by_name[3]});
  }

  std::size_t closing_quote(std::size_t i) const {
    while (i < text_.size() && text_[i] != '"') i += text_[i] == '\\' ? 2 : 1;
    return i;
  }

  std::string_view text_;
  const Settings& settings_;
  std::vector<double>& boxes_;
  Group whole_;
  std::vector<Group>& stack_;
  std::array<double, 2> point_{};
  bool point_pending_ = false;
  bool parted_ = false;  // by an "and", which two points of two things have too
  bool has_points_ = false;
  int name_ = -1;  // of the coordinate that comes next
  bool may_quote_ = true;
  std::size_t num_boxes_ = 0;
  std::size_t free_points_ = 0;  // that are the corner of no box
  std::array<double, 2> free_point_{};
};

}  // namespace

Reason parse_boxes(std::string_view answer, const Settings& settings, std::vector<double>& boxes) {
  const std::size_t before = boxes.size();
  const bool ascii =
      std::all_of(answer.begin(), answer.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  const std::string narrowed = ascii ? std::string() : encode_utf8(narrow(decode_utf8(answer)));
  const Reason reason = Reader(ascii ? answer : std::string_view(narrowed), settings, boxes).read();
  if (reason != Reason::ok) boxes.resize(before);
  return reason;
}

}  // namespace mixed_r1::verify
