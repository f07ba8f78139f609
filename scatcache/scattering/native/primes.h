// DFTs of prime length p. With pairs of inputs r and p - r, in an order r_0, r_1, ... of 1..h, h = (p - 1) / 2,
//
//     X[r_k], X[p - r_k] = x[0] + sum_i cos(2 pi r_k r_i / p) (x[r_i] + x[p - r_i])
//                            -+ i sum_i sin(2 pi r_k r_i / p) (x[r_i] - x[p - r_i]).
//
// For p = 1 mod 4 the order is that of the powers g^0, g^1, ... of a generator of the units modulo p. The cosine then depends on
// k + i alone and has period h, which is even: on sums and differences of terms h / 2 apart, the sum over i falls into two of
// half the length. And as g^h = -1, the sines of k, k + h / 2 and i, i + h / 2 are two values only, [[A, B], [B, -A]].
// Cost per point: about p multiply-adds, three quarters of that where it is split.

#pragma once

#include <cmath>
#include <vector>

#include "butterflies.h"

namespace SCATCACHE_CORE {

constexpr double TWO_PI = 6.283185307179586476925286766559;

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

// The DFT of one prime p > 5. Prime() is none.
class Prime {
  public:
    Prime() = default;
    explicit Prime(int p);

    // Complex numbers of scratch memory that run() needs.
    std::size_t scratch_size() const { return 2 * std::size_t(half_); }

    // load(j) gives the inputs, emit(k, z) takes the outputs. P: the prime, where the compiler is to know it, or 0.
    template <int P, class Load, class Emit>
    SCATCACHE_INLINE void run(const Load& load, const Emit& emit, Complex* scratch) const {
        if (P == 0 ? p_ % 4 == 1 : P % 4 == 1)
            run_split<P>(load, emit, scratch);
        else
            run_whole<P>(load, emit, scratch);
    }

  private:
    // Outputs whose sums are computed together; an even half has two, an odd one takes the last alone.
    static constexpr int BLOCK = 2;

    template <int P, class Load, class Emit>
    SCATCACHE_INLINE void run_whole(const Load& load, const Emit& emit, Complex* even) const {
        const int half = P ? P / 2 : half_;
        Complex* const odd = even + half;
        const Complex x0 = load(0);
        Complex total = x0;
#pragma GCC unroll 16
        for (int i = 0; i < half; ++i) {
            const Complex a = load(1 + i), b = load((P ? P : p_) - 1 - i), sum = a + b;
            write(even + i, sum);
            write(odd + i, a - b);
            total = total + sum;
        }
        emit(0, total);
        const float* table = table_.data();
        int k = 0;
        for (; k + BLOCK <= half; k += BLOCK, table += 2 * BLOCK * half)
            sum_block<P, BLOCK>(x0, even, odd, table, k, emit);
        if (k < half) sum_block<P, 1>(x0, even, odd, table, k, emit);
    }

    template <int P, int K, class Emit>
    SCATCACHE_INLINE void sum_block(Complex x0, const Complex* even, const Complex* odd, const float* table, int first,
                                    const Emit& emit) const {
        const int half = P ? P / 2 : half_;
        Complex c[K], s[K] = {};
        unroll<K>([&](auto k) { c[k] = x0; });
#pragma GCC unroll 16
        for (int i = 0; i < half; ++i) {
            const Complex t = read(even + i), u = read(odd + i);
            unroll<K>([&](auto k) __attribute__((always_inline)) {
                const Lanes cosine = fill(table[2 * (i * K + k)]), sine = fill(table[2 * (i * K + k) + 1]);
                add_product(c[k], cosine, t);
                add_product(s[k], sine, u);
            });
        }
        unroll<K>([&](auto k) __attribute__((always_inline)) { emit_pair(1 + first + k, P ? P : p_, c[k], s[k], emit); });
    }

    template <int P, class Load, class Emit>
    SCATCACHE_INLINE void run_split(const Load& load, const Emit& emit, Complex* terms) const {
        const int p = P ? P : p_, quarter = p / 4;
        const int* const order = order_.data();
        Complex *const sums = terms, *const differences = sums + quarter, *const odd = differences + quarter;
        const Complex x0 = load(0);
        Complex total = x0;
#pragma GCC unroll 8
        for (int i = 0; i < quarter; ++i) {
            const int j = order[i], l = order[quarter + i];
            const Complex a = load(j), b = load(p - j), c = load(l), d = load(p - l);
            const Complex near = a + b, far = c + d, sum = near + far;
            write(sums + i, sum);
            write(differences + i, near - far);
            write(odd + i, a - b);
            write(odd + quarter + i, c - d);
            total = total + sum;
        }
        emit(0, total);
        const float* table = table_.data();
        for (int k = 0; k < quarter; ++k, table += 4 * quarter) {
            Complex c = x0, d = {}, s = {}, t = {};
#pragma GCC unroll 8
            for (int i = 0; i < quarter; ++i) {
                const Complex near = read(odd + i), far = read(odd + quarter + i);
                const Lanes a = fill(table[4 * i + 2]), b = fill(table[4 * i + 3]);
                add_product(c, fill(table[4 * i]), read(sums + i));
                add_product(d, fill(table[4 * i + 1]), read(differences + i));
                add_product(s, a, near);
                add_product(t, b, near);
                add_product(s, b, far);
                subtract_product(t, a, far);
            }
            emit_pair(order[k], p, c + d, s, emit);
            emit_pair(order[quarter + k], p, c - d, t, emit);
        }
    }

    SCATCACHE_INLINE static void add_product(Complex& sum, Lanes factor, Complex z) {
        sum.re += factor * z.re;
        sum.im += factor * z.im;
    }
    SCATCACHE_INLINE static void subtract_product(Complex& sum, Lanes factor, Complex z) {
        sum.re -= factor * z.re;
        sum.im -= factor * z.im;
    }

    // X[r] = c - i s and X[p - r] = c + i s.
    template <class Emit>
    SCATCACHE_INLINE static void emit_pair(int r, int p, Complex c, Complex s, const Emit& emit) {
        emit(r, {c.re + s.im, c.im - s.re});
        emit(p - r, {c.re - s.im, c.im + s.re});
    }

    int p_ = 0, half_ = 0;
    std::vector<int> order_;    // of the pairs, where p = 1 mod 4; else it is 1, 2, 3, ...
    std::vector<float> table_;  // cosines and sines in the order in which they are read
};

inline Prime::Prime(int p) : p_(p), half_(p / 2) {
    const auto angle = [&](int a, int b) { return TWO_PI * double(std::int64_t(a) * b % p) / p; };
    if (p % 4 != 1) {
        for (int first = 0; first < half_; first += BLOCK)
            for (int i = 0; i < half_; ++i)
                for (int k = first; k < first + BLOCK && k < half_; ++k) {
                    table_.push_back(float(std::cos(angle(k + 1, i + 1))));
                    table_.push_back(float(std::sin(angle(k + 1, i + 1))));
                }
        return;
    }
    order_ = find_powers(p);
    const int *const near = order_.data(), *const far = near + p / 4;
    for (int k = 0; k < p / 4; ++k)
        for (int i = 0; i < p / 4; ++i) {
            const double c = std::cos(angle(near[k], near[i])), d = std::cos(angle(near[k], far[i]));
            table_.push_back(float((c + d) / 2));
            table_.push_back(float((c - d) / 2));
            table_.push_back(float(std::sin(angle(near[k], near[i]))));
            table_.push_back(float(std::sin(angle(near[k], far[i]))));
        }
}

}  // namespace SCATCACHE_CORE
