// The parts of a BmasKernel that the compiler vectorises by itself. Included inside an anonymous namespace by each
// bmas_<isa>.cpp, and so compiled for that instruction set and shared with no other.

void finish(float* dots, std::int64_t stride, std::int64_t num_rows, std::int64_t num_columns, const float* row_inverse,
            const float* column_inverse, const std::int32_t* match, float* row_max) {
  for (std::int64_t i = 0; i < num_rows; ++i) {
    float* row = dots + i * stride;
    const float scale = row_inverse[i];
    float lanes[kPanelWidth];
    for (int lane = 0; lane < kPanelWidth; ++lane) lanes[lane] = -1.0f;
    for (std::int64_t j = 0; j < num_columns; j += kPanelWidth) {
      for (int lane = 0; lane < kPanelWidth; ++lane) {
        float cosine = row[j + lane] * scale * column_inverse[j + lane];
        cosine = cosine > -1.0f ? cosine : -1.0f;
        cosine = cosine < 1.0f ? cosine : 1.0f;
        row[j + lane] = cosine;
        lanes[lane] = cosine > lanes[lane] ? cosine : lanes[lane];
      }
    }
    float largest = lanes[0];
    for (int lane = 1; lane < kPanelWidth; ++lane) largest = lanes[lane] > largest ? lanes[lane] : largest;
    if (match[i] >= 0) {
      row[match[i]] = 1.0f;
      largest = 1.0f;
    }
    row_max[i] = largest;
  }
}

void max_over_rows(const float* cosines, std::int64_t stride, const std::int32_t* rows, std::int64_t num_rows,
                   std::int64_t num_columns, float* column_max) {
  for (std::int64_t j = 0; j < num_columns; j += kPanelWidth) {
    float lanes[kPanelWidth];
    for (int lane = 0; lane < kPanelWidth; ++lane) lanes[lane] = -1.0f;
    for (std::int64_t i = 0; i < num_rows; ++i) {
      const float* row = cosines + rows[i] * stride + j;
      for (int lane = 0; lane < kPanelWidth; ++lane) lanes[lane] = row[lane] > lanes[lane] ? row[lane] : lanes[lane];
    }
    for (int lane = 0; lane < kPanelWidth; ++lane) column_max[j + lane] = lanes[lane];
  }
}
