// BmasKernel::dots for AVX-512: several panels at a time. Included by a file that has defined kRows, the types Element
// (of a row) and Word (of a panel), and dots_of_panels<1..4>.

void dots(const void* const* rows, std::int64_t, std::int64_t dim, const std::uint32_t* panels,
          std::int64_t depth_words, std::int64_t num_panels, float* out, std::int64_t out_stride) {
  const Element* row[kRows];
  for (int r = 0; r < kRows; ++r) row[r] = static_cast<const Element*>(rows[r]);
  const std::int64_t stride = depth_words * kPanelWidth;
  for (std::int64_t left = num_panels; left > 0;) {
    // Five or six panels go as 3 + 2 and 3 + 3: a single panel would leave the multipliers waiting.
    const std::int64_t count = left > 6 || left == 4 ? 4 : left > 3 ? 3 : left;
    const Word* columns = reinterpret_cast<const Word*>(panels + (num_panels - left) * stride);
    float* target = out + (num_panels - left) * kPanelWidth;
    switch (count) {
      case 4:
        dots_of_panels<4>(row, dim, columns, stride, target, out_stride);
        break;
      case 3:
        dots_of_panels<3>(row, dim, columns, stride, target, out_stride);
        break;
      case 2:
        dots_of_panels<2>(row, dim, columns, stride, target, out_stride);
        break;
      default:
        dots_of_panels<1>(row, dim, columns, stride, target, out_stride);
    }
    left -= count;
  }
}
