// The product of a spectrum with psi and its fold: the table of psi in the order in which it is read, and the readers.
//
//     Z[r, c] = sum_{a, b} X[r + a n1, c + b n2] psi[r + a n1, c + b n2],   r < n1, c < n2,
//
// is the spectrum of every 2^fold-th sample, up to a scale that psi holds. X is kept for columns up to Q / 2; the others
// are X[k1, k2] = conj X[-k1, -k2]. Real and imaginary parts of Z come out exchanged, which makes forward FFTs inverse ones.

#pragma once

#include <vector>

#include "buffer.h"

namespace SCATCACHE_CORE {

// Maps that are multiplied with the same psi at once: psi is read half as often, and each register of it used eight times.
constexpr int MOST_MAPS = 2;

// Of a map or its spectrum.
struct Size {
    int rows, columns;
    std::size_t half_spectrum() const { return std::size_t(rows) * std::size_t(columns / 2 + 1); }
};

// psi_j for spectra at resolution 2^res: for each group of angles a register for each sample, in the order of order_samples.
struct Wavelet {
    int log2_fold = 0;
    std::vector<Lanes*> groups;
};

// Samples k1 * Q + k2 of psi in the order in which multiply_pair and multiply_single read them.
inline std::vector<std::size_t> order_samples(Size from, Size to) {
    std::vector<std::size_t> order;
    order.reserve(std::size_t(from.rows) * std::size_t(from.columns));
    const auto put = [&](int k1, int k2) { order.push_back(std::size_t(k1) * std::size_t(from.columns) + std::size_t(k2)); };
    const auto minus = [](int k, int n) { return k == 0 ? 0 : n - k; };
    const int fold = from.rows / to.rows;
    for (int c = 1; 2 * c < to.columns; ++c)
        for (int r = 0; r < to.rows; ++r)
            for (int k1 = r; k1 < from.rows; k1 += to.rows)
                for (int b = 0; 2 * b < fold || b == 0; ++b) {
                    const int first = c + b * to.columns, second = (b + 1) * to.columns - c;
                    const int minus_k1 = minus(k1, from.rows);
                    put(k1, first);
                    put(minus_k1, from.columns - first);
                    if (fold == 1) continue;
                    put(minus_k1, second);
                    put(k1, from.columns - second);
                }
    for (int c : {0, to.columns / 2})
        for (int k2 = c; k2 < from.columns; k2 += to.columns)
            for (int r = 0; r < to.rows; ++r)
                for (int k1 = r; k1 < from.rows; k1 += to.rows) put(k1, k2);
    return order;
}

// psi: (L, P, Q) as in filters.py; lane = angle * n_slots + slot holds the angle's value times scale, 0 beyond L.
inline void fill_tables(const Wavelet& wavelet, const float* psi, Size from, int L, int n_slots, float scale) {
    const std::vector<std::size_t> order =
        order_samples(from, {from.rows >> wavelet.log2_fold, from.columns >> wavelet.log2_fold});
    for (std::size_t group = 0; group < wavelet.groups.size(); ++group)
        for (std::size_t i = 0; i < order.size(); ++i)
            for (int lane = 0; lane < LANES; ++lane) {
                const int theta = int(group) * (LANES / n_slots) + lane / n_slots;
                wavelet.groups[group][i][lane] =
                    theta < L ? psi[std::size_t(theta) * order.size() + order[i]] * scale : 0.0f;
            }
}

// Adds psi x to sums and psi_mirror conj(x) to mirrors, parts exchanged.
template <int SLOTS, int MAPS>
SCATCACHE_INLINE const Lanes* multiply_both(const float* const (&spectra)[MAPS], std::ptrdiff_t at, const Lanes* psi,
                                            Complex (&sums)[MAPS], Complex (&mirrors)[MAPS]) {
    const Lanes direct = psi[0], mirrored = psi[1];
    unroll<MAPS>([&](auto i) {
        const Lanes re = repeat<SLOTS>(spectra[i] + at), im = repeat<SLOTS>(spectra[i] + at + SLOTS);
        sums[i].im += direct * re;
        sums[i].re += direct * im;
        mirrors[i].im += mirrored * re;
        mirrors[i].re -= mirrored * im;
    });
    return psi + 2;
}

// Folded columns c and n2 - c at once: what one takes as it is, the other takes mirrored, so each element is read once.
template <int SLOTS, int MAPS>
SCATCACHE_INLINE const Lanes* multiply_pair(const float* const (&spectra)[MAPS], const Lanes* psi, Size from, Size to,
                                            int fold, int c, Complex* const (&z)[MAPS], Complex* const (&mirror)[MAPS]) {
    const std::ptrdiff_t column = std::ptrdiff_t(from.rows) * 2 * SLOTS;
    const std::ptrdiff_t first = c * column, second = (to.columns - c) * column;
    for (int r = 0; r < to.rows; ++r) {
        Complex sums[MAPS] = {}, mirrors[MAPS] = {};
        for (int a = 0; a < fold; ++a) {
            const std::ptrdiff_t k = r + std::ptrdiff_t(a) * to.rows, minus_k = k == 0 ? 0 : from.rows - k;
            for (int b = 0; 2 * b < fold || b == 0; ++b) {
                const std::ptrdiff_t alias = std::ptrdiff_t(b) * to.columns * column;
                psi = multiply_both<SLOTS, MAPS>(spectra, first + alias + k * 2 * SLOTS, psi, sums, mirrors);
                if (fold > 1)
                    psi = multiply_both<SLOTS, MAPS>(spectra, second + alias + minus_k * 2 * SLOTS, psi, mirrors, sums);
            }
        }
        unroll<MAPS>([&](auto i) {
            write(z[i] + r, sums[i]);
            write(mirror[i] + (r == 0 ? 0 : to.rows - r), mirrors[i]);
        });
    }
    return psi;
}

// One alias of a folded column that is its own mirror image, c = 0 or n2 / 2; x is its column of the half-spectrum.
template <int SLOTS, bool MIRRORED>
SCATCACHE_INLINE const Lanes* multiply_alias(const float* x, const Lanes* psi, int n_folded, int fold, bool is_first,
                                             Complex* z) {
    const std::ptrdiff_t n = std::ptrdiff_t(n_folded) * fold;
    for (int r = 0; r < n_folded; ++r) {
        Complex sum = is_first ? Complex{} : read(z + r);
        for (int a = 0; a < fold; ++a, ++psi) {
            const std::ptrdiff_t k = r + std::ptrdiff_t(a) * n_folded;
            const float* at = x + (MIRRORED && k > 0 ? n - k : k) * 2 * SLOTS;
            const Lanes re = repeat<SLOTS>(at), im = repeat<SLOTS>(at + SLOTS);
            sum.im += *psi * re;
            sum.re = MIRRORED ? sum.re - *psi * im : sum.re + *psi * im;
        }
        write(z + r, sum);
    }
    return psi;
}

template <int SLOTS>
const Lanes* multiply_single(const float* spectrum, const Lanes* psi, Size from, Size to, int c, Complex* z) {
    const int fold = from.rows / to.rows;
    for (int k = c; k < from.columns; k += to.columns) {
        const bool mirrored = k > from.columns / 2;
        const float* x = spectrum + std::ptrdiff_t(mirrored ? from.columns - k : k) * from.rows * 2 * SLOTS;
        if (mirrored)
            psi = multiply_alias<SLOTS, true>(x, psi, to.rows, fold, k == c, z);
        else
            psi = multiply_alias<SLOTS, false>(x, psi, to.rows, fold, k == c, z);
    }
    return psi;
}

}  // namespace SCATCACHE_CORE
