#include "core/bmas.h"

#include <algorithm>
#include <memory>
#include <new>
#include <vector>

#include "core/bmas_kernels.h"
#include "core/bmas_plan.h"
#include "core/dispatch.h"
#include "core/thread_pool.h"

namespace mixed_r1 {

namespace {

constexpr std::int64_t kRowsPerTask = 192;           // a multiple of every kernel's row_block
constexpr std::int64_t kColumnBlockBytes = 1 << 20;  // packed columns that stay in the second-level cache
constexpr std::int64_t kWaveBytes = 64 << 20;        // panels and cosines held at once, beyond one group's

struct FreeAligned {
  void operator()(void* memory) const { ::operator delete(memory, std::align_val_t{64}); }
};

// Uninitialised memory on a cache line, which only grows.
template <class T>
class Buffer {
 public:
  T* reserve(std::int64_t count) {
    if (count > capacity_) {
      memory_.reset(static_cast<T*>(::operator new(static_cast<std::size_t>(count) * sizeof(T), std::align_val_t{64})));
      capacity_ = count;
    }
    return memory_.get();
  }
  T* get() const { return memory_.get(); }

 private:
  std::unique_ptr<T, FreeAligned> memory_;
  std::int64_t capacity_ = 0;
};

const BmasKernel& kernel_for(RowType type) {
  using Getter = const BmasKernel& (*)();
  constexpr IsaTable<Getter> kFloat32 = {bmas_kernel_generic, MIXED_R1_X86(bmas_kernel_avx2),
                                         MIXED_R1_X86(bmas_kernel_avx512), nullptr, nullptr};
  constexpr IsaTable<Getter> kBfloat16 = {bmas_kernel_generic, MIXED_R1_X86(bmas_kernel_avx2),
                                          MIXED_R1_X86(bmas_kernel_avx512), MIXED_R1_X86(bmas_kernel_avx512bf16),
                                          MIXED_R1_X86(bmas_kernel_amx)};
  return (type == RowType::bfloat16 ? kBfloat16 : kFloat32).at(active_isa())();
}

// One worker's memory within a call.
struct Scratch {
  Buffer<float> widened;
  Buffer<float> column_max;
};

// One group's place in the current wave.
struct Slot {
  const Group* group = nullptr;
  Buffer<std::uint32_t> panels;
  Buffer<float> cosines;
  std::vector<float> column_inverse;
  std::vector<float> row_max;
};

class Computation {
 public:
  Computation(const EmbeddingRows& table, const float* inverse_norms, int num_threads)
      : table_(table), inverse_norms_(inverse_norms), num_threads_(num_threads), kernel_(kernel_for(table.type)) {
    elements_per_word_ = kernel_.reads_bfloat16 ? 2 : 1;
    const std::int64_t words = (table.dim + elements_per_word_ - 1) / elements_per_word_;
    depth_words_ = (words + kernel_.depth_step - 1) / kernel_.depth_step * kernel_.depth_step;
    scratch_.resize(static_cast<std::size_t>(num_threads));
  }

  void run(const std::vector<Group>& groups, double* precision, double* recall) {
    std::vector<Slot> slots;
    for (std::size_t begin = 0; begin < groups.size();) {
      const std::size_t end = wave_end(groups, begin);
      if (slots.size() < end - begin) slots.resize(end - begin);
      for (std::size_t g = begin; g < end; ++g) slots[g - begin].group = &groups[g];
      run_wave(slots, end - begin, precision, recall);
      begin = end;
    }
  }

 private:
  struct RowTask {
    Slot* slot;
    std::int64_t begin;
  };
  struct CompletionTask {
    Slot* slot;
    std::int64_t completion;
  };

  std::int64_t panel_words() const { return depth_words_ * kPanelWidth; }

