#include "core/verify_leads.h"

#include <algorithm>
#include <utility>

#include "core/verify_unicode.h"

namespace mixed_r1::verify {

namespace {

using Text = std::u32string_view;

constexpr Text kSpace = U" \t\n\r\f\v";
constexpr std::size_t kMaxHead = 200;

constexpr Text kStarters[] = {U"so", U"thus", U"therefore", U"hence", U"finally", U"then"};
constexpr Text kStating[] = {U"is", U"are", U"was", U"were", U"equals"};

struct Token {
  Text text;
  std::size_t end = 0;
};

Token word_at(Text text, std::size_t i) {
  const std::size_t end = letters_end(text, i);
  return {text.substr(std::min(i, text.size()), end - std::min(i, text.size())), end};
}

// Behind the first of the known texts that stands at i; 0 where none does.
template <class List>
std::size_t one_of(Text text, std::size_t i, const List& known) {
  for (const Text word : known) {
    if (i <= text.size() && text.substr(i).starts_with(word)) return i + word.size();
  }
  return 0;
}

// Behind the marks after a noun or its "is", which must be there where there is no "is".
std::size_t marked(Text text, std::size_t end, bool linked) {
  const std::size_t stop = skip(text, end, U" \t\n\r\f\v*_:=");
  return linked || text.substr(end, stop - end).find_first_of(U":\n=") != Text::npos ? stop : 0;
}

std::size_t after_wide_lead(Text text) {
  static constexpr Text kWideStarters[] = {U"\u6240\u4ee5", U"\u56e0\u6b64", U"\u7efc\u4e0a\u6240\u8ff0",
                                           U"\u7efc\u4e0a", U"\u6545",       U"\u5219"};
  static constexpr Text kWideQualifiers[] = {U"\u6b63\u786e", U"\u6700\u7ec8", U"\u6700\u540e", U"\u672c\u9898",
                                             U"\u8be5\u9898", U"\u53c2\u8003", U"\u7684"};
  static constexpr Text kWideLinks[] = {U"\u5e94\u8be5\u662f", U"\u5e94\u662f", U"\u5e94\u4e3a", U"\u662f", U"\u4e3a"};
  constexpr Text kAnswer = U"\u7b54\u6848";
  constexpr int kMaxQualifiers = 3;
  std::size_t i = skip(text, 0, U" \t\n\r\f\v*_#");
  if (i == text.size() || text[i] < 0x80) return 0;  // most answers
  if (const std::size_t end = one_of(text, i, kWideStarters); end > 0) i = skip(text, end, U" \t\n\r\f\v,");
  for (int k = 0; k < kMaxQualifiers; ++k) i = std::max(i, one_of(text, i, kWideQualifiers));
  if (!text.substr(i).starts_with(kAnswer)) return 0;
  const std::size_t end = i + kAnswer.size();
  const std::size_t link_end = one_of(text, skip(text, end, U" \t\n\r\f\v*_"), kWideLinks);
  return marked(text, link_end > 0 ? link_end : end, link_end > 0);
}

bool is_refused(Text word) {
  static constexpr Text kUnstated[] = {U"not",    U"never",     U"cannot",   U"neither",  U"nor",    U"no",    U"or",
                                       U"either", U"if",        U"whether",  U"unless",   U"except", U"than",  U"false",
                                       U"wrong",  U"incorrect", U"hardly",   U"unlikely", U"could",  U"might", U"may",
                                       U"maybe",  U"perhaps",   U"possibly", U"opposite", U"doubt"};
  return in_lower(word, kUnstated);
}

// Whether the words before a value leave it as it is. `links`: how many times something "is".
bool may_state(Text head, int links) {
  constexpr Text kBad = U"=<>;?!.\n\u4e0d\u975e\u6ca1\u65e0\u6216";
  for (std::size_t i = 0; i < head.size();) {
    const auto [word, end] = word_at(head, i);
    if (!word.empty()) {
      const bool negated = equals_lower(word, U"t") && i >= 2 && equals_lower(head.substr(i - 2, 2), U"n'");
      if (negated || is_refused(word)) return false;
      i = end;
    } else if (is_digit(head[i])) {
      std::size_t stop = i + 1;
      while (stop < head.size() && is_digit(head[stop])) ++stop;
      if (links > 1 || stop - i != 4 || (head[i] != U'1' && head[i] != U'2')) return false;
      i = stop;
    } else if (kBad.find(head[i]) != Text::npos) {
      return false;
    } else {
      ++i;
    }
  }
  return true;
}

// Behind the last "is" or colon; 0 without one; npos where the words before it take it back.
std::size_t stating_end(Text text) {
  static constexpr Text kWideStating[] = {U"\u7b49\u4e8e", U"\u662f", U"\u4e3a", U"\u5171"};
  std::size_t last = 0;
  int links = 0;
  const auto found = [&](std::size_t end) {
    last = end;
    ++links;
  };
  for (std::size_t i = 0; i < text.size();) {
    const auto [word, end] = word_at(text, i);
    if (!word.empty()) {
      if (in_lower(word, kStating)) found(end);
      i = end;
      continue;
    }
    const std::size_t wide = text[i] < 0x80 ? 0 : one_of(text, i, kWideStating);
    if (wide > 0 || (text[i] == U':' && (i + 1 == text.size() || is_space(text[i + 1]))))
      found(wide > 0 ? wide : i + 1);
    i = wide > 0 ? wide : i + 1;
  }
  if (last == 0) return 0;
  return last <= kMaxHead && may_state(text.substr(0, last), links) ? last : Text::npos;
}

}  // namespace

std::size_t after_lead(std::u32string_view text, Nouns nouns) {
  static constexpr Text kQualifiers[] = {U"correct", U"right", U"final", U"best", U"my", U"short", U"only"};
  static constexpr Text kLinks[] = {U"is", U"was", U"equals"};
  if (text.empty() || is_digit(text[0])) return 0;  // most answers
  Token found = word_at(text, skip(text, 0, U" \t\n\r\f\v*_#"));
  if (in_lower(found.text, kStarters)) found = word_at(text, skip(text, found.end, U" \t\n\r\f\v,"));
  if (equals_lower(found.text, U"the")) found = word_at(text, skip(text, found.end, kSpace));
  if (in_lower(found.text, kQualifiers)) found = word_at(text, skip(text, found.end, kSpace));
  if (!in_lower(found.text, nouns)) return after_wide_lead(text);
  const Token link = word_at(text, skip(text, found.end, U" \t\n\r\f\v*_"));
  const bool linked = in_lower(link.text, kLinks);
  return marked(text, linked ? link.end : found.end, linked);
}

Reason read_answer(std::string_view text, Box box, bool lead, std::u32string& out) {
  const Reason reason = read_text(text, box, out);
  if (reason != Reason::ok || !lead) return reason;
  const std::size_t end = after_lead(out, {U"answer", U"result"});
  std::u32string rest = end > 0 ? normal(Text(out).substr(end)) : std::u32string();
  if (!rest.empty()) out = std::move(rest);
  return Reason::ok;
}

std::u32string stated(std::u32string_view text) {
  static constexpr Text kSigns[] = {U"minus ", U"negative "};
  const auto [word, end] = word_at(text, skip(text, 0, U" \t\n\r\f\v*_#"));
  const Text rest = in_lower(word, kStarters) ? text.substr(skip(text, end, U" \t\n\r\f\v,")) : text;
  const std::size_t at = stating_end(rest);
  if (at == Text::npos) return {};
  std::u32string tail = normal(rest.substr(at));
  for (const Text sign : kSigns) {
    if (tail.size() < sign.size() || !equals_lower(Text(tail).substr(0, sign.size()), sign)) continue;
    const std::size_t begin = std::min(tail.find_first_not_of(U' ', sign.size()), tail.size());
    tail = U"-" + tail.substr(begin);
    break;
  }
  return tail == text ? std::u32string() : tail;
}

}  // namespace mixed_r1::verify
