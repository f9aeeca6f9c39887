// Units that may stand behind a number, by one name each.
#pragma once

#include <string>
#include <string_view>

namespace mixed_r1::verify {

// The one name of a unit, empty for no known one. White space, braces and full stops do not matter.
std::u32string unit_name(std::u32string_view written);

// Of unit_name, or the sign of a currency.
bool is_known_unit(std::u32string_view name);

}  // namespace mixed_r1::verify
