// Multiple choice: the option that an answer names. The rules and their order are those of the reference.
#include <algorithm>
#include <cstdint>

#include "core/verify.h"
#include "core/verify_unicode.h"
#include "core/verify_words.h"

namespace mixed_r1::verify {

namespace {

using Text = std::u32string_view;

constexpr int kNone = -1, kSeveral = -2;

// Around an option's text: on the side of its letter, then on both. Marks may be part of the text ("-5", "(1, 2)"), so
// few are dropped before many.
constexpr Text kOpeners = U"([{\"'`*_.:, \t\n\r\f\v", kClosers = U")]}\"'`*_.:, \t\n\r\f\v";
constexpr Text kQuoted = U"([{\"'`*_.:, \t\n\r\f\v)]}$";
constexpr Text kMarks = U"([{\"'`*_.:, \t\n\r\f\v)]}$=-;\u2013\u2014";

Text strip_left(Text text, Text marks) {
  const std::size_t begin = text.find_first_not_of(marks);
  return begin == Text::npos ? Text() : text.substr(begin);
}

Text strip_right(Text text, Text marks) { return text.substr(0, text.find_last_not_of(marks) + 1); }

Text strip(Text text, Text marks) { return strip_right(strip_left(text, marks), marks); }

template <std::size_t N>
bool any_of(Text word, const Text (&list)[N]) {
  return std::find(std::begin(list), std::end(list), word) != std::end(list);
}

// Compares in lower case without a copy.
template <std::size_t N>
bool any_of_lower(Text word, const Text (&list)[N]) {
  return std::any_of(std::begin(list), std::end(list), [&](Text known) {
    return std::equal(word.begin(), word.end(), known.begin(), known.end(),
                      [](char32_t a, char32_t b) { return ascii_lower(a) == b; });
  });
}

class Chooser {
 public:
  Chooser(Text text, const std::vector<std::u32string>& options) : text_(text), options_(options) {
    find_words(text, words_);
  }

  int choose() const {
    const std::size_t lead = lead_end();
    for (const std::size_t start : {std::size_t{0}, lead}) {
      const std::size_t first = first_word_from(start);
      if (words_.size() - first == 1) {
        const int index = letter(first);
        if (index != kNone) return index;
      }
      const int index = named(text_.substr(start));
      if (index != kNone) return index;
    }
    const std::size_t first = first_word_from(lead);
    const int labelled = label(first);
    return labelled != kNone ? labelled : mentioned(lead, first);
  }

 private:
  Text word(std::size_t i) const { return text_.substr(words_[i].begin, words_[i].end - words_[i].begin); }

  // The option whose letter word i is.
  int letter(std::size_t i) const {
    const Text w = word(i);
    if (w.size() != 1) return kNone;
    const char32_t c = ascii_lower(w[0]);
    return c >= U'a' && c < U'a' + options_.size() ? static_cast<int>(c - U'a') : kNone;
  }

  // The option whose full text this is.
  int named(Text part) const {
    thread_local std::u32string wanted;
    plain(part, wanted);
    int found = kNone;
    for (std::size_t i = 0; i < options_.size() && !wanted.empty(); ++i) {
      if (options_[i] == wanted) found = found == kNone ? static_cast<int>(i) : kSeveral;
    }
    return found;
  }

  std::size_t first_word_from(std::size_t start) const {
    const auto at = std::find_if(words_.begin(), words_.end(), [&](const Word& w) { return w.begin >= start; });
    return static_cast<std::size_t>(at - words_.begin());
  }

  // Where the text goes on after [the] [correct] answer|option|choice [is] [:]; 0 without such a lead.
  std::size_t lead_end() const {
    constexpr Text kThe[] = {U"the"}, kIs[] = {U"is"};
    constexpr Text kQualifiers[] = {U"correct", U"right", U"final", U"best"};
    constexpr Text kNouns[] = {U"answer", U"option", U"choice"};
    std::size_t i = 0;
    const auto next_is = [&](const auto& list) { return i < words_.size() && any_of_lower(word(i), list); };
    if (next_is(kThe)) ++i;
    if (next_is(kQualifiers)) ++i;
    if (!next_is(kNouns)) return 0;
    ++i;
    if (next_is(kIs)) ++i;
    std::size_t end = words_[i - 1].end;
    while (end < text_.size() && (text_[end] == U':' || is_space(text_[end]))) ++end;
    return end;
  }

  enum class Agreement { none, agrees, contradicts };

  // Whether the text beside the letter of option `index` is the full text of that option, or of another.
  Agreement agreement(int index, std::initializer_list<Text> bodies) const {
    for (const Text body : bodies) {
      if (named(body) == kNone) continue;
      std::u32string said;
      plain(body, said);
      return options_[static_cast<std::size_t>(index)] == said ? Agreement::agrees : Agreement::contradicts;
    }
    return Agreement::none;
  }

  Agreement agreement_before(int index, Text part) const {
    return agreement(index, {strip_right(part, kOpeners), strip(part, kQuoted), strip(part, kMarks)});
  }

