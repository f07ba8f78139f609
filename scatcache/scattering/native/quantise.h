// Coefficients to integers and back: q = round(S / step), S = step * q, the step of each channel.
//
// Integers lie [cell][channel]: channels of one cell resemble each other, and their bits compress better side by side.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "lanes.h"

namespace SCATCACHE_CORE {

// A block of channels and cells that stays in the first-level cache while it is turned.
constexpr int BLOCK_CHANNELS = 16, BLOCK_CELLS = 64;
// Added and taken away again it leaves the nearest integer, the even one of two, of floats below 2^22.
constexpr float ROUNDING = 12582912.0f;

// A square of SIDE<T> x SIDE<T> integers: to[j][i] = from[i][j], lines stride apart.
template <class T>
constexpr int SIDE = 16 / int(sizeof(T));

template <class T>
SCATCACHE_INLINE void turn_square(const T* from, std::ptrdiff_t from_stride, T* to, std::ptrdiff_t to_stride) {
    constexpr int N = SIDE<T>;
#if defined(__SSE2__)
    __m128i lines[N], turned[N];
    for (int i = 0; i < N; ++i) lines[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i * from_stride));
    // Each pass brings together what stands N / 2 lines apart; after log2 N of them each line is one of the columns.
    for (int pass = 1; pass < N; pass *= 2) {
        for (int i = 0; i < N / 2; ++i) {
            const __m128i a = lines[i], b = lines[i + N / 2];
            turned[2 * i] = sizeof(T) == 1 ? _mm_unpacklo_epi8(a, b) : _mm_unpacklo_epi16(a, b);
            turned[2 * i + 1] = sizeof(T) == 1 ? _mm_unpackhi_epi8(a, b) : _mm_unpackhi_epi16(a, b);
        }
        for (int i = 0; i < N; ++i) lines[i] = turned[i];
    }
    for (int i = 0; i < N; ++i) _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i * to_stride), lines[i]);
#else
    for (int i = 0; i < N; ++i)
        for (int j = 0; j < N; ++j) to[j * to_stride + i] = from[i * from_stride + j];
#endif
}

// (n_rows, n_columns) to (n_columns, n_rows).
template <class T>
SCATCACHE_INLINE void turn(const T* from, int n_rows, int n_columns, std::ptrdiff_t from_stride, T* to,
                           std::ptrdiff_t to_stride) {
    constexpr int N = SIDE<T>;
    const int rows = n_rows - n_rows % N, columns = n_columns - n_columns % N;
    for (int i = 0; i < rows; i += N)
        for (int j = 0; j < columns; j += N)
            turn_square(from + i * from_stride + j, from_stride, to + j * to_stride + i, to_stride);
    for (int i = 0; i < n_rows; ++i)
        for (int j = i < rows ? columns : 0; j < n_columns; ++j) to[j * to_stride + i] = from[i * from_stride + j];
}

// One channel's part of a block, its sum and its sum of squares; false where a value is none that T holds.
template <class T>
bool quantise_line(const float* values, int n, float step, float most, T* out, std::int64_t& sum, std::int64_t& square) {
    std::int32_t misfits = 0, line_sum = 0;
    std::int64_t line_square = 0;
    for (int i = 0; i < n; ++i) {
        const float rounded = (values[i] / step + ROUNDING) - ROUNDING;
        const bool fits = std::fabs(rounded) <= most;  // not so of NaN
        const std::int32_t whole = std::int32_t(fits ? rounded : 0.0f);
        misfits += !fits;
        line_sum += whole;
        line_square += std::int64_t(whole * whole);
        out[i] = T(whole);
    }
    sum += line_sum;
    square += line_square;
    return misfits == 0;
}

// values: (n_channels, n_cells); out: (n_cells, n_channels); sums, squares: of the integers of each channel. Returns
// false where a value is none that T holds; what was written then means nothing.
template <class T>
bool quantise(const float* values, std::int64_t n_channels, std::int64_t n_cells, const float* steps, T* out,
              std::int64_t* sums, std::int64_t* squares) {
    constexpr float most = float(std::numeric_limits<T>::max());
    bool fits = true;
    T block[BLOCK_CHANNELS * BLOCK_CELLS];
    std::fill_n(sums, n_channels, 0);
    std::fill_n(squares, n_channels, 0);
    for (std::int64_t first = 0; first < n_channels; first += BLOCK_CHANNELS) {
        const int n = int(std::min<std::int64_t>(BLOCK_CHANNELS, n_channels - first));
        for (std::int64_t cell = 0; cell < n_cells; cell += BLOCK_CELLS) {
            const int width = int(std::min<std::int64_t>(BLOCK_CELLS, n_cells - cell));
            for (int c = 0; c < n; ++c)
                fits &= quantise_line(values + (first + c) * n_cells + cell, width, steps[first + c], most, block + c * BLOCK_CELLS,
                                      sums[first + c], squares[first + c]);
            turn(block, n, width, BLOCK_CELLS, out + cell * n_channels + first, n_channels);
        }
    }
    return fits;
}

// stored: (n_cells, n_channels); out: (n_channels, n_cells).
template <class T>
void restore(const T* stored, std::int64_t n_channels, std::int64_t n_cells, const float* steps, float* out) {
    T block[BLOCK_CHANNELS * BLOCK_CELLS];
    for (std::int64_t first = 0; first < n_channels; first += BLOCK_CHANNELS) {
        const int n = int(std::min<std::int64_t>(BLOCK_CHANNELS, n_channels - first));
        for (std::int64_t cell = 0; cell < n_cells; cell += BLOCK_CELLS) {
            const int width = int(std::min<std::int64_t>(BLOCK_CELLS, n_cells - cell));
            turn(stored + cell * n_channels + first, width, n, n_channels, block, BLOCK_CELLS);
            for (int c = 0; c < n; ++c) {
                float* const line = out + (first + c) * n_cells + cell;
                const float step = steps[first + c];
                for (int i = 0; i < width; ++i) line[i] = step * float(block[c * BLOCK_CELLS + i]);
            }
        }
    }
}

}  // namespace SCATCACHE_CORE
