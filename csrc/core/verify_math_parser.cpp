// The structure of an answer: statements, equations, inequalities, lists, units.
#include "core/verify_math_parser.h"

#include <algorithm>

#include "core/verify_number.h"
#include "core/verify_unicode.h"
#include "core/verify_units.h"

namespace mixed_r1::verify {

namespace {

constexpr std::size_t kMaxNameWords = 4, kMaxArgument = 6, kMaxName = 24;

template <class T>
bool same_set(const std::vector<T>& a, const std::vector<T>& b) {
  const auto within = [](const std::vector<T>& small, const std::vector<T>& large) {
    return std::all_of(small.begin(), small.end(),
                       [&](const T& element) { return std::find(large.begin(), large.end(), element) != large.end(); });
  };
  return within(a, b) && within(b, a);
}

bool is_letter_alone(const MathItem& item) {
  if (item.infinity != 0 || item.real.size() != 1) return false;
  const auto& [term, value] = *item.real.begin();
  return term.pi == Exponent{} && term.roots.empty() && value == Rational(1) && term.letters.size() == 1 &&
         term.letters[0].second == 1;
}

bool ends_name(TokenKind kind) {
  return kind == TokenKind::equals || kind == TokenKind::element || kind == TokenKind::approx;
}

bool is_name_part(TokenKind kind) {
  switch (kind) {
    case TokenKind::open_round:
    case TokenKind::close_round:
    case TokenKind::open_brace:
    case TokenKind::close_brace:
    case TokenKind::bar:
    case TokenKind::over:
    case TokenKind::colon:
    case TokenKind::fraction:
    case TokenKind::overline:
    case TokenKind::function:
      return true;
    default:
      return false;
  }
}

bool is_strict(TokenKind kind) { return kind == TokenKind::less || kind == TokenKind::greater; }

bool is_downward(TokenKind kind) { return kind == TokenKind::greater || kind == TokenKind::greater_equal; }

}  // namespace

bool MathPart::operator==(const MathPart& other) const {
  if (opener != other.opener || closer != other.closer) return false;
  return closer == '}' ? same_set(items, other.items) : items == other.items;
}

bool same_items(const std::vector<MathPart>& a, const std::vector<MathPart>& b) { return same_set(a, b); }

MathParser::MathParser(std::u32string_view text, const std::vector<MathToken>& tokens, bool units, bool ordered)
    : text_(text), tokens_(tokens), units_(units), ordered_(ordered) {
  if (text.starts_with(U'$') && std::count(text.begin(), text.end(), U'$') == 1) unit_ = U"$";
}

MathValue MathParser::answer() {
  bool is_value = true;
  Parts parts = statement(is_value);
  const auto note = [&](const Parts& said) {
    if (said.size() == 1 && said[0].is_single()) numbers_.push_back(said[0].items[0]);
  };
  note(parts);
  std::size_t statements = 1;
  bool both = false;
  while (is_separator()) {
    const bool comma = kind() == TokenKind::comma;
    both = kind() == TokenKind::both || both;
    either_ = kind() == TokenKind::either || either_;
    ++at_;
    if (comma && (kind() == TokenKind::both || kind() == TokenKind::either)) {  // "1, 2, and 3"
      both = kind() == TokenKind::both || both;
      either_ = kind() == TokenKind::either || either_;
      ++at_;
    }
    bool next_is_value = true;
    Parts more = statement(next_is_value);
    is_value = is_value && next_is_value;
    note(more);
    parts.insert(parts.end(), more.begin(), more.end());
    ++statements;
  }
  expect(TokenKind::end);
  if (parts.size() == 1 && parts[0].closer == '}') {
    std::vector<MathItem>& items = parts[0].items;
    if (std::all_of(items.begin(), items.end(), [&](const MathItem& item) { return item == items[0]; })) {
      parts[0] = {'\0', '\0', {items[0]}};  // a set of one is what it holds
    }
  }
  MathValue value{listed(parts, both), is_value, unit_, false};
  value.percent = percent_ && form_ == Form::number && statements == 1;
  return value;
}

MathParser::Parts MathParser::listed(const Parts& parts, bool both) const {
  const auto bracketed = [](const MathPart& part) { return !part.is_single(); };
  if (parts.size() == 1 || std::all_of(parts.begin(), parts.end(), bracketed)) {
    const bool infinite = std::any_of(parts.begin(), parts.end(), [](const MathPart& part) {
      return std::any_of(part.items.begin(), part.items.end(), [](const MathItem& i) { return i.infinity != 0; });
    });
    if (both && infinite) throw NotNative();
    return parts;
  }
  if (std::any_of(parts.begin(), parts.end(), bracketed)) fail();
  MathPart list{ordered_ ? ',' : '{', ordered_ ? ',' : '}', {}};
  for (const MathPart& part : parts) list.items.insert(list.items.end(), part.items.begin(), part.items.end());
  return {list};
}

bool MathParser::name(MathValue& value) const {
  const bool list = value.parts.size() == 1 && (value.parts[0].closer == '}' || value.parts[0].closer == ',');
  const std::size_t count = names_.size();
  if (!list || either_ || count < 2 || numbers_.size() != count) return false;
  std::vector<std::size_t> order(count);
  for (std::size_t i = 0; i < count; ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return names_[a] < names_[b]; });
  MathPart tuple{'(', ')', {}};
  for (std::size_t k = 0; k < count; ++k) {
    if (names_[order[k]] == 0 || (k > 0 && names_[order[k]] == names_[order[k - 1]])) return false;
    tuple.items.push_back(numbers_[order[k]]);
  }
  value.parts = {tuple};
  return true;
}

