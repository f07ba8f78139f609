// The phases of a cascade: what every thread of a block does between two barriers. thread runs from 0 to N_THREADS - 1.
//
// A map at resolution 2^RES has Map<RES>::ROWS x COLUMNS samples, rows PITCH apart, an odd number, so that neighbouring threads
// on neighbouring rows meet different banks. Of real maps two rows make one complex row: row 2 i holds samples of rows 2 i and
// 2 i + 1 as real and imaginary parts.

#pragma once

#include "fft.cuh"

template <int RES>
struct Map {
    static constexpr int ROWS = PADDED_HEIGHT >> RES, COLUMNS = PADDED_WIDTH >> RES;
    static constexpr int HALF = COLUMNS / 2 + 1, PITCH = COLUMNS | 1, AREA = ROWS * PITCH;
};

constexpr int N_CELLS = CELLS_HIGH * CELLS_WIDE;

// The half-spectrum of a real map at resolution 2^RES: columns 0..COLUMNS / 2; the others are X[k, l] = conj X[-k, -l].
template <int RES>
struct Spectrum {
    const Complex* data;
    int pitch;
    SCATCACHE_DEVICE Complex at(int k, int l) const {
        if (l <= Map<RES>::COLUMNS / 2) return data[k * pitch + l];
        return conjugate(data[(k == 0 ? 0 : Map<RES>::ROWS - k) * pitch + Map<RES>::COLUMNS - l]);
    }
};

// Product with psi of N_MAPS neighbouring angles, and its fold to resolution 2^SCALE: Z[r, c] = sum of the aliases
// X[r + a n1, c + b n2] psi[r + a n1, c + b n2], on the centered grid moved by ramps before. Columns first_column.. of N_COLUMNS.
// Per sample: 4^(SCALE - RES) reads of X and of each psi, N_MAPS times 2 multiply-adds each.
template <int RES, int SCALE, int N_MAPS, int N_COLUMNS, int PITCH, int AREA>
SCATCACHE_DEVICE void multiply(const Spectrum<RES>& spectrum, const float* psi, const Complex* ramps, int first_column,
                               Complex* maps, int thread) {
    constexpr int FOLD = 1 << (SCALE - RES), ROWS = Map<SCALE>::ROWS, COLUMNS = Map<SCALE>::COLUMNS;
    constexpr int ALL_ROWS = Map<RES>::ROWS, ALL_COLUMNS = Map<RES>::COLUMNS;
    for (int task = thread; task < ROWS * N_COLUMNS; task += N_THREADS) {
        const int r = task / N_COLUMNS, c = task % N_COLUMNS, column = first_column + c;
        const int fold = column < COLUMNS ? FOLD : 0;  // a tile's columns beyond the map are zeros
        Complex sums[N_MAPS];
        SCATCACHE_UNROLL
        for (int map = 0; map < N_MAPS; ++map) sums[map] = {0.0f, 0.0f};
        for (int a = 0; a < fold; ++a) {
            for (int b = 0; b < fold; ++b) {
                const int k = r + a * ROWS, l = column + b * COLUMNS;
                Complex x = spectrum.at(k, l);
                if (IS_CENTERED && FOLD > 1) x = x * (ramps[k] * ramps[ALL_ROWS + l]);
                SCATCACHE_UNROLL
                for (int map = 0; map < N_MAPS; ++map)
                    sums[map] = sums[map] + psi[(map * ALL_ROWS + k) * ALL_COLUMNS + l] * x;
            }
        }
        SCATCACHE_UNROLL
        for (int map = 0; map < N_MAPS; ++map) maps[map * AREA + r * PITCH + c] = sums[map];
    }
}

// U = |z| of N_ROWS rows, two to a complex row. Per sample: 2 operations and a square root.
template <int N_ROWS, int COLUMNS, int PITCH>
SCATCACHE_DEVICE void take_moduli(Complex* rows, int thread) {
    for (int task = thread; task < N_ROWS / 2 * COLUMNS; task += N_THREADS) {
        Complex* const at = rows + task / COLUMNS * 2 * PITCH + task % COLUMNS;
        const Complex a = at[0], b = at[PITCH];
        at[0] = {sqrtf(a.re * a.re + a.im * a.im), sqrtf(b.re * b.re + b.im * b.im)};
    }
}

