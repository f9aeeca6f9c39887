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
    const int labelled = label(first_word_from(lead));
    return labelled != kNone ? labelled : mentioned();
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

  // "B. text": the label in word i and the text after it must agree. kNone where either is missing.
  int label(std::size_t i) const {
    const int index = i < words_.size() ? letter(i) : kNone;
    if (index == kNone) return kNone;
    Text body = text_.substr(words_[i].end);
    const std::size_t before = body.size();
    while (!body.empty() && (closes(body[0]) || body[0] == U'-' || body[0] == U',' || is_space(body[0]))) {
      body.remove_prefix(1);
    }
    if (body.size() == before || named(body) == kNone) return kNone;
    std::u32string rest;
    plain(body, rest);
    return options_[static_cast<std::size_t>(index)] == rest ? index : kSeveral;
  }

  static bool closes(char32_t c) { return Text(U")]}\"'`*_$.:").find(c) != Text::npos; }
  static bool opens(char32_t c) { return Text(U"([{\"'`*_$").find(c) != Text::npos; }

  // The one option whose letter stands alone somewhere.
  int mentioned() const {
    std::uint32_t seen = 0;
    for (std::size_t i = 0; i < words_.size(); ++i) {
      const int index = letter(i);
      if (index != kNone && counts(i)) seen |= std::uint32_t{1} << index;
    }
    if (seen == 0) return kNone;
    if ((seen & (seen - 1)) != 0) return kSeveral;
    int index = 0;
    while ((seen >> index & 1u) == 0) ++index;
    return index;
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
