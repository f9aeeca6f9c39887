// Lists in an answer.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mixed_r1::verify {

// Items of [a, b], (a, b), {a, b} or a, b of a normalised text; at most `most` + 1 of them are made.
std::vector<std::u32string_view> split_list(std::u32string_view text, std::size_t count, std::size_t most);

}  // namespace mixed_r1::verify
