// Words of an answer that are denied: "not A or C", "B would be wrong". The rules are in reference_denials.py.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "core/verify_words.h"

namespace mixed_r1::verify {

// "not", "never", "cannot", "neither", "nor".
bool is_negation(std::u32string_view word);

class Denials {
 public:
  // `letters`: for each word, whether it is the letter of an option.
  Denials(std::u32string_view text, const std::vector<Word>& words, const std::vector<bool>& letters);

  // Whether the word i is denied; and the words from `first` on, before `end`.
  bool denies(std::size_t i) const { return before_[i] || after_[i]; }
  bool denies(std::size_t first, std::size_t end) const { return before_[first] || (end > first && after_[end - 1]); }

 private:
  std::u32string_view word(std::size_t i) const {
    return i < words_.size() ? text_.substr(words_[i].begin, words_[i].end - words_[i].begin) : std::u32string_view();
  }
  bool is_letter(std::size_t i) const { return i < words_.size() && letters_[i]; }
  std::u32string_view gap(std::size_t i) const {
    return text_.substr(words_[i - 1].end, words_[i].begin - words_[i - 1].end);
  }
  void find_lists();
  bool opens(std::size_t i) const;
  bool denies_before(std::size_t i) const;

  std::u32string_view text_;
  const std::vector<Word>& words_;
  const std::vector<bool>& letters_;
  std::vector<bool> listed_, opens_, before_, after_;
};

}  // namespace mixed_r1::verify
