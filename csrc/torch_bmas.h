// What the CPU and the CUDA half of the torch op bmas share: its arguments, checked and laid out as core/ and cuda/
// take them. The tensors of a Checked* struct own the memory that its pointers read.
#pragma once

#include <cstdint>

#include "core/bmas.h"
#include "core/embedding_rows.h"
#include "torch_checks.h"

namespace mixed_r1 {

struct CheckedSequences {
  Tensor ids, offsets;
  TokenSequences view() const {
    return {ids.const_data_ptr<std::int32_t>(), offsets.const_data_ptr<std::int64_t>(), offsets.size(0) - 1};
  }
};

inline CheckedSequences check_sequences(const char* ids_name, const char* offsets_name, const Tensor& ids,
                                        const Tensor& offsets, std::int64_t num_ids) {
  require(ids.scalar_type() == ScalarType::Int || ids.scalar_type() == ScalarType::Long, ids_name,
          " must be int32 or int64, got ", ids.scalar_type());
  check_vector(ids_name, ids, ids.scalar_type(), torch::headeronly::DeviceType::CPU);
  check_vector(offsets_name, offsets, ScalarType::Long, torch::headeronly::DeviceType::CPU);
  const Tensor wide = compact(as_type(ids, ScalarType::Long));
  const auto* const id = wide.const_data_ptr<std::int64_t>();
  for (std::int64_t t = 0; t < wide.size(0); ++t) {
    require(id[t] >= 0 && id[t] < num_ids, ids_name, " must be in [0, V) with V = ", num_ids, ", got ", id[t]);
  }
  CheckedSequences checked = {compact(as_type(ids, ScalarType::Int)), compact(offsets)};
  const auto* const begin = checked.offsets.const_data_ptr<std::int64_t>();
  const std::int64_t count = offsets.size(0) - 1;
  bool valid = count >= 0 && begin[0] == 0 && begin[count] == ids.size(0);
  for (std::int64_t i = 0; valid && i < count; ++i) valid = begin[i] <= begin[i + 1];
  require(valid, offsets_name, " must start at 0, not decrease, and end at the number of ids, ", ids.size(0));
  return checked;
}

struct CheckedBmas {
  Tensor rows, inverse_norms;  // on the device of the call; the rest is on the CPU
  CheckedSequences completions, references;
  Tensor reference_of;
  int num_threads;

  EmbeddingRows table() const;
};

inline EmbeddingRows CheckedBmas::table() const {
  const RowType type = rows.scalar_type() == ScalarType::Float  ? RowType::float32
                       : rows.scalar_type() == ScalarType::Half ? RowType::float16
                                                                : RowType::bfloat16;
  return {rows.const_data_ptr(), type, rows.size(0), rows.size(1)};
}

inline CheckedBmas check_bmas(const Tensor& rows, const Tensor& inverse_norms, const Tensor& completion_ids,
                              const Tensor& completion_offsets, const Tensor& reference_ids,
                              const Tensor& reference_offsets, const Tensor& reference_of, std::int64_t num_threads) {
  require(rows.dim() == 2 && rows.size(0) >= 1 && rows.size(0) <= INT32_MAX && rows.size(1) >= 1,
          "rows must have shape [V, d] with 1 <= V < 2**31 and d >= 1, got ", rows);
  const ScalarType type = rows.scalar_type();
  require(type == ScalarType::Float || type == ScalarType::Half || type == ScalarType::BFloat16,
          "rows must be float32, float16 or bfloat16, got ", type);
  check_vector("inverse_norms", inverse_norms, ScalarType::Float, rows.device(), rows.size(0));
  require(num_threads >= 1 && num_threads <= INT32_MAX, "num_threads must be a positive integer, got ", num_threads);
  CheckedBmas checked = {
      compact(rows),
      compact(inverse_norms),
      check_sequences("completion_ids", "completion_offsets", completion_ids, completion_offsets, rows.size(0)),
      check_sequences("reference_ids", "reference_offsets", reference_ids, reference_offsets, rows.size(0)),
      compact(reference_of),
      static_cast<int>(num_threads)};
  const std::int64_t num_references = reference_offsets.size(0) - 1;
  check_vector("reference_of", reference_of, ScalarType::Long, torch::headeronly::DeviceType::CPU,
               completion_offsets.size(0) - 1);
  for (std::int64_t i = 0; i < reference_of.size(0); ++i) {
    const std::int64_t reference = checked.reference_of.const_data_ptr<std::int64_t>()[i];
    require(reference >= 0 && reference < num_references, "reference_of must be in [0, R) with R = ", num_references,
            ", got ", reference);
  }
  return checked;
}

}  // namespace mixed_r1
