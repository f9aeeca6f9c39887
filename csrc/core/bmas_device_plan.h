// The plan of a batch as flat arrays, for kernels on a GPU.
#pragma once

#include <cstdint>
#include <vector>

#include "core/bmas.h"

namespace mixed_r1 {

// Groups, rows and columns are those of bmas_plan.h, in the same order; "begin" arrays have one entry more than what
// they index, the last is the total. A pair with an empty side is in no array.
struct BmasDevicePlan {
  using Array = std::vector<std::int32_t>;
  Array row_begin;  // [groups + 1] into row_ids
  Array row_ids;    // [rows] distinct ids of the completions of a group
  Array column_begin;
  Array column_ids;     // [columns] distinct ids of the reference of a group
  Array column_counts;  // [columns] how often the reference has the id
  Array tile_group;     // [tiles] every block of row_block rows of a group, in order
  Array tile_row;       // [tiles] the tile's first row
  Array completion_group;
  Array completion_index;  // [completions] in the batch
  Array distinct_begin;    // [completions + 1] into distinct_rows
  Array distinct_rows;     // the rows of each completion, each once, by first appearance
  Array distinct_counts;   // how often the completion has the row
};

BmasDevicePlan plan_for_device(std::int64_t num_ids, const TokenSequences& completions,
                               const TokenSequences& references, const std::int64_t* reference_of, int row_block,
                               int num_threads);

// Consecutive groups that run at once, as ranges of the plan's tiles and completions.
struct BmasWave {
  std::int64_t tile_begin = 0, tile_end = 0, completion_begin = 0, completion_end = 0;
};

struct BmasWaves {
  std::vector<BmasWave> waves;
  std::vector<std::int64_t> cosine_begin;  // [groups] where a group's rows x columns cosines begin within its wave
  std::int64_t most_cosines = 0;           // of any wave
};

// Waves of at most max_cosines cosines, or of one group.
BmasWaves plan_waves(const BmasDevicePlan& plan, std::int64_t max_cosines);

}  // namespace mixed_r1