  // Enough groups for every thread to have row tasks, within kWaveBytes; alone a group's panels stay in its core's
  // cache.
  std::size_t wave_end(const std::vector<Group>& groups, std::size_t begin) const {
    std::int64_t tasks = 0, bytes = 0;
    std::size_t end = begin;
    do {
      const Group& group = groups[end++];
      tasks += (group.num_rows() + kRowsPerTask - 1) / kRowsPerTask;
      bytes += group.padded_columns() * (depth_words_ + group.num_rows()) * 4;
    } while (end < groups.size() && bytes < kWaveBytes && tasks < (num_threads_ == 1 ? 1 : 8 * num_threads_));
    return end;
  }

  void run_wave(std::vector<Slot>& slots, std::size_t count, double* precision, double* recall) {
    std::vector<RowTask> row_tasks;
    std::vector<CompletionTask> completion_tasks;
    for (std::size_t s = 0; s < count; ++s) {
      const Group& group = *slots[s].group;
      for (std::int64_t row = 0; row < group.num_rows(); row += kRowsPerTask) row_tasks.push_back({&slots[s], row});
      for (std::size_t c = 0; c < group.completions.size(); ++c) {
        completion_tasks.push_back({&slots[s], static_cast<std::int64_t>(c)});
      }
    }
    parallel_for(static_cast<std::int64_t>(count), num_threads_,
                 [&](std::int64_t i, int worker) { prepare(slots[static_cast<std::size_t>(i)], scratch_[worker]); });
    parallel_for(static_cast<std::int64_t>(row_tasks.size()), num_threads_, [&](std::int64_t i, int worker) {
      const RowTask& task = row_tasks[static_cast<std::size_t>(i)];
      compare_rows(*task.slot, task.begin, scratch_[worker]);
    });
    parallel_for(static_cast<std::int64_t>(completion_tasks.size()), num_threads_, [&](std::int64_t i, int worker) {
      const CompletionTask& task = completion_tasks[static_cast<std::size_t>(i)];
      average(*task.slot, task.completion, scratch_[worker], precision, recall);
    });
  }

  // A row as the kernel reads it: in place, or widened into out.
  const void* readable_row(std::int32_t id, float* out) const {
    const void* row = table_.row(id);
    if (kernel_.reads_bfloat16 || table_.type == RowType::float32) return row;
    kernel_.widen(table_.type, static_cast<const std::uint16_t*>(row), table_.dim, out);
    return out;
  }

  void prepare(Slot& slot, Scratch& scratch) const {
    const Group& group = *slot.group;
    const std::int64_t columns = group.padded_columns();
    slot.cosines.reserve(((group.num_rows() + kRowsPerTask - 1) / kRowsPerTask) * kRowsPerTask * columns);
    slot.row_max.resize(static_cast<std::size_t>(group.num_rows()));
    slot.column_inverse.resize(static_cast<std::size_t>(columns));
    std::uint32_t* panel = slot.panels.reserve(columns * depth_words_);
    float* widened = scratch.widened.reserve(kPanelWidth * table_.dim);
    const std::int64_t whole_words = table_.dim / elements_per_word_;
    for (std::int64_t first = 0; first < columns; first += kPanelWidth, panel += panel_words()) {
      const void* rows[kPanelWidth];
      for (int c = 0; c < kPanelWidth; ++c) {
        const std::int32_t id = group.column_id(first + c);
        rows[c] = readable_row(id, widened + c * table_.dim);
        slot.column_inverse[static_cast<std::size_t>(first + c)] = inverse_norms_[id];
      }
      kernel_.pack(rows, whole_words, panel);
      std::fill(panel + whole_words * kPanelWidth, panel + panel_words(), 0u);
      if (whole_words * elements_per_word_ < table_.dim) {  // an odd row of bfloat16 ends in half a word
        for (int c = 0; c < kPanelWidth; ++c) {
          panel[whole_words * kPanelWidth + c] = static_cast<const std::uint16_t*>(rows[c])[table_.dim - 1];
        }
      }
    }
  }

