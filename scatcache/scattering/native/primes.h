// DFTs of prime length as sums over pairs of inputs: x[j] + x[p - j] for the cosines, x[j] - x[p - j] for the sines.
//
// Cost per point: about p multiply-adds, and three quarters of that for primes that are split.

#pragma once

#include <cmath>
#include <vector>

#include "butterflies.h"

namespace SCATCACHE_CORE {

constexpr double TWO_PI = 6.283185307179586476925286766559;

// Outputs of a prime's direct sum that are computed together: each has 4 sums in registers.
constexpr int PRIME_BLOCK = MANY_REGISTERS ? 6 : 2;
// Primes from here on are split where they can be; 13 is no faster for it.
constexpr int LEAST_SPLIT_PRIME = 17;
// As PRIME_BLOCK, for the split sum, with 8 sums each.
constexpr int SPLIT_BLOCK = MANY_REGISTERS ? 2 : 1;

// One prime's constants.
struct Prime {
    std::vector<float> trigonometry;  // in the order in which sum_block or split_block reads it
    std::vector<int> powers;          // of a generator, for primes that are split: g^0, g^1, ..., g^((p - 3) / 2)
};

// Outputs first + 1..first + K and their mirror images of a prime's direct sum; the first block also gives output 0. Each
// block adds and subtracts the inputs anew: that runs beside the multiply-adds, where keeping the results would cost stores.
template <int K, class Load, class Emit>
SCATCACHE_INLINE const float* sum_block(const Load& load, int half, const float* trigonometry, int first, int radix,
                                        const Emit& emit) {
    const Complex x0 = load(0);
    Complex even[K], odd[K], total = x0;
    unroll<K>([&](auto k) {
        even[k] = x0;
        odd[k] = Complex{};
    });
    for (int j = 1; j <= half; ++j, trigonometry += 2 * K) {
        const Complex a = load(j), b = load(radix - j), t = a + b, u = a - b;
        if (first == 0) total = total + t;
        unroll<K>([&](auto k) {
            const Lanes c = fill(trigonometry[2 * k]), s = fill(trigonometry[2 * k + 1]);
            even[k].re += c * t.re;
            even[k].im += c * t.im;
            odd[k].re += s * u.im;
            odd[k].im += s * u.re;
        });
    }
    if (first == 0) emit(0, total);
    unroll<K>([&](auto k) {
        emit(first + k + 1, {even[k].re + odd[k].re, even[k].im - odd[k].im});
        emit(radix - 1 - first - k, {even[k].re - odd[k].re, even[k].im + odd[k].im});
    });
    return trigonometry;
}

// For primes p = 1 mod 4. Ordered by powers r_i = g^i of a generator, cos(2 pi r_k r_i / p) depends on k + i alone and has
// period h = (p - 1) / 2, so on sums and differences of inputs half a period apart it falls into two sums of half the
// length; and as g^h = -1, sin(2 pi r_k r_i / p) takes the same two values A, B in [[A, B], [B, -A]] for k, k + h/2 and i, i + h/2.
// K values of k and k + h/2; terms: [i][sum, difference of the even parts; odd parts of i and i + h/2].
template <int K, class Emit>
SCATCACHE_INLINE void split_block(Complex x0, const Complex* terms, int quarter, const float* trigonometry,
                                  const int* powers, int radix, const Emit& emit) {
    Complex even[K], odd[K], sine[K], other_sine[K];
    unroll<K>([&](auto k) {
        even[k] = x0;
        odd[k] = sine[k] = other_sine[k] = Complex{};
    });
    for (int i = 0; i < quarter; ++i, terms += 4, trigonometry += 4 * K) {
        const Complex t = read(terms), d = read(terms + 1), u = read(terms + 2), v = read(terms + 3);
        unroll<K>([&](auto k) {
            const Lanes c = fill(trigonometry[4 * k]), e = fill(trigonometry[4 * k + 1]);
            even[k].re += c * t.re;
            even[k].im += c * t.im;
            odd[k].re += e * d.re;
            odd[k].im += e * d.im;
            const Lanes a = fill(trigonometry[4 * k + 2]), b = fill(trigonometry[4 * k + 3]);
            sine[k].re += a * u.im;
            sine[k].im += a * u.re;
            other_sine[k].re += b * u.im;
            other_sine[k].im += b * u.re;
            sine[k].re += b * v.im;
            sine[k].im += b * v.re;
            other_sine[k].re -= a * v.im;
            other_sine[k].im -= a * v.re;
        });
    }
    unroll<K>([&](auto k) {
        const Complex c = even[k] + odd[k], d = even[k] - odd[k];
        emit(powers[k], {c.re + sine[k].re, c.im - sine[k].im});
        emit(radix - powers[k], {c.re - sine[k].re, c.im + sine[k].im});
        emit(powers[quarter + k], {d.re + other_sine[k].re, d.im - other_sine[k].im});
        emit(radix - powers[quarter + k], {d.re - other_sine[k].re, d.im + other_sine[k].im});
    });
}

template <class Load, class Emit>
SCATCACHE_INLINE void transform_split(const Prime& prime, int radix, const Load& load, const Emit& emit,
                                      Complex* terms) {
    const int quarter = (radix - 1) / 4;
    const int* powers = prime.powers.data();
    const float* trigonometry = prime.trigonometry.data();
    const Complex x0 = load(0);
    Complex total = x0;
    for (int i = 0; i < quarter; ++i) {
        const int j = powers[i], l = powers[quarter + i];
        const Complex a = load(j), b = load(radix - j), c = load(l), d = load(radix - l);
        const Complex first = a + b, second = c + d, sum = first + second;
        write(terms + 4 * i, sum);
        write(terms + 4 * i + 1, first - second);
        write(terms + 4 * i + 2, a - b);
        write(terms + 4 * i + 3, c - d);
        total = total + sum;
    }
    emit(0, total);
    int k = 0;
    for (; k + SPLIT_BLOCK <= quarter; k += SPLIT_BLOCK, trigonometry += 4 * SPLIT_BLOCK * quarter)
        split_block<SPLIT_BLOCK>(x0, terms, quarter, trigonometry, powers + k, radix, emit);
    if (k < quarter) split_block<1>(x0, terms, quarter, trigonometry, powers + k, radix, emit);
}

// One DFT of prime length: load(j) gives the inputs, emit(k, z) takes the outputs.
template <class Load, class Emit>
SCATCACHE_INLINE void transform_prime(const Prime& prime, int radix, const Load& load, const Emit& emit, Complex* terms) {
    const int half = (radix - 1) / 2;
    const float* trigonometry = prime.trigonometry.data();
    if (!prime.powers.empty()) return transform_split(prime, radix, load, emit, terms);
    int first = 0;
    for (; first + PRIME_BLOCK <= half; first += PRIME_BLOCK)
        trigonometry = sum_block<PRIME_BLOCK>(load, half, trigonometry, first, radix, emit);
    if constexpr (PRIME_BLOCK > 3)
        for (; first + 3 <= half; first += 3) trigonometry = sum_block<3>(load, half, trigonometry, first, radix, emit);
    if (half - first == 2) sum_block<2>(load, half, trigonometry, first, radix, emit);
    if (half - first == 1) sum_block<1>(load, half, trigonometry, first, radix, emit);
}

// cos and sin of 2 pi j k / radix, in the order in which sum_block reads them.
inline std::vector<float> tabulate_trigonometry(int radix) {
    std::vector<float> table;
    const int half = (radix - 1) / 2;
    int first = 0;
    while (first < half) {
        const int left = half - first;
        const int block = left >= PRIME_BLOCK ? PRIME_BLOCK : left >= 3 ? 3 : left;
        for (int j = 1; j <= half; ++j) {
            for (int k = first + 1; k <= first + block; ++k) {
                const double angle = TWO_PI * ((std::int64_t(j) * k) % radix) / radix;
                table.push_back(float(std::cos(angle)));
                table.push_back(float(std::sin(angle)));
            }
        }
        first += block;
    }
    return table;
}

// g^0, ..., g^((p - 3) / 2) mod p for the smallest generator g of the units modulo p.
inline std::vector<int> find_powers(int p) {
    for (int g = 2;; ++g) {
        std::vector<int> powers(1, 1);
        while (true) {
            const int next = int(std::int64_t(powers.back()) * g % p);
            if (next == 1) break;
            powers.push_back(next);
        }
        if (int(powers.size()) != p - 1) continue;
        powers.resize(std::size_t(p - 1) / 2);
        return powers;
    }
}

inline std::vector<float> tabulate_split_trigonometry(int p, const std::vector<int>& powers) {
    std::vector<float> table;
    const int quarter = (p - 1) / 4;
    const auto angle = [&](int k, int i) {
        return TWO_PI * double(std::int64_t(powers[std::size_t(k)]) * powers[std::size_t(i)] % p) / p;
    };
    for (int first = 0; first < quarter;) {
        const int block = quarter - first >= SPLIT_BLOCK ? SPLIT_BLOCK : 1;
        for (int i = 0; i < quarter; ++i)
            for (int k = first; k < first + block; ++k) {
                const double near = std::cos(angle(k, i)), far = std::cos(angle(k, i + quarter));
                table.push_back(float((near + far) / 2));
                table.push_back(float((near - far) / 2));
                table.push_back(float(std::sin(angle(k, i))));
                table.push_back(float(std::sin(angle(k, i + quarter))));
            }
        first += block;
    }
    return table;
}

inline Prime tabulate_prime(int p) {
    if (p < LEAST_SPLIT_PRIME || p % 4 != 1) return {tabulate_trigonometry(p), {}};
    std::vector<int> powers = find_powers(p);
    return {tabulate_split_trigonometry(p, powers), std::move(powers)};
}

}  // namespace SCATCACHE_CORE
