// Multiple choice: the option that an answer names. The rules and their order are those of the reference.
#include "core/verify_choice.h"

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "core/verify.h"
#include "core/verify_reading.h"
#include "core/verify_unicode.h"

namespace mixed_r1::verify {

namespace {

using Text = std::u32string_view;

constexpr int kNone = -1, kSeveral = -2;

constexpr std::initializer_list<Text> kNouns = {U"answer", U"option", U"choice", U"letter"};
constexpr Text kNegations[] = {U"not", U"never", U"cannot", U"neither", U"nor"};
constexpr Text kConnectives[] = {U"or", U"and", U"both", U"either"};

// Around an option's text: on the side of its letter, then on both. Marks may be part of the text ("-5", "(1, 2)"), so
// few are dropped before many.
constexpr Text kOpeners = U"([{\"'`*_.:, \t\n\r\f\v", kClosers = U")]}\"'`*_.:, \t\n\r\f\v";
constexpr Text kQuoted = U"([{\"'`*_.:, \t\n\r\f\v)]}$";
constexpr Text kMarks = U"([{\"'`*_.:, \t\n\r\f\v)]}$=-;";
constexpr Text kGlue = U"^+<>|~&@#%/\\=-'_\u00b0\u2032";
constexpr Text kStops = U".,;!?\n";
constexpr Text kWideDenials = U"\u4e0d\u975e\u6392\u9664\u9519";

bool has(Text characters, char32_t c) { return characters.find(c) != Text::npos; }

Text strip_left(Text text, Text marks) {
  const std::size_t begin = text.find_first_not_of(marks);
  return begin == Text::npos ? Text() : text.substr(begin);
}

Text strip_right(Text text, Text marks) { return text.substr(0, text.find_last_not_of(marks) + 1); }

Text strip(Text text, Text marks) { return strip_right(strip_left(text, marks), marks); }

bool ends_in_not(Text word) { return word.size() >= 3 && (equals_lower(word.substr(word.size() - 3), U"n't")); }

bool denies(Text word) {
  static constexpr Text kDenials[] = {U"except",  U"without", U"out",     U"eliminate",
                                      U"exclude", U"reject",  U"dismiss", U"than"};
  return in_lower(word, kNegations) || in_lower(word, kDenials) || ends_in_not(word);
}

bool holds_wide_denial(Text word) { return word.find_first_of(kWideDenials) != Text::npos; }

char32_t closer_of(char32_t c) {
  constexpr Text kOpen = U"([{\"'`*_$", kClose = U")]}\"'`*_$";
  const std::size_t at = kOpen.find(c);
  return at == Text::npos ? U'\0' : kClose[at];
}

int letter_of(char32_t c, std::size_t count) {
  const char32_t small = ascii_lower(c);
  return small >= U'a' && small < U'a' + count ? static_cast<int>(small - U'a') : kNone;
}

bool is_capital(char32_t c) { return c >= U'A' && c <= U'Z'; }

class Chooser {
 public:
  Chooser(Text text, const ChoiceGold& gold) : text_(text), gold_(gold) { find_words(text, words_); }