  Agreement agreement_after(int index, Text part) const {
    return agreement(index, {strip_left(part, kClosers), strip(part, kQuoted), strip(part, kMarks)});
  }

  // "B. text": the label in word i and the text after it must agree. kNone where either is missing.
  int label(std::size_t i) const {
    const int index = i < words_.size() ? letter(i) : kNone;
    if (index == kNone) return kNone;
    const Agreement found = agreement_after(index, text_.substr(words_[i].end));
    return found == Agreement::none ? kNone : found == Agreement::agrees ? index : kSeveral;
  }

  static bool closes(char32_t c) { return Text(U")]}\"'`*_$.:").find(c) != Text::npos; }
  static bool opens(char32_t c) { return Text(U"([{\"'`*_$").find(c) != Text::npos; }

  // The one option whose letter stands alone somewhere, not denied, and not beside the text of another. The text
  // after a lead starts at `lead`, with word `rest`.
  int mentioned(std::size_t lead, std::size_t rest) const {
    const bool all = letters_only(rest);
    int chosen = kNone;
    std::size_t first = 0, last = 0;
    for (std::size_t i = 0; i < words_.size(); ++i) {
      const int index = letter(i);
      if (index == kNone || !(all || counts(i))) continue;
      if (is_denied(i) || (chosen != kNone && chosen != index)) return kSeveral;
      if (chosen == kNone) first = i;
      last = i;
      chosen = index;
    }
    if (chosen == kNone) return kNone;
    const std::size_t end = std::max(words_[first_pointer(first)].begin, lead);
    const Agreement before = agreement_before(chosen, text_.substr(lead, end - lead));
    const Agreement after = agreement_after(chosen, text_.substr(words_[last].end));
    return before == Agreement::contradicts || after == Agreement::contradicts ? kSeveral : chosen;
  }

  // Whether the words from `rest` on are letters of options, "or", "and", "both" and "either".
  bool letters_only(std::size_t rest) const {
    constexpr Text kConnectives[] = {U"or", U"and", U"both", U"either"};
    for (std::size_t i = rest; i < words_.size(); ++i) {
      if (letter(i) == kNone && !any_of_lower(word(i), kConnectives)) return false;
    }
    return true;
  }

  // The first of the pointers right before word i, or i.
  std::size_t first_pointer(std::size_t i) const {
    constexpr Text kPointers[] = {U"answer", U"option", U"choice", U"is", U"the"};
    while (i > 0 && any_of_lower(word(i - 1), kPointers)) --i;
    return i;
  }

  // Whether a negation stands before word i and its pointers, in the same sentence.
  bool is_denied(std::size_t i) const {
    constexpr Text kNegations[] = {U"not", U"never", U"cannot", U"neither", U"nor", U"except"};
    constexpr Text kEndings[] = {U"n't", U"n\u2019t"};
    const std::size_t first = first_pointer(i);
    if (first == 0) return false;
    const Text before = word(first - 1);
    const bool ends = before.size() >= 3 && any_of_lower(before.substr(before.size() - 3), kEndings);
    if (!ends && !any_of_lower(before, kNegations)) return false;
    const std::size_t from = words_[first - 1].end;
    return text_.substr(from, words_[i].begin - from).find_first_of(U".,;!?\n") == Text::npos;
  }

  bool counts(std::size_t i) const {
    constexpr Text kPointers[] = {U"option", U"choice"};
    const char32_t c = text_[words_[i].begin];
    const char32_t before = words_[i].begin > 0 ? text_[words_[i].begin - 1] : U'\0';
    const char32_t after = words_[i].end < text_.size() ? text_[words_[i].end] : U'\0';
    if (i > 0 && any_of_lower(word(i - 1), kPointers)) return true;
    if (c >= U'a') return after == U')' || (before == U'[' && after == U']');
    if (c != U'A' && c != U'I') return true;
    return opens(before) || closes(after) || !is_article(i);
  }

  // "A dog": white space, then a word that does not go on as after a letter.
  bool is_article(std::size_t i) const {
    constexpr Text kJoiners[] = {U"or", U"and", U"is", U"because", U"since", U"as", U"but"};
    if (i + 1 == words_.size()) return false;
    for (std::size_t k = words_[i].end; k < words_[i + 1].begin; ++k) {
      if (!is_space(text_[k])) return false;
    }
    const Text next = word(i + 1);
    const bool capital = next.size() == 1 && next[0] >= U'A' && next[0] <= U'Z';
    return !any_of_lower(next, kJoiners) && !(capital && letter(i + 1) != kNone);
  }

  Text text_;
  const std::vector<std::u32string>& options_;
  std::vector<Word> words_;
};

}  // namespace

Verdict score_choice(std::string_view answer, const ChoiceGold& gold) {
  thread_local std::u32string text;
  decode_utf8(answer, text);
  if (!is_ascii(text)) text = nfkd(text);
  const int chosen = Chooser(text, gold.options).choose();
  if (chosen == kSeveral) return {0.0, Reason::ambiguous};
  return chosen == static_cast<int>(gold.index) ? Verdict{1.0, Reason::ok} : Verdict{0.0, Reason::no_match};
}

}  // namespace mixed_r1::verify
