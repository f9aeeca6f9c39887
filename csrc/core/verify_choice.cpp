// Multiple choice: the option that an answer names. The rules and their order are those of the reference.
#include "core/verify_choice.h"

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "core/verify.h"
#include "core/verify_denials.h"
#include "core/verify_leads.h"
#include "core/verify_reading.h"
#include "core/verify_unicode.h"

namespace mixed_r1::verify {

namespace {

using Text = std::u32string_view;

constexpr int kNone = -1, kSeveral = -2;
constexpr std::size_t kMaxJoined = 26;

constexpr std::initializer_list<Text> kNouns = {U"answer", U"option", U"choice", U"letter"};
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

int only_bit(std::uint32_t bits) {
  if (bits == 0) return kNone;
  if ((bits & (bits - 1)) != 0) return kSeveral;
  int index = 0;
  while ((bits >> index & 1u) == 0) ++index;
  return index;
}

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
      const int index = only_bit(named(text_.substr(start)));
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

  // A bit for each option whose full text this is.
  std::uint32_t named(Text part) const {
    thread_local std::u32string wanted;
    plain(normal(part), wanted);
    return gold_.named(wanted);
  }

  std::size_t first_word_from(std::size_t start) const {
    const auto at = std::lower_bound(words_.begin(), words_.end(), start,
                                     [](const Word& w, std::size_t position) { return w.begin < position; });
    return static_cast<std::size_t>(at - words_.begin());
  }

  enum class Agreement { none, agrees, contradicts };

  // Whether the text beside the letter of option `index` is the full text of that option, or of another; where it is
  // of none, whether it has the value of one.
  Agreement agreement(int index, std::initializer_list<Text> bodies) const {
    std::uint32_t same = 0;
    for (const Text body : bodies) {
      if (same == 0) same = named(body);
    }
    if (same == 0 && gold_.has_values) same = gold_.valued(normal(*(bodies.end() - 1)));
    return same == 0 ? Agreement::none : (same & bit(index)) != 0 ? Agreement::agrees : Agreement::contradicts;
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
    std::vector<bool> letters(words_.size());
    for (std::size_t i = 0; i < words_.size(); ++i) letters[i] = letter(i) != kNone;
    const Denials denials(text_, words_, letters);
    find_texts(denials);
    const bool all = letters_only(rest);
    int chosen = kNone;
    bool any = false, several = false;
    std::size_t first = 0, last = 0;
    for (std::size_t i = 0; i < words_.size(); ++i) {
      const int index = letter(i);
      if (index == kNone || !(all || (!covered_[words_[i].begin] && counts(i)))) continue;
      any = true;
      if (is_denied(denials, i)) continue;
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
    return (others_ & ~framed_) != 0 ? kSeveral : only_bit(framed_);
  }

  // Options whose text stands in a sentence that ends with it, others that are there undenied, and what they cover.
  void find_texts(const Denials& denials) {
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
        add_text(denials, static_cast<int>(index), at, end);
      }
    }
  }

  static bool is_whole(Text text, std::size_t begin, std::size_t end) {
    const bool opens = begin == 0 || !(is_letter(text[begin - 1]) && is_letter(text[begin]));
    return opens && (end == text.size() || !(is_letter(text[end - 1]) && is_letter(text[end])));
  }

