// The words of a box: its numbers, and the names of its coordinates.
#pragma once

#include <string_view>

namespace mixed_r1::verify {

// "bottom-right" and its like, in any case.
bool is_corner(std::string_view word);

// What may stand between the corners of a box: "to", "-", "corner" ...
bool is_between_points(std::string_view word);

// Which coordinate a name is of (x1, y1, x2, y2 from 0), or -1; 4 and 5 are x and y of a point, where one is asked for.
int coordinate(std::string_view name, bool point);

// [sign] digits [. digits] [exponent], or nan for nan, inf and infinity. False for any other token.
bool read_token(std::string_view token, double& value);

}  // namespace mixed_r1::verify
