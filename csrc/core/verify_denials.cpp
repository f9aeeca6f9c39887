#include "core/verify_denials.h"

#include "core/verify_reading.h"

namespace mixed_r1::verify {

namespace {

using Text = std::u32string_view;

constexpr Text kStops = U".,;!?\n";

constexpr Text kNegations[] = {U"not", U"never", U"cannot", U"neither", U"nor"};
constexpr Text kConnectives[] = {U"or", U"and", U"nor"};
constexpr Text kBefore[] = {U"except",     U"excepting",   U"excluding", U"without",  U"out",      U"eliminate",
                            U"eliminates", U"eliminating", U"exclude",   U"excludes", U"reject",   U"dismiss",
                            U"discard",    U"than",        U"disagree",  U"hardly",   U"unlikely", U"avoid",
                            U"distractor", U"rule",        U"ruling",    U"instead"};
constexpr Text kFalse[] = {U"incorrect", U"wrong", U"false"};
constexpr Text kAfter[] = {U"impossible", U"out",      U"eliminated", U"excluded", U"rejected",     U"dismissed",
                           U"discarded",  U"unlikely", U"invalid",    U"untrue",   U"inconsistent", U"less"};
constexpr Text kChoices[] = {U"answer", U"option", U"choice", U"letter"};
constexpr Text kTrue[] = {U"correct", U"right", U"true", U"possible", U"likely", U"it", U"the", U"an", U"a"};
constexpr Text kSplitters[] = {U"so",      U"therefore", U"thus",    U"hence",    U"because", U"since",
                               U"as",      U"while",     U"whereas", U"although", U"though",  U"rather",
                               U"instead", U"yet",       U"however", U"then",     U"which",   U"when"};
constexpr Text kEvery[] = {U"anything", U"everything", U"all", U"nothing", U"none", U"any"};
constexpr Text kAside[] = {U"doubt", U"question"};
constexpr Text kBe[] = {U"is", U"are", U"was", U"were", U"be"};
constexpr Text kLightBefore[] = {
    U"think", U"believe", U"say",     U"suspect", U"guess", U"feel",   U"agree",    U"choose",   U"pick",  U"select",
    U"go",    U"with",    U"for",     U"it",      U"it's",  U"that",   U"this",     U"the",      U"would", U"correct",
    U"right", U"best",    U"my",      U"final",   U"to",    U"a",      U"an",       U"any",      U"than",  U"of",
    U"out",   U"sure",    U"certain", U"either",  U"both",  U"likely", U"possibly", U"probably", U"there", U"can",
    U"could", U"should",  U"way",     U"i",       U"we",    U"one"};
constexpr Text kLightAfter[] = {U"been", U"has",   U"have",  U"can",   U"could", U"would", U"should", U"must", U"will",
                                U"may",  U"might", U"seems", U"looks", U"does",  U"do",    U"did",    U"the",  U"an",
                                U"also", U"just",  U"very",  U"quite", U"ruled", U"both",  U"all"};

bool ends_in(Text word, Text ending) {
  return word.size() >= ending.size() && equals_lower(word.substr(word.size() - ending.size()), ending);
}

bool has_any(Text gap, Text marks) { return gap.find_first_of(marks) != Text::npos; }

bool is_light(Text word) { return in_lower(word, kConnectives) || in_lower(word, kChoices) || in_lower(word, kBe); }

}  // namespace

bool is_negation(std::u32string_view word) { return in_lower(word, kNegations); }

Denials::Denials(std::u32string_view text, const std::vector<Word>& words, const std::vector<bool>& letters)
    : text_(text), words_(words), letters_(letters) {
  find_lists();
  bool denied = false, heavy = false;
  for (std::size_t i = 0; i < words_.size(); ++i) {
    opens_.push_back(opens(i));
    if (opens_[i]) denied = heavy = false;
    before_.push_back(denied);
    if (denies_before(i)) {
      denied = true;
      heavy = false;
    } else if (heavy && in_lower(word(i), kBe)) {
      denied = heavy = false;
    } else if (!letters_[i] && !is_light(word(i)) && !in_lower(word(i), kLightBefore)) {
      heavy = denied;
    }
  }
  before_.push_back(denied);
  after_.assign(words_.size(), false);
  for (std::size_t i = words_.size(); i-- > 1;) {
    if (opens_[i]) continue;
    const Text next = word(i);
    const bool light = letters_[i] || is_light(next) || in_lower(next, kLightAfter) || ends_in(next, U"ly");
    const bool denies = is_negation(next) || in_lower(next, kFalse) || in_lower(next, kAfter) || ends_in(next, U"n't");
    after_[i - 1] = denies || (light && after_[i]);
  }
}

// Whether each word is a letter of a list that goes on to "and", "or" or "nor" and a letter.
void Denials::find_lists() {
  listed_.assign(words_.size() + 1, false);
  for (std::size_t i = words_.size(); i-- > 0;) {
    if (!letters_[i] || i + 1 >= words_.size()) continue;
    const bool joined = in_lower(word(i + 1), kConnectives) && is_letter(i + 2);
    const bool goes_on = is_letter(i + 1) && listed_[i + 1] && gap(i + 1).find_first_not_of(U" ,()") == Text::npos;
    listed_[i] = joined || goes_on;
  }
}

// Whether a clause begins with word i.
bool Denials::opens(std::size_t i) const {
  if (i == 0) return true;
  const Text between = gap(i), said = word(i);
  const bool joins = in_lower(said, kConnectives) && is_letter(i - 1) && is_letter(i + 1);
  if (has_any(between, kStops)) {
    const bool goes_on = joins || (letters_[i] && letters_[i - 1] && listed_[i - 1]);
    return has_any(between, U".;!?\n") || !goes_on;
  }
  const bool aside = has_any(between, U":") || between.find(U" -") != Text::npos ||
                     (has_any(between, U"(") && !letters_[i]) || (has_any(between, U")") && !letters_[i - 1]);
  if (aside) {
    const bool untrue = is_negation(said) && in_lower(word(i + 1), kTrue) && !is_letter(i + 1);
    return !(denies_before(i - 1) || in_lower(said, kFalse) || untrue);
  }
  if (equals_lower(said, U"but")) return !in_lower(word(i - 1), kEvery);
  if (equals_lower(said, U"and")) return !joins;
  return in_lower(said, kSplitters) || (is_negation(said) && is_letter(i - 1) && is_letter(i + 1));
}

bool Denials::denies_before(std::size_t i) const {
  const Text said = word(i);
  const Text previous = i > 0 ? word(i - 1) : Text();
  if (equals_lower(said, U"no")) return !in_lower(word(i + 1), kAside);
  if (equals_lower(said, U"doubt")) return !equals_lower(previous, U"no");
  if (equals_lower(said, U"but")) return in_lower(previous, kEvery);
  return is_negation(said) || in_lower(said, kBefore) || ends_in(said, U"n't") ||
         (in_lower(said, kFalse) && in_lower(word(i + 1), kChoices));
}

}  // namespace mixed_r1::verify
