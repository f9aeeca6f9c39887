#include "core/bmas_plan.h"

#include <string_view>
#include <unordered_map>

#include "core/thread_pool.h"

namespace mixed_r1 {

namespace {

// Index of an id among those seen since clear(), in constant time and without touching the rest of the vocabulary.
class DistinctIds {
 public:
  void clear(std::int64_t num_ids) {
    if (static_cast<std::int64_t>(slots_.size()) < num_ids || ++epoch_ == 0) {
      slots_.assign(static_cast<std::size_t>(num_ids), {});
      epoch_ = 1;
    }
    count_ = 0;
  }

  // Second: whether the id is new.
  std::pair<std::int32_t, bool> insert(std::int32_t id) {
    Slot& slot = slots_[static_cast<std::size_t>(id)];
    const bool is_new = slot.epoch != epoch_;
    if (is_new) slot = {epoch_, count_++};
    return {slot.index, is_new};
  }

  std::int32_t find(std::int32_t id) const {
    const Slot& slot = slots_[static_cast<std::size_t>(id)];
    return slot.epoch == epoch_ ? slot.index : -1;
  }

 private:
  struct Slot {
    std::uint32_t epoch = 0;
    std::int32_t index = 0;
  };
  std::vector<Slot> slots_;
  std::uint32_t epoch_ = 0;
  std::int32_t count_ = 0;
};

void fill_columns(Group& group, const TokenSequences& references, DistinctIds& columns) {
  const std::int64_t begin = references.offsets[group.reference], end = references.offsets[group.reference + 1];
  for (std::int64_t t = begin; t < end; ++t) {
    const auto [column, is_new] = columns.insert(references.ids[t]);
    if (is_new) {
      group.columns.push_back(references.ids[t]);
      group.column_counts.push_back(0);
    }
    ++group.column_counts[static_cast<std::size_t>(column)];
  }
  group.reference_tokens = end - begin;
}

void fill_rows(Group& group, const TokenSequences& completions, const DistinctIds& columns, DistinctIds& rows) {
  std::int64_t num_tokens = 0;
  for (GroupCompletion& completion : group.completions) {
    completion.tokens_begin = num_tokens;
    num_tokens += completions.offsets[completion.index + 1] - completions.offsets[completion.index];
    completion.tokens_end = num_tokens;
  }
  group.token_row.resize(static_cast<std::size_t>(num_tokens));
  std::int32_t* token_row = group.token_row.data();
  std::vector<std::int64_t> last_seen_in;  // [rows] the last completion that holds the row
  for (GroupCompletion& completion : group.completions) {
    completion.distinct_begin = static_cast<std::int64_t>(group.distinct.size());
    const std::int64_t end = completions.offsets[completion.index + 1];
    for (std::int64_t t = completions.offsets[completion.index]; t < end; ++t) {
      const std::int32_t id = completions.ids[t];
      const auto [row, is_new] = rows.insert(id);
      if (is_new) {
        group.rows.push_back(id);
        group.match.push_back(columns.find(id));
        last_seen_in.push_back(-1);
      }
      if (last_seen_in[static_cast<std::size_t>(row)] != completion.index) {
        last_seen_in[static_cast<std::size_t>(row)] = completion.index;
        group.distinct.push_back(row);
      }
      *token_row++ = row;
    }
    completion.distinct_end = static_cast<std::int64_t>(group.distinct.size());
  }
}

void fill_group(Group& group, std::int64_t num_ids, const TokenSequences& completions,
                const TokenSequences& references) {
  // 16 bytes per vocabulary entry, kept by each thread that ever ran this: clearing it for each call would cost more.
  thread_local DistinctIds columns_of_thread, rows_of_thread;
  DistinctIds &columns = columns_of_thread, &rows = rows_of_thread;
  columns.clear(num_ids);
  rows.clear(num_ids);
  fill_columns(group, references, columns);
  fill_rows(group, completions, columns, rows);
}

std::string_view bytes_of(const TokenSequences& sequences, std::int64_t index) {
  const std::int64_t begin = sequences.offsets[index], end = sequences.offsets[index + 1];
  return {reinterpret_cast<const char*>(sequences.ids + begin),
          static_cast<std::size_t>(end - begin) * sizeof(std::int32_t)};
}

}  // namespace

std::vector<Group> plan_groups(std::int64_t num_ids, const TokenSequences& completions,
                               const TokenSequences& references, const std::int64_t* reference_of, int num_threads) {
  std::vector<Group> groups;
  std::unordered_map<std::string_view, std::size_t> group_of_text;
  for (std::int64_t i = 0; i < completions.count; ++i) {
    const std::string_view text = bytes_of(references, reference_of[i]);
    if (text.empty() || completions.offsets[i] == completions.offsets[i + 1]) continue;
    const auto [entry, is_new] = group_of_text.try_emplace(text, groups.size());
    if (is_new) groups.emplace_back().reference = reference_of[i];
    groups[entry->second].completions.emplace_back().index = i;
  }
  parallel_for(static_cast<std::int64_t>(groups.size()), num_threads, [&](std::int64_t g, int) {
    fill_group(groups[static_cast<std::size_t>(g)], num_ids, completions, references);
  });
  return groups;
}

}  // namespace mixed_r1