// The low-pass of one axis: each cell's N_TAPS samples, by position, and their weights.
struct alignas(8) Tap {
    int position;
    float weight;
};
template <int N_TAPS>
struct Taps {
    const Tap* data;
    SCATCACHE_DEVICE const Tap* of(int cell) const { return data + cell * N_TAPS; }
};

// Low-pass along N_ROWS rows of a real map: averaged[cell * pitch + row]. Per result: N_TAPS multiply-adds.
// A thread takes both rows of a complex row. Rows are an even number of complex numbers apart, so eight of them fill the banks;
// the other half of sixteen threads reads the same eight for the next cell.
template <int N_ROWS, int PITCH, int N_TAPS>
SCATCACHE_DEVICE void average_rows(const Complex* rows, const Taps<N_TAPS>& taps, float* averaged, int pitch, int thread) {
    constexpr int N_PAIRS = N_ROWS / 2;
    for (int task = thread; task < N_PAIRS * ((CELLS_WIDE + 1) / 2 * 2); task += N_THREADS) {
        const int pair = task / 2 % N_PAIRS, cell = task / 2 / N_PAIRS * 2 + task % 2;
        if (cell >= CELLS_WIDE) continue;
        const Complex* const samples = rows + pair * 2 * PITCH;
        const Tap* const tap = taps.of(cell);
        Complex sum = {0.0f, 0.0f};
        for (int t = 0; t < N_TAPS; ++t) sum = sum + tap[t].weight * samples[tap[t].position];
        averaged[cell * pitch + 2 * pair] = sum.re;
        averaged[cell * pitch + 2 * pair + 1] = sum.im;
    }
}

// The value as binary16, rounded to nearest even.
SCATCACHE_DEVICE unsigned short half_of(float value) {
#if defined(__CUDACC__)
    unsigned short half;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(value));
    return half;
#else
    return host_half_of(value);
#endif
}

struct Output {
    void* data;
    int is_half;
    SCATCACHE_DEVICE void store(long long i, float value) const {
        if (is_half)
            static_cast<unsigned short*>(data)[i] = half_of(value);
        else
            static_cast<float*>(data)[i] = value;
    }
};

// What was left out of an image: its mean, and the sum of each cell's weights, along columns, then along rows; null for none.
struct Mean {
    float value;
    const float* gains;
    SCATCACHE_DEVICE float at(int i, int c) const { return gains ? value * gains[i] * gains[CELLS_HIGH + c] : 0.0f; }
};

// Low-pass along columns of N_MAPS maps of N_ROWS rows, and the results to neighbouring channels, from element first on.
template <int N_MAPS, int N_ROWS, int N_TAPS>
SCATCACHE_DEVICE void average_columns(const float* averaged, int pitch, const Taps<N_TAPS>& taps, const Mean& mean,
                                      const Output& out, long long first, int thread) {
    for (int task = thread; task < N_MAPS * N_CELLS; task += N_THREADS) {
        const int map = task / N_CELLS, cell = task % N_CELLS, i = cell / CELLS_WIDE, c = cell % CELLS_WIDE;
        const float* const column = averaged + c * pitch + map * N_ROWS;
        const Tap* const tap = taps.of(i);
        float sum = 0.0f;
        for (int t = 0; t < N_TAPS; ++t) sum += tap[t].weight * column[tap[t].position];
        out.store(first + task, sum + mean.at(i, c));
    }
}

// The half-spectra of two real rows, from the spectrum F of one as real and the other as imaginary part:
// (F[l] + conj F[-l]) / 2 and -i (F[l] - conj F[-l]) / 2.
template <int N_ROWS, int COLUMNS, int PITCH>
SCATCACHE_DEVICE void split_rows(Complex* rows, int thread) {
    constexpr int HALF = COLUMNS / 2 + 1;
    for (int task = thread; task < N_ROWS / 2 * HALF; task += N_THREADS) {
        Complex* const row = rows + task / HALF * 2 * PITCH;
        const int l = task % HALF;
        const Complex a = row[l], b = conjugate(row[l == 0 ? 0 : COLUMNS - l]);
        row[l] = 0.5f * (a + b);
        row[PITCH + l] = turn(0.5f * (a - b));
    }
}