  void add_text(const Denials& denials, int index, std::size_t begin, std::size_t end) {
    static constexpr Text kArticles[] = {U"a", U"an", U"the"};
    static constexpr Text kFrames[] = {U"is",     U"are",   U"was",    U"were",   U"be",     U"it's",
                                       U"that's", U"he's",  U"she's",  U"like",   U"choose", U"pick",
                                       U"select", U"say",   U"answer", U"option", U"choice", U"shows",
                                       U"show",   U"being", U"as",     U"called", U"namely", U"but"};
    static constexpr Text kEndings[] = {U"because", U"since", U"as", U"in", U"on", U"at", U"for", U"which"};
    const std::size_t after = first_word_from(end);
    if (denials.denies(first_word_from(begin), after)) return;
    std::size_t before = word_before(begin);
    if (before < words_.size() && in_lower(word(before), kArticles)) before = word_before(words_[before].begin);
    const bool has_before = before < words_.size();
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

  // Whether the letter in word i is denied in its clause, or by a Chinese word beside it.
  bool is_denied(const Denials& denials, std::size_t i) const {
    if (denials.denies(i)) return true;
    std::size_t first = i, last = i;  // of the letters that "or" joins, in Chinese
    while (first >= 2 && joins(first - 1) && letter(first - 2) != kNone && i - first < 2 * kMaxJoined) first -= 2;
    while (joins(last + 1) && is_letter_at(last + 2) && last - i < 2 * kMaxJoined) last += 2;
    const std::size_t before = first_pointer(first);
    if (before > 0 && is_wide_script(word(before - 1).back()) && holds_wide_denial(word(before - 1)) &&
        between(before - 1, before).find_first_of(kStops) == Text::npos) {
      return true;
    }
    if (last + 1 >= words_.size()) return false;
    const Text after = word(last + 1);
    return is_wide_script(after[0]) && holds_wide_denial(after) &&
           between(last, last + 1).find_first_of(kStops) == Text::npos;
  }

  bool joins(std::size_t i) const {
    static constexpr Text kWide[] = {U"\u6216", U"\u6216\u8005", U"\u548c", U"\u4e0e", U"\u53ca", U"\u6216\u662f"};
    return i < words_.size() && in_lower(word(i), kWide);
  }

  bool is_letter_at(std::size_t i) const { return i < words_.size() && letter(i) != kNone; }

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
        U"is",       U"be",      U"are",       U"was",    U"choose",     U"chose",     U"chosen",
        U"choosing", U"pick",    U"picked",    U"select", U"selected",   U"say",       U"it's",
        U"that's",   U"so",      U"therefore", U"thus",   U"hence",      U"with",      U"for",
        U"guess",    U"think",   U"then",      U"except", U"out",        U"eliminate", U"exclude",
        U"reject",   U"than",    U"of",        U"but",    U"definitely", U"probably",  U"likely",
        U"clearly",  U"correct", U"final",     U"the",    U"isn't",      U"aren't",    U"wasn't",
        U"answers",  U"namely",  U"i'd",       U"to",     U"maybe",      U"perhaps",   U"possibly"};
    return in_lower(lead, kBefore) || in_lower(lead, kConnectives) || is_negation(lead) ||
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

// The option that has the value of the answer, or the value that the answer states.
int choose_by_value(Text answer, const ChoiceGold& gold) {
  if (!gold.has_values) return kNone;
  const std::u32string text = normal(answer.substr(after_lead(answer, kNouns)));
  const std::uint32_t same = gold.valued(text);
  return only_bit(same != 0 ? same : gold.valued(stated(text)));
}

// The option "Yes" or "No" that the answer says.
int choose_by_verdict(Text answer, const ChoiceGold& gold) {
  if (gold.yes < 0) return kNone;
  const Verdict says = score_yes_no(answer, true);
  if (says.reason == Reason::ambiguous) return kSeveral;
  if (says.reason == Reason::ok) return gold.yes;
  return score_yes_no(answer, false).reason == Reason::ok ? gold.no : kNone;
}

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
  int chosen = Chooser(text, gold).choose();
  if (chosen == kNone) chosen = choose_by_value(answer, gold);
  if (chosen == kNone) chosen = choose_by_verdict(answer, gold);
  if (chosen == kSeveral) return {0.0, Reason::ambiguous};
  const bool right = chosen >= 0 && (gold.letters >> chosen & 1u) != 0;
  return right ? Verdict{1.0, Reason::ok} : Verdict{0.0, Reason::no_match};
}

}  // namespace mixed_r1::verify