  void compare_rows(Slot& slot, std::int64_t begin, Scratch& scratch) const {
    const Group& group = *slot.group;
    const std::int64_t columns = group.padded_columns();
    const std::int64_t end = std::min(begin + kRowsPerTask, group.num_rows());
    const std::int64_t block = kernel_.row_block;
    const std::int64_t panels = columns / kPanelWidth;
    const std::int64_t panels_per_block = std::max<std::int64_t>(1, kColumnBlockBytes / (panel_words() * 4));
    float* widened = scratch.widened.reserve(block * table_.dim);
    for (std::int64_t first_panel = 0; first_panel < panels; first_panel += panels_per_block) {
      const std::int64_t num_panels = std::min(panels_per_block, panels - first_panel);
      for (std::int64_t i = begin; i < end; i += block) {
        const void* rows[kMaxRowBlock];
        for (std::int64_t r = 0; r < block; ++r) {
          // The last block repeats its last row; its extra results lie in the padding of the cosines.
          rows[r] = i + r < end ? readable_row(group.rows[static_cast<std::size_t>(i + r)], widened + r * table_.dim)
                                : rows[r - 1];
        }
        kernel_.dots(rows, std::min(block, end - i), table_.dim, slot.panels.get() + first_panel * panel_words(),
                     depth_words_, num_panels, slot.cosines.get() + i * columns + first_panel * kPanelWidth, columns);
      }
    }
    float row_inverse[kRowsPerTask];
    for (std::int64_t i = begin; i < end; ++i)
      row_inverse[i - begin] = inverse_norms_[group.rows[static_cast<std::size_t>(i)]];
    std::int32_t match[kRowsPerTask];
    for (std::int64_t i = begin; i < end; ++i) {
      match[i - begin] = row_inverse[i - begin] == 0.0f ? -1 : group.match[static_cast<std::size_t>(i)];
    }
    kernel_.finish(slot.cosines.get() + begin * columns, columns, end - begin, columns, row_inverse,
                   slot.column_inverse.data(), match, slot.row_max.data() + begin);
  }

  void average(const Slot& slot, std::int64_t c, Scratch& scratch, double* precision, double* recall) const {
    const Group& group = *slot.group;
    const GroupCompletion& completion = group.completions[static_cast<std::size_t>(c)];
    double sum = 0.0;
    for (std::int64_t t = completion.tokens_begin; t < completion.tokens_end; ++t) {
      sum += slot.row_max[static_cast<std::size_t>(group.token_row[static_cast<std::size_t>(t)])];
    }
    precision[completion.index] = sum / static_cast<double>(completion.tokens_end - completion.tokens_begin);

    const std::int64_t columns = group.padded_columns();
    float* column_max = scratch.column_max.reserve(columns);
    kernel_.max_over_rows(slot.cosines.get(), columns, group.distinct.data() + completion.distinct_begin,
                          completion.distinct_end - completion.distinct_begin, columns, column_max);
    sum = 0.0;
    for (std::size_t j = 0; j < group.columns.size(); ++j) {
      sum += static_cast<double>(group.column_counts[j]) * column_max[j];
    }
    recall[completion.index] = sum / static_cast<double>(group.reference_tokens);
  }

  static constexpr std::int64_t kMaxRowBlock = 48;

  const EmbeddingRows& table_;
  const float* inverse_norms_;
  const int num_threads_;
  const BmasKernel& kernel_;
  std::int64_t elements_per_word_ = 1;
  std::int64_t depth_words_ = 0;
  std::vector<Scratch> scratch_;
};

}  // namespace

void bmas(const EmbeddingRows& table, const float* inverse_norms, const TokenSequences& completions,
          const TokenSequences& references, const std::int64_t* reference_of, int num_threads, double* precision,
          double* recall) {
  num_threads = std::min(num_threads, kMaxThreads);
  std::fill(precision, precision + completions.count, 0.0);
  std::fill(recall, recall + completions.count, 0.0);
  const std::vector<Group> groups = plan_groups(table.num_rows, completions, references, reference_of, num_threads);
  if (!groups.empty()) Computation(table, inverse_norms, num_threads).run(groups, precision, recall);
}

}  // namespace mixed_r1
