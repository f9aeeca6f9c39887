#include "core/verify_lists.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/verify_reading.h"
#include "core/verify_unicode.h"

namespace mixed_r1::verify {

namespace {

using Text = std::u32string_view;
using Items = std::vector<Text>;

// Whether a quote before i ends an item: a comma or nothing follows.
bool ends_item(Text body, std::size_t i) {
  while (i < body.size() && is_space(body[i])) ++i;
  return i == body.size() || body[i] == U',';
}

// The items of a list of quoted texts, separated by commas; none where it is not such a list.
Items quoted(Text body, std::size_t most) {
  Items items;
  for (std::size_t i = 0; i < body.size();) {
    const char32_t quote = body[i];
    if (quote != U'"' && quote != U'\'') return {};
    const std::size_t begin = ++i;
    while (i < body.size() && !(body[i] == quote && ends_item(body, i + 1))) i += body[i] == U'\\' ? 2 : 1;
    if (i >= body.size()) return {};
    if (items.size() <= most) items.push_back(body.substr(begin, i - begin));
    ++i;
    while (i < body.size() && (is_space(body[i]) || body[i] == U',')) ++i;
  }
  return items;
}

Items split(Text body, Text separator, std::size_t most) {
  Items items;
  std::size_t begin = 0;
  while (items.size() <= most) {
    const std::size_t at = body.find(separator, begin);
    items.push_back(body.substr(begin, at == Text::npos ? Text::npos : at - begin));
    if (at == Text::npos) break;
    begin = at + separator.size();
  }
  return items;
}

// Takes "1. ", "2. " or "1) ", "2) " off where each item carries its own.
void drop_numbers(Items& items) {
  Items bodies;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const std::string number = std::to_string(i + 1);
    const std::u32string written(number.begin(), number.end());
    if (!items[i].starts_with(written)) return;
    const Text rest = items[i].substr(written.size());
    if (!rest.starts_with(U". ") && !rest.starts_with(U") ")) return;
    bodies.push_back(rest.substr(2));
  }
  items = std::move(bodies);
}

Items lines(Text body, std::size_t most) {
  static constexpr Text kBullets[] = {U"- ", U"* ", U"\u2022 ", U"\u2022"};
  Items items;
  for (std::size_t begin = 0; begin <= body.size() && items.size() <= most;) {
    const std::size_t end = std::min(body.find(U'\n', begin), body.size());
    Text part = strip_space(body.substr(begin, end - begin));
    begin = end + 1;
    if (part.empty()) continue;
    if (part.ends_with(U',')) part.remove_suffix(1);
    for (const Text bullet : kBullets) {
      if (!part.starts_with(bullet)) continue;
      part.remove_prefix(bullet.size());
      break;
    }
    items.push_back(part);
  }
  drop_numbers(items);
  return items;
}

// Items between commas before a blank; the blank goes with its comma.
Items by_comma_blank(Text body, std::size_t most) {
  Items items;
  std::size_t begin = 0;
  for (std::size_t i = 0; i + 1 < body.size() && items.size() <= most; ++i) {
    if (body[i] != U',' || (body[i + 1] != U' ' && body[i + 1] != U'\t')) continue;
    items.push_back(body.substr(begin, i - begin));
    begin = ++i + 1;
  }
  items.push_back(body.substr(begin));
  return items;
}

bool has_comma_blank(Text body) { return body.find(U", ") != Text::npos || body.find(U",\t") != Text::npos; }

Items with_and(Items items, std::size_t count) {
  static constexpr Text kWords[] = {U"and ", U"or ", U"& "};
  const Text item = items.back();
  std::size_t begin = 0;
  while (begin < item.size() && is_space(item[begin])) ++begin;
  const Text last = item.substr(begin);
  for (const Text word : kWords) {
    if (!last.starts_with(word)) continue;
    items.back() = last.substr(word.size());
    return items;
  }
  const std::size_t at = last.rfind(U" and ");
  if (at == Text::npos || items.size() + 1 != count) return items;
  items.back() = last.substr(0, at);
  items.push_back(last.substr(at + 5));
  return items;
}

}  // namespace

std::vector<std::u32string_view> split_list(std::u32string_view text, std::size_t count, std::size_t most) {
  Text body = text;
  if (body.size() >= 2) {
    const char32_t a = body.front(), b = body.back();
    const bool bracketed = (a == U'[' && b == U']') || (a == U'(' && b == U')') || (a == U'{' && b == U'}');
    if (bracketed) body = body.substr(1, body.size() - 2);
  }
  body = strip_space(body);
  Items items = quoted(body, most);
  if (!items.empty()) return items;
  if (body.find(U';') != Text::npos) return split(body, U";", most);
  if (body.find(U'\n') != Text::npos) return lines(body, most);
  if (has_comma_blank(body)) return with_and(by_comma_blank(body, most), count);
  for (const Text word : {Text(U" and "), Text(U" & ")}) {
    items = split(body, word, most);
    if (items.size() > 1 && items.size() == count) return items;
  }
  return split(body, U",", most);
}

}  // namespace mixed_r1::verify