MathParser::Parts MathParser::statement(bool& is_value) {
  const std::size_t begin = at_;
  for (std::size_t end = name_end(); end > at_; end = name_end()) at_ = end;
  const bool one_letter =
      at_ == begin + 2 && kind_at(begin) == TokenKind::letter && kind_at(begin + 1) == TokenKind::equals;
  names_.push_back(one_letter ? tokens_[begin].text[0] : U'\0');
  skip_if(TokenKind::approx);
  skip_point();
  is_value_ = true;
  Parts first = side();
  is_value = is_value_;
  while (kind() == TokenKind::equals || kind() == TokenKind::approx) {
    const bool exact = kind() == TokenKind::equals;
    ++at_;
    is_value_ = true;
    const Parts other = side();
    if ((exact || !is_value) && !same_set(other, first)) throw Unreadable{Reason::ambiguous};
    is_value = is_value || is_value_;
  }
  return first;
}

// The name of a point before its coordinates: "P(2, -3)".
void MathParser::skip_point() {
  if (kind() != TokenKind::letter || kind(1) != TokenKind::open_round) return;
  const char32_t letter = tokens_[at_].text[0];
  if (letter < U'A' || letter > U'Z') return;
  ++at_;
  if (!holds_comma()) --at_;
}

std::size_t MathParser::name_end() const {
  std::size_t i = at_;
  const auto letter = [&](std::size_t k) { return kind_at(k) == TokenKind::letter; };
  if (kind_at(i) == TokenKind::open_round) {
    ++i;
    while (letter(i) && kind_at(i + 1) == TokenKind::comma) i += 2;
    i = letter(i) && kind_at(i + 1) == TokenKind::close_round ? i + 2 : at_;
  } else if (letter(i)) {
    ++i;
  } else {
    while (kind_at(i) == TokenKind::word && i < at_ + kMaxNameWords) ++i;
  }
  if (i == at_) return long_name_end();
  if (kind_at(i) == TokenKind::underscore) i = subscript_end(i);
  if (kind_at(i) == TokenKind::open_round) i = group_end(i);
  return ends_name(kind_at(i)) ? i + 1 : long_name_end();
}

std::size_t MathParser::subscript_end(std::size_t i) const {
  return kind_at(i + 1) == TokenKind::open_brace ? group_end(i + 1) : i + 2;
}

// Behind a left side without numbers: "\tan A =", "|AB| =", "\frac{AB}{CD} ="; else where we are.
std::size_t MathParser::long_name_end() const {
  bool named = false;
  for (std::size_t i = at_; i < at_ + kMaxName;) {
    const TokenKind kind = kind_at(i);
    if (ends_name(kind)) return named ? i + 1 : at_;
    if (kind == TokenKind::underscore) {
      i = subscript_end(i);
      continue;
    }
    const bool letter_in_bars =
        kind == TokenKind::bar && kind_at(i + 1) == TokenKind::letter && kind_at(i + 2) == TokenKind::bar;
    // |x| = 2 says two values of x.
    if (letter_in_bars && !(tokens_[i + 1].text[0] >= U'A' && tokens_[i + 1].text[0] <= U'Z')) return at_;
    const bool word = kind == TokenKind::letter || kind == TokenKind::word;
    if (!word && !is_name_part(kind)) return at_;
    named = named || word;
    ++i;
  }
  return at_;
}

std::size_t MathParser::group_end(std::size_t i) const {
  for (std::size_t k = i + 1; k < i + 1 + kMaxArgument; ++k) {
    if (kind_at(k) == TokenKind::close_round || kind_at(k) == TokenKind::close_brace) return k + 1;
  }
  return tokens_.size();
}

