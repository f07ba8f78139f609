// Sums and sums of squares of each channel of one stored row, in float64.

#pragma once

#include "lanes.h"

namespace SCATCACHE_CORE {

constexpr int SUM_LANES = 8;

SCATCACHE_INLINE void load_floats(const float* from, float (&to)[SUM_LANES]) { std::memcpy(to, from, sizeof to); }

SCATCACHE_INLINE void load_floats(const std::uint16_t* from, float (&to)[SUM_LANES]) {
#if defined(__F16C__)
    __m128i halves;
    std::memcpy(&halves, from, sizeof halves);
    const __m256 floats = _mm256_cvtph_ps(halves);
    std::memcpy(to, &floats, sizeof to);
#else
    for (int i = 0; i < SUM_LANES; ++i) to[i] = float_of_half(from[i]);
#endif
}

// values: (n_channels, n_cells); the order of additions depends on n_cells alone.
template <class T>
void add_channel_sums(const T* values, std::int64_t n_channels, std::int64_t n_cells, double* sums, double* squares) {
    for (std::int64_t channel = 0; channel < n_channels; ++channel, values += n_cells) {
        double sum[SUM_LANES] = {}, square[SUM_LANES] = {};
        for (std::int64_t i = 0; i < n_cells; i += SUM_LANES) {
            T padded[SUM_LANES] = {};
            const bool is_full = i + SUM_LANES <= n_cells;
            if (!is_full) std::memcpy(padded, values + i, std::size_t(n_cells - i) * sizeof(T));
            float floats[SUM_LANES];
            load_floats(is_full ? values + i : padded, floats);
            for (int k = 0; k < SUM_LANES; ++k) {
                const double value = floats[k];
                sum[k] += value;
                square[k] += value * value;
            }
        }
        for (int k = 1; k < SUM_LANES; ++k) {
            sum[0] += sum[k];
            square[0] += square[k];
        }
        sums[channel] += sum[0];
        squares[channel] += square[0];
    }
}

}  // namespace SCATCACHE_CORE
