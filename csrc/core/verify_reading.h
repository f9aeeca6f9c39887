// The one reading that every text answer gets before its task compares it; what each step does is in
// reference_reading.py.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/verify_reason.h"

namespace mixed_r1::verify {

enum class Box : int { only, last };

// Where the bodies of the outermost \boxed{..} and \fbox{..} are, in bytes.
void find_boxes(std::string_view text, std::vector<std::pair<std::size_t, std::size_t>>& found);

// The body of the box that counts; the text where there is none. ambiguous: several, under Box::only, that differ.
Reason commit(std::string_view text, Box box, std::string_view& chosen);

// Typographic twins in ASCII.
std::u32string narrow(std::u32string_view text);

// Narrow, plain LaTeX, without what is wrapped around the whole.
std::u32string normal(std::u32string_view text);
void normal(std::u32string_view text, std::u32string& out);  // where `text` does not lie in `out`

// The last white space of UTF-32 and bytes.
std::u32string_view strip_space(std::u32string_view text);

// What `text` commits to, normalised. Not ok: see commit.
Reason read_text(std::string_view text, Box box, std::u32string& out);

// Behind the `characters` that stand at i.
std::size_t skip(std::u32string_view text, std::size_t i, std::u32string_view characters);

// Where the ASCII letters that start at i end.
std::size_t letters_end(std::u32string_view text, std::size_t i);

// Whether `text` is `known` but for the case of ASCII letters.
bool equals_lower(std::u32string_view text, std::u32string_view known);

template <class List>
bool in_lower(std::u32string_view text, const List& list) {
  for (const std::u32string_view known : list) {
    if (equals_lower(text, known)) return true;
  }
  return false;
}

}  // namespace mixed_r1::verify
