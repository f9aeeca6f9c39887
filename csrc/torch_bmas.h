// What the CPU and the CUDA half of the torch op bmas share: its arguments, checked and laid out as core/ and cuda/
// take them. The tensors of a Checked* struct own the memory that its pointers read.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "core/bmas.h"
#include "core/embedding_rows.h"
#include "torch_checks.h"

namespace mixed_r1 {

struct CheckedSequences {
  at::Tensor ids, offsets;
  TokenSequences view() const {
    return {ids.const_data_ptr<std::int32_t>(), offsets.const_data_ptr<std::int64_t>(), offsets.size(0) - 1};
  }
};

inline CheckedSequences check_sequences(const char* ids_name, const char* offsets_name, const at::Tensor& ids,
                                        const at::Tensor& offsets, std::int64_t num_ids) {
  TORCH_CHECK_TYPE(ids.scalar_type() == at::kInt || ids.scalar_type() == at::kLong, ids_name,
                   " must be int32 or int64, got ", ids.scalar_type());
  check_vector(ids_name, ids, ids.scalar_type(), at::kCPU);
  check_vector(offsets_name, offsets, at::kLong, at::kCPU);
  const at::Tensor wide = ids.to(at::kLong).contiguous();
  const auto* const id = wide.const_data_ptr<std::int64_t>();
  for (std::int64_t t = 0; t < wide.size(0); ++t) {
    TORCH_CHECK_VALUE(id[t] >= 0 && id[t] < num_ids, ids_name, " must be in [0, V) with V = ", num_ids, ", got ",
                      id[t]);
  }
  CheckedSequences checked = {ids.to(at::kInt).contiguous(), offsets.contiguous()};
  const auto* const begin = checked.offsets.const_data_ptr<std::int64_t>();
  const std::int64_t count = offsets.size(0) - 1;
  bool valid = count >= 0 && begin[0] == 0 && begin[count] == ids.size(0);
  for (std::int64_t i = 0; valid && i < count; ++i) valid = begin[i] <= begin[i + 1];
  TORCH_CHECK_VALUE(valid, offsets_name, " must start at 0, not decrease, and end at the number of ids, ", ids.size(0));
  return checked;
}

struct CheckedBmas {
  at::Tensor rows, inverse_norms;  // on the device of the call; the rest is on the CPU
  CheckedSequences completions, references;
  at::Tensor reference_of;
  int num_threads;

  EmbeddingRows table() const;
};

inline EmbeddingRows CheckedBmas::table() const {
  const RowType type = rows.scalar_type() == at::kFloat  ? RowType::float32
                       : rows.scalar_type() == at::kHalf ? RowType::float16
                                                         : RowType::bfloat16;
  return {rows.const_data_ptr(), type, rows.size(0), rows.size(1)};
}

inline CheckedBmas check_bmas(const at::Tensor& rows, const at::Tensor& inverse_norms, const at::Tensor& completion_ids,
                              const at::Tensor& completion_offsets, const at::Tensor& reference_ids,
                              const at::Tensor& reference_offsets, const at::Tensor& reference_of,
                              std::int64_t num_threads) {
  TORCH_CHECK_VALUE(rows.dim() == 2 && rows.size(0) >= 1 && rows.size(0) <= INT32_MAX && rows.size(1) >= 1,
                    "rows must have shape [V, d] with 1 <= V < 2**31 and d >= 1, got ", rows.sizes());
  const at::ScalarType type = rows.scalar_type();
  TORCH_CHECK_TYPE(type == at::kFloat || type == at::kHalf || type == at::kBFloat16,
                   "rows must be float32, float16 or bfloat16, got ", type);
  check_vector("inverse_norms", inverse_norms, at::kFloat, rows.device(), rows.size(0));
  TORCH_CHECK_VALUE(num_threads >= 1 && num_threads <= INT32_MAX, "num_threads must be a positive integer, got ",
                    num_threads);
  CheckedBmas checked = {
      rows.contiguous(),
      inverse_norms.contiguous(),
      check_sequences("completion_ids", "completion_offsets", completion_ids, completion_offsets, rows.size(0)),
      check_sequences("reference_ids", "reference_offsets", reference_ids, reference_offsets, rows.size(0)),
      reference_of.contiguous(),
      static_cast<int>(num_threads)};
  const std::int64_t num_references = reference_offsets.size(0) - 1;
  check_vector("reference_of", reference_of, at::kLong, at::kCPU, completion_offsets.size(0) - 1);
  for (std::int64_t i = 0; i < reference_of.size(0); ++i) {
    const std::int64_t reference = checked.reference_of.const_data_ptr<std::int64_t>()[i];
    TORCH_CHECK_VALUE(reference >= 0 && reference < num_references,
                      "reference_of must be in [0, R) with R = ", num_references, ", got ", reference);
  }
  return checked;
}

}  // namespace mixed_r1