  int choose() {
    std::size_t lead = after_lead(text_, kNouns);
    if (lead == 0) lead = option_lead();
    for (const std::size_t start : {std::size_t{0}, lead}) {
      const std::size_t first = first_word_from(start);
      if (words_.size() - first == 1) {
        const int index = letter(first);
        if (index != kNone && is_alone(first, start)) return index;
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

  Text between(std::size_t i, std::size_t k) const {
    return text_.substr(words_[i].end, words_[k].begin - words_[i].end);
  }

  // The option whose letter word i is.
  int letter(std::size_t i) const {
    const Text w = word(i);
    return w.size() == 1 ? letter_of(w[0], gold_.options.size()) : kNone;
  }

  std::size_t option_lead() const {
    const std::size_t i = !words_.empty() && equals_lower(word(0), U"the") ? 1 : 0;
    return i < words_.size() && in_lower(word(i), kNouns) ? words_[i].end : 0;
  }

  bool is_alone(std::size_t i, std::size_t start) const {
    constexpr Text kFormula = U"^+<>|~&@#%/\\=\u00b0";
    return text_.substr(start, words_[i].begin - start).find_first_of(kFormula) == Text::npos &&
           text_.substr(words_[i].end).find_first_of(kFormula) == Text::npos;
  }

  // The option whose full text this is.
  int named(Text part) const {
    thread_local std::u32string wanted;
    plain(normal(part), wanted);
    int found = kNone;
    for (std::size_t i = 0; i < gold_.options.size() && !wanted.empty(); ++i) {
      if (gold_.options[i] == wanted) found = found == kNone ? static_cast<int>(i) : kSeveral;
    }
    return found;
  }

  std::size_t first_word_from(std::size_t start) const {
    const auto at = std::lower_bound(words_.begin(), words_.end(), start,
                                     [](const Word& w, std::size_t position) { return w.begin < position; });
    return static_cast<std::size_t>(at - words_.begin());
  }

  enum class Agreement { none, agrees, contradicts };

  // Whether the text beside the letter of option `index` is the full text of that option, or of another.
  Agreement agreement(int index, std::initializer_list<Text> bodies) const {
    for (const Text body : bodies) {
      if (named(body) == kNone) continue;
      std::u32string said;
      plain(normal(body), said);
      return gold_.options[static_cast<std::size_t>(index)] == said ? Agreement::agrees : Agreement::contradicts;
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

  // What is left of the options mentioned when those denied are put aside. The text after a lead starts at `lead`,
  // with word `rest`.
  int mentioned(std::size_t lead, std::size_t rest) {
    find_texts();
    const bool all = letters_only(rest);
    int chosen = kNone;
    bool any = false, several = false;
    std::size_t first = 0, last = 0;
    for (std::size_t i = 0; i < words_.size(); ++i) {
      const int index = letter(i);
      if (index == kNone || !(all || (!covered_[words_[i].begin] && counts(i)))) continue;
      any = true;
      if (is_denied(i)) continue;
      several = several || (chosen != kNone && chosen != index);
      if (chosen == kNone) first = i;
      last = i;
      chosen = index;
    }
    if (several) return kSeveral;
    if (chosen == kNone) return from_texts(any);
    const std::size_t end = std::max(words_[first_pointer(first)].begin, lead);
    const Agreement before = agreement_before(chosen, text_.substr(lead, end - lead));
    const Agreement after = agreement_after(chosen, text_.substr(words_[last].end));
    const bool contradicts = before == Agreement::contradicts || after == Agreement::contradicts;
    return contradicts || (framed_ & ~bit(chosen)) != 0 ? kSeveral : chosen;
  }

  static std::uint32_t bit(int index) { return std::uint32_t{1} << index; }

  int from_texts(bool any_letter) const {
    if (framed_ == 0) return any_letter ? kSeveral : kNone;
    if ((framed_ & (framed_ - 1)) != 0 || (others_ & ~framed_) != 0) return kSeveral;
    int index = 0;
    while ((framed_ >> index & 1u) == 0) ++index;
    return index;
  }

  // Options whose text stands in a sentence that ends with it, others that are there undenied, and what they cover.
  void find_texts() {
    std::u32string lowered(text_);
    std::transform(lowered.begin(), lowered.end(), lowered.begin(), ascii_lower);
    covered_.assign(lowered.size() + 1, false);
    std::vector<std::size_t> order(gold_.inner.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return gold_.inner[a].size() > gold_.inner[b].size(); });
    for (const std::size_t index : order) {
      const std::u32string& wanted = gold_.inner[index];
      if (wanted.empty()) continue;
      for (std::size_t at = lowered.find(wanted); at != Text::npos; at = lowered.find(wanted, at + wanted.size())) {
        const std::size_t end = at + wanted.size();
        if (covered_[at] || covered_[end - 1] || !is_whole(lowered, at, end)) continue;
        std::fill(covered_.begin() + static_cast<std::ptrdiff_t>(at),
                  covered_.begin() + static_cast<std::ptrdiff_t>(end), true);
        add_text(static_cast<int>(index), at, end);
      }
    }
  }

  static bool is_whole(Text text, std::size_t begin, std::size_t end) {
    const bool opens = begin == 0 || !(is_letter(text[begin - 1]) && is_letter(text[begin]));
    return opens && (end == text.size() || !(is_letter(text[end - 1]) && is_letter(text[end])));
  }

  void add_text(int index, std::size_t begin, std::size_t end) {
    static constexpr Text kArticles[] = {U"a", U"an", U"the"};
    static constexpr Text kFrames[] = {U"is",     U"are",   U"was",    U"were",   U"be",     U"it's",
                                       U"that's", U"he's",  U"she's",  U"like",   U"choose", U"pick",
                                       U"select", U"say",   U"answer", U"option", U"choice", U"shows",
                                       U"show",   U"being", U"as",     U"called", U"namely"};
    static constexpr Text kEndings[] = {U"because", U"since", U"as", U"in", U"on", U"at", U"for", U"which"};
    std::size_t before = word_before(begin);
    if (before < words_.size() && in_lower(word(before), kArticles)) before = word_before(words_[before].begin);
    const bool has_before = before < words_.size();
    if (has_before && denies(word(before))) return;
    const std::size_t after = first_word_from(end);
    const bool ends = after == words_.size() ||
                      text_.substr(end, words_[after].begin - end).find_first_not_of(U' ') != Text::npos ||
                      in_lower(word(after), kEndings);
    const bool frame = has_before && in_lower(word(before), kFrames) && ends;
    (frame ? framed_ : others_) |= bit(index);
  }

  // The word right before, with nothing but spaces and opening marks between; the number of words where there is none.
  std::size_t word_before(std::size_t position) const {
    const auto at = std::upper_bound(words_.begin(), words_.end(), position,
                                     [](std::size_t p, const Word& w) { return p < w.end; });
    if (at == words_.begin()) return words_.size();
    const auto i = static_cast<std::size_t>(at - words_.begin()) - 1;
    const Text gap = text_.substr(words_[i].end, position - words_[i].end);
    return gap.find_first_not_of(U" :\"'`*_$([") == Text::npos ? i : words_.size();
  }

  // Whether the words from `rest` on are letters of options, "or", "and", "both" and "either".
  bool letters_only(std::size_t rest) const {
    for (std::size_t i = rest; i < words_.size(); ++i) {
      if (letter(i) == kNone && !in_lower(word(i), kConnectives)) return false;
    }
    return true;
  }

  // The first of the pointers right before word i, or i.
  std::size_t first_pointer(std::size_t i) const {
    static constexpr Text kPointers[] = {U"answer", U"option", U"choice", U"letter", U"is", U"the"};
    while (i > 0 && in_lower(word(i - 1), kPointers)) --i;
    return i;
  }

  // Whether word i is denied before it and its pointers in the sentence, or right after it.
  bool is_denied(std::size_t i) const {
    static constexpr Text kBe[] = {U"is",    U"are",   U"was",  U"can",    U"could",  U"seems",
                                   U"looks", U"would", U"must", U"option", U"choice", U"answer"};
    static constexpr Text kAfter[] = {U"not",        U"incorrect", U"wrong",      U"false",   U"never",
                                      U"impossible", U"out",       U"eliminated", U"excluded"};
    const std::size_t first = first_pointer(i);
    if (first > 0 && between(first - 1, i).find_first_of(kStops) == Text::npos) {
      const Text before = word(first - 1);
      const bool instead = equals_lower(before, U"of") && first > 1 && equals_lower(word(first - 2), U"instead");
      if (denies(before) || instead || (is_wide_script(before.back()) && holds_wide_denial(before))) return true;
    }
    for (std::size_t k = i + 1; k < words_.size() && k <= i + 3; ++k) {
      if (between(k - 1, k).find_first_of(kStops) != Text::npos) return false;
      const Text after = word(k);
      if (k == i + 1 && is_wide_script(after[0]) && holds_wide_denial(after)) return true;
      if (in_lower(after, kAfter) || in_lower(after, kNegations) || ends_in_not(after)) return true;
      if (!in_lower(after, kBe)) return false;
    }
    return false;
  }

  // Whether the letter in word i is a choice: marked, or where a choice is named.
  bool counts(std::size_t i) const {
    const std::size_t begin = words_[i].begin, end = words_[i].end;
    const char32_t c = text_[begin];
    const char32_t before = begin > 0 ? text_[begin - 1] : U'\0', after = end < text_.size() ? text_[end] : U'\0';
    const bool marked = before != U'\0' && closer_of(before) != U'\0' && closer_of(before) == after;
    if (!marked && ((before != U'\0' && has(kGlue, before)) || (after != U'\0' && has(kGlue, after)))) return false;
    const std::size_t next = text_.find_first_not_of(U' ', end);
    if (!marked && next != Text::npos && text_[next] == U'=') return false;
    const bool beside = i > 0 && between(i - 1, i).find_first_not_of(U' ') == Text::npos;
    const Text lead = beside ? word(i - 1) : Text();
    if (in_lower(lead, kNouns)) return true;
    if (!is_capital(c)) return after == U')' || (marked && (before == U'(' || before == U'['));
    if (!marked && beside && after != U')' && !may_follow(lead, i - 1)) return false;
    if ((c != U'A' && c != U'I') || marked || after == U')' || after == U'.' || after == U':' || after == U'*') {
      return true;
    }
    return !is_article(i);
  }

  // Whether a letter may follow the word i in its clause.
  bool may_follow(Text lead, std::size_t i) const {
    static constexpr Text kBefore[] = {
        U"is",         U"be",       U"are",       U"was",      U"choose",  U"chose", U"chosen", U"choosing",
        U"pick",       U"picked",   U"select",    U"selected", U"say",     U"it's",  U"that's", U"so",
        U"therefore",  U"thus",     U"hence",     U"with",     U"for",     U"guess", U"think",  U"then",
        U"except",     U"out",      U"eliminate", U"exclude",  U"reject",  U"than",  U"of",     U"but",
        U"definitely", U"probably", U"likely",    U"clearly",  U"correct", U"final", U"the",    U"isn't",
        U"aren't",     U"wasn't",   U"answers",   U"namely",   U"i'd",     U"to"};
    return in_lower(lead, kBefore) || in_lower(lead, kConnectives) || in_lower(lead, kNegations) ||
           is_wide_script(lead.back()) || letter(i) != kNone;
  }

  // "A dog": spaces, then a word that does not go on as after a letter.
  bool is_article(std::size_t i) const {
    static constexpr Text kJoiners[] = {U"or", U"and", U"is", U"because", U"since", U"as", U"but"};
    if (i + 1 == words_.size()) return false;
    const Text gap = between(i, i + 1);
    if (gap.empty() || gap.find_first_not_of(U' ') != Text::npos) return false;
    const Text next = word(i + 1);
    return !in_lower(next, kJoiners) && !(next.size() == 1 && is_capital(next[0]) && letter(i + 1) != kNone);
  }

  Text text_;
  const ChoiceGold& gold_;
  std::vector<Word> words_;
  std::vector<bool> covered_;
  std::uint32_t framed_ = 0, others_ = 0;
};

// Letters and nothing else: "AC", "A, C", "(A) and (C)".
Verdict score_several(Text text, const ChoiceGold& gold) {
  static constexpr Text kPlurals[] = {U"options", U"choices", U"answers"};
  const Text rest = text.substr(after_lead(text, kNouns));
  std::vector<Word> words;
  find_words(rest, words);
  std::uint32_t chosen = 0;
  for (const Word& at : words) {
    const Text word = rest.substr(at.begin, at.end - at.begin);
    if (in_lower(word, kConnectives) || in_lower(word, kPlurals)) continue;
    const bool upper = std::any_of(word.begin(), word.end(), is_capital) &&
                       std::none_of(word.begin(), word.end(), [](char32_t c) { return c >= U'a' && c <= U'z'; });
    if (!is_ascii(word) || !(upper || word.size() == 1)) return {0.0, Reason::no_match};
    for (const char32_t c : word) {
      const int index = letter_of(c, gold.options.size());
      if (index == kNone) return {0.0, Reason::no_match};
      chosen |= std::uint32_t{1} << index;
    }
  }
  return chosen == gold.letters ? Verdict{1.0, Reason::ok} : Verdict{0.0, Reason::no_match};
}

}  // namespace

Verdict score_choice(std::u32string_view answer, const ChoiceGold& gold) {
  const std::u32string text = is_ascii(answer) ? std::u32string(answer) : nfkd(answer);
  if ((gold.letters & (gold.letters - 1)) != 0) return score_several(text, gold);
  const int chosen = Chooser(text, gold).choose();
  if (chosen == kSeveral) return {0.0, Reason::ambiguous};
  const bool right = chosen >= 0 && (gold.letters >> chosen & 1u) != 0;
  return right ? Verdict{1.0, Reason::ok} : Verdict{0.0, Reason::no_match};
}

}  // namespace mixed_r1::verify
