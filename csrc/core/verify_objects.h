// Answers inside of more than an answer: a JSON object, or a text with an explanation behind it.
#pragma once

#include <string>
#include <string_view>

namespace mixed_r1::verify {

// `text` before a line that begins with "Explanation:" or its like.
std::u32string_view unexplained(std::u32string_view text);

// The value of the one key "answer" of a JSON object; empty where `text` is none.
std::u32string object_answer(std::u32string_view text);

}  // namespace mixed_r1::verify
