// Golds of charts.
#pragma once

#include <string>
#include <vector>

#include "core/verify_number.h"

namespace mixed_r1::verify {

struct ChartItem {
  bool is_number = false;
  Number number;
  std::u32string text;  // in its one form
};

struct ChartGold {
  std::vector<ChartItem> items;
  bool is_list = false;
};

}  // namespace mixed_r1::verify
