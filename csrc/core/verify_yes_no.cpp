// Yes and no: what a verdict is and which texts say one is in reference_yes_no.py.
#include <algorithm>

#include "core/verify.h"
#include "core/verify_reading.h"
#include "core/verify_unicode.h"
#include "core/verify_words.h"

namespace mixed_r1::verify {

namespace {

using Text = std::u32string_view;

constexpr Text kYes[] = {U"yes",    U"yep",          U"yeah",   U"yup",          U"true",        U"correct",
                         U"\u662f", U"\u662f\u7684", U"\u5bf9", U"\u5bf9\u7684", U"\u6b63\u786e"};
constexpr Text kNo[] = {U"no",     U"nope",         U"nah",          U"false",        U"incorrect",    U"\u5426",
                        U"\u4e0d", U"\u4e0d\u662f", U"\u4e0d\u5bf9", U"\u9519\u8bef", U"\u6ca1\u6709", U"wrong"};
constexpr Text kAttributes[] = {U"true", U"correct", U"false", U"incorrect", U"wrong"};
constexpr Text kDenying[] = {U"false", U"incorrect", U"wrong", U"opposite"};  // where they are no verdicts
constexpr Text kSubjects[] = {U"it",        U"it's",  U"this",   U"that",      U"that's",
                              U"statement", U"claim", U"answer", U"assertion", U"caption"};
constexpr Text kFillers[] = {U"is",    U"are",  U"was",      U"be",     U"not",   U"isn't",  U"wasn't",
                             U"would", U"also", U"indeed",   U"in",     U"fact",  U"and",    U"or",
                             U"nor",   U"but",  U"actually", U"rather", U"maybe", U"perhaps"};
constexpr Text kFollowers[] = {U"it",    U"there", U"they",  U"he",        U"she", U"this",  U"that",
                               U"these", U"those", U"the",   U"i",         U"we",  U"you",   U"because",
                               U"since", U"as",    U"and",   U"or",        U"but", U"not",   U"in",
                               U"for",   U"here",  U"based", U"according", U"if",  U"unless"};
constexpr Text kAsking[] = {U"if", U"whether"};
constexpr Text kNegations[] = {U"not", U"never", U"cannot", U"neither", U"nor"};

template <std::size_t N>
bool is_one_of(Text word, const Text (&list)[N]) {
  return std::find(std::begin(list), std::end(list), word) != std::end(list);
}

// Whether nothing but spaces and emphasis stands between two words.
bool is_blank(Text between) { return between.find_first_not_of(U" \t*_`") == Text::npos; }

bool negates(Text word) {
  return is_one_of(word, kNegations) || is_one_of(word, kDenying) || word.ends_with(U"n't") ||
         word.ends_with(U"n\u2019t");
}

bool is_number(Text word) { return std::all_of(word.begin(), word.end(), is_digit); }

class Verdicts {
 public:
  Verdicts(Text text, const std::vector<Word>& words) : text_(text), words_(words) {}

  Verdict judge(bool gold) const {
    bool any = false, first = false, differ = false, negated = false, leads = false, denied = false;
    bool asking = false, asked = false;
    for (std::size_t i = 0; i < words_.size(); ++i) {
      if (i > 0 && !is_blank(between(i - 1))) denied = asking = false;
      if (!is_verdict(i) || (leads && is_aside(i))) {
        denied = denied || negates(word(i));
        asking = asking || is_one_of(word(i), kAsking);
        continue;
      }
      if (asking) {
        asked = true;
        continue;
      }
      const bool says = is_one_of(word(i), kYes) != denied;
      if (!any) first = says;
      differ = differ || (any && says != first);
      any = true;
      negated = negated || denied;
      leads = leads || (i == 0 && !denied);
    }
    if (!any) return {0.0, asked ? Reason::ambiguous : Reason::no_match};
    const bool conditional = asked && is_one_of(word(0), kAsking);
    if (differ || (negated && !leads) || conditional) return {0.0, Reason::ambiguous};
    return first == gold ? Verdict{1.0, Reason::ok} : Verdict{0.0, Reason::no_match};
  }

 private:
  Text word(std::size_t i) const { return text_.substr(words_[i].begin, words_[i].end - words_[i].begin); }

  // What stands between word i and the next.
  Text between(std::size_t i) const { return text_.substr(words_[i].end, words_[i + 1].begin - words_[i].end); }

  bool is_verdict(std::size_t i) const {
    const Text said = word(i);
    if (!is_one_of(said, kYes) && !is_one_of(said, kNo)) return false;
    if (said == U"wrong") return words_.size() == 1 || is_one_of(subject(i), kSubjects);
    if (i + 1 == words_.size()) return true;
    const Text gap = between(i), following = word(i + 1);
    const bool no = said == U"no";
    if (no && is_number(following) && is_full_stop(gap)) return false;
    if (!no && !is_one_of(said, kAttributes)) return true;
    return !is_blank(gap) || is_one_of(following, kFollowers) || is_one_of(following, kYes) ||
           is_one_of(following, kNo);
  }

  // Whether "correct" or its like speaks of something else than the question.
  bool is_aside(std::size_t i) const {
    if (!is_one_of(word(i), kAttributes)) return false;
    const Text of = subject(i);
    return !of.empty() && !is_one_of(of, kSubjects);
  }

  // The last word before word i in its clause that is no filler; empty without one, or where it is a verdict.
  Text subject(std::size_t i) const {
    while (i > 0 && is_blank(between(i - 1))) {
      --i;
      if (is_one_of(word(i), kYes) || is_one_of(word(i), kNo)) return {};
      if (!is_one_of(word(i), kFillers)) return word(i);
    }
    return {};
  }

  static bool is_full_stop(Text gap) {
    const std::size_t begin = gap.find_first_not_of(U' ');
    return begin != Text::npos && gap.substr(begin, gap.find_last_not_of(U' ') + 1 - begin) == U".";
  }

  Text text_;
  const std::vector<Word>& words_;
};

}  // namespace

Verdict score_yes_no(std::u32string_view answer, bool gold) {
  thread_local std::u32string text;
  thread_local std::vector<Word> words;
  fold(answer, text);
  find_words(text, words);
  return Verdicts(text, words).judge(gold);
}

}  // namespace mixed_r1::verify