MathParser::Parts MathParser::side() {
  Parts parts = part();
  if (is_relation()) return {inequality(parts)};
  if (kind() == TokenKind::colon && parts.size() == 1 && parts[0].is_single()) {
    MathPart ratio{':', ':', parts[0].items};
    while (skip_if(TokenKind::colon)) ratio.items.push_back({0, sum()});
    return {ratio};
  }
  while (skip_if(TokenKind::cup)) {
    const Parts more = part();
    parts.insert(parts.end(), more.begin(), more.end());
  }
  take_unit();
  return parts;
}

void MathParser::take_unit() {
  if (!units_ || kind() == TokenKind::end || !unit_.empty()) return;
  std::u32string_view rest = text_.substr(tokens_[at_].begin);
  while (rest.ends_with(U' ')) rest.remove_suffix(1);
  unit_ = unit_name(rest);
  if (unit_.empty()) unit_ = unit_phrase(rest);
  if (!unit_.empty()) at_ = tokens_.size();
}

MathParser::Parts MathParser::part() {
  const TokenKind opening = kind();
  const bool list = opening == TokenKind::open_square || opening == TokenKind::open_set;
  if (!opens(opening) || !(list || holds_comma())) {
    const std::size_t begin = at_;
    minus_ = has_sign_ = false;
    MathPart first{'\0', '\0', {item()}};
    if (!has_sign_) return {first};
    at_ = begin;
    minus_ = true;
    MathPart second{'\0', '\0', {item()}};
    minus_ = false;
    return {first, second};
  }
  ++at_;
  std::vector<MathItem> items{item()};
  while (skip_if(TokenKind::comma)) items.push_back(item());
  const bool round = kind() == TokenKind::close_round;
  if (opening == TokenKind::open_brace || opening == TokenKind::open_set) {
    expect(opening == TokenKind::open_brace ? TokenKind::close_brace : TokenKind::close_set);
    return {{'{', '}', std::move(items)}};
  }
  expect(round ? TokenKind::close_round : TokenKind::close_square);
  return {{opening == TokenKind::open_round ? '(' : '[', round ? ')' : ']', std::move(items)}};
}

bool MathParser::holds_comma() const {
  int depth = 0;
  for (std::size_t i = at_; i < tokens_.size(); ++i) {
    depth += opens(tokens_[i].kind) ? 1 : closes(tokens_[i].kind) ? -1 : 0;
    if (depth == 0) return false;
    if (depth == 1 && tokens_[i].kind == TokenKind::comma) return true;
  }
  return false;
}

MathPart MathParser::inequality(const Parts& first) {
  if (first.size() > 1 || !first[0].is_single()) fail();
  std::vector<MathItem> sides{first[0].items[0]};
  std::vector<TokenKind> relations;
  while (is_relation()) {
    relations.push_back(kind());
    ++at_;
    sides.push_back(item());
  }
  const bool down = is_downward(relations[0]);
  const bool mixed =
      std::any_of(relations.begin(), relations.end(), [&](TokenKind k) { return is_downward(k) != down; });
  if (mixed || relations.size() > 2) fail();
  if (down) {
    std::reverse(sides.begin(), sides.end());
    std::reverse(relations.begin(), relations.end());
  }
  const auto place = std::find_if(sides.begin(), sides.end(), is_letter_alone);
  const auto letters = std::count_if(sides.begin(), sides.end(), is_letter_alone);
  const auto at = static_cast<std::size_t>(place - sides.begin());
  if (letters != 1 || (sides.size() == 3 && at != 1)) fail();
  const bool has_low = at > 0, has_high = at + 1 < sides.size();
  const bool low_closed = has_low && !is_strict(relations[at - 1]), high_closed = has_high && !is_strict(relations[at]);
  return {low_closed ? '[' : '(',
          high_closed ? ']' : ')',
          {has_low ? sides[at - 1] : MathItem{-1, {}}, has_high ? sides[at + 1] : MathItem{1, {}}}};
}

MathItem MathParser::item() {
  const bool minus = kind() == TokenKind::minus;
  const std::size_t sign = minus || kind() == TokenKind::plus ? 1 : 0;
  if (kind(sign) == TokenKind::infinity) {
    at_ += sign + 1;
    return {minus ? -1 : 1, {}};
  }
  return {0, sum()};
}

bool MathParser::is_separator() const {
  return kind() == TokenKind::comma || kind() == TokenKind::either || kind() == TokenKind::both;
}

bool MathParser::is_relation() const {
  return kind() == TokenKind::less || kind() == TokenKind::less_equal || kind() == TokenKind::greater ||
         kind() == TokenKind::greater_equal;
}

void MathParser::expect(TokenKind expected) {
  if (kind() != expected) fail();
  ++at_;
}

bool MathParser::skip_if(TokenKind wanted) {
  if (kind() != wanted) return false;
  ++at_;
  return true;
}

}  // namespace mixed_r1::verify
