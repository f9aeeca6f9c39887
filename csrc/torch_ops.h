// What the CPU and the CUDA half of torch.ops.mixed_r1 share: arguments, checked and laid out as core/ and cuda/ take
// them. Tensors of a Checked* struct own the memory that its pointers read.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string_view>

#include "core/advantages.h"
#include "core/bmas.h"
#include "core/box_iou.h"
#include "core/embedding_rows.h"

namespace mixed_r1 {

BoxKind kind_of(std::string_view name);
AdvantageMethod method_of(std::string_view name);

void check_boxes(const at::Tensor& boxes1, const at::Tensor& boxes2, bool paired, const char* name1 = "boxes1",
                 const char* name2 = "boxes2");

// [N] (paired) or [N, M], uninitialised.
at::Tensor new_scores(const at::Tensor& boxes1, const at::Tensor& boxes2, bool paired);

// Integers [S] of at least `least` that add up to `total`.
at::Tensor check_counts(const char* name, const at::Tensor& counts, std::int64_t total, std::int64_t least);

struct CheckedAdvantages {
  at::Tensor rewards, sizes, weights;
  std::optional<at::Tensor> mask, scales;
};

CheckedAdvantages check_advantages(const at::Tensor& rewards, const at::Tensor& sizes, const at::Tensor& weights,
                                   const std::optional<at::Tensor>& mask, AdvantageMethod method, double eps,
                                   const std::optional<at::Tensor>& scales);

struct CheckedSequences {
  at::Tensor ids, offsets;
  TokenSequences view() const {
    return {ids.const_data_ptr<std::int32_t>(), offsets.const_data_ptr<std::int64_t>(), offsets.size(0) - 1};
  }
};

struct CheckedBmas {
  at::Tensor rows, inverse_norms;  // on the device of the call; the rest is on the CPU
  CheckedSequences completions, references;
  at::Tensor reference_of;
  int num_threads;

  EmbeddingRows table() const;
};

CheckedBmas check_bmas(const at::Tensor& rows, const at::Tensor& inverse_norms, const at::Tensor& completion_ids,
                       const at::Tensor& completion_offsets, const at::Tensor& reference_ids,
                       const at::Tensor& reference_offsets, const at::Tensor& reference_of, std::int64_t num_threads);

}  // namespace mixed_r1
