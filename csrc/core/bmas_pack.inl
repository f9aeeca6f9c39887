// pack(): 16 rows transposed word by word. Included inside an anonymous namespace, as bmas_rows.inl is.

#if defined(__AVX512F__)

inline void transpose_16x16(__m512i r[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 8; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
  }
}

void pack(const void* const* rows, std::int64_t num_words, std::uint32_t* panel) {
  for (std::int64_t word = 0; word < num_words; word += 16) {
    const std::int64_t count = num_words - word < 16 ? num_words - word : 16;
    const __mmask16 mask = static_cast<__mmask16>((1u << count) - 1);
    __m512i r[16];
#pragma GCC unroll 16
    for (int c = 0; c < 16; ++c)
      r[c] = _mm512_maskz_loadu_epi32(mask, static_cast<const std::uint32_t*>(rows[c]) + word);
    transpose_16x16(r);
    for (std::int64_t w = 0; w < count; ++w) _mm512_store_si512(panel + (word + w) * kPanelWidth, r[w]);
  }
}

#else

void pack(const void* const* rows, std::int64_t num_words, std::uint32_t* panel) {
  for (int column = 0; column < kPanelWidth; ++column) {
    const char* row = static_cast<const char*>(rows[column]);
    for (std::int64_t word = 0; word < num_words; ++word) {
      __builtin_memcpy(panel + word * kPanelWidth + column, row + 4 * word, 4);
    }
  }
}

#endif
