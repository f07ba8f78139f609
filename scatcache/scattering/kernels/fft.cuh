// FFTs of lines in shared memory, in place, one pass of radix R at a time, each a phase of the whole block.
//
// The inverse transform decimates in frequency: natural order in, permuted order out,
//     y[p + M k] = w^(p k) sum_j x[p + M j] exp(2 pi i j k / R),   w = exp(2 pi i / (R M)),   p < M, k < R,
// on every block of R M elements, whose R parts are the blocks of the next pass. The forward transform is its transpose: the
// same passes backwards, twiddles before the sums, permuted order in, natural order out. What lies between the two, a modulus
// and a low-pass, takes any order. fused.py has the permutation: element k1 M1 + k2 M2 + ... holds index k1 + R1 (k2 + R2 (...)).

#pragma once

#include "butterflies.cuh"

// COUNT lines of elements STEP apart; PER_MAP lines STRIDE apart in each of several maps MAP_STRIDE apart.
template <int COUNT_, int STEP_, int STRIDE, int PER_MAP = COUNT_, int MAP_STRIDE = 0>
struct Lines {
    static constexpr int COUNT = COUNT_, STEP = STEP_;
    SCATCACHE_DEVICE static int offset(int line) { return line / PER_MAP * MAP_STRIDE + line % PER_MAP * STRIDE; }
};

// roots[t] = exp(-2 pi i t / N). Neighbouring threads take neighbouring lines.
template <class Lines, int N, int R, int M, bool INVERSE>
SCATCACHE_DEVICE void run_pass(Complex* data, const Complex* roots, int thread) {
    for (int task = thread; task < Lines::COUNT * (N / R); task += N_THREADS) {
        const int set = task / Lines::COUNT, p = set % M, first = set / M * (R * M) + p;
        Complex* const x = data + Lines::offset(task % Lines::COUNT);
        Complex z[R];
        SCATCACHE_UNROLL
        for (int j = 0; j < R; ++j) {
            z[j] = x[(first + j * M) * Lines::STEP];
            if (INVERSE) z[j] = swap_parts(z[j]);  // forward between two exchanges of the parts is inverse
            if (!INVERSE && M > 1 && j > 0) z[j] = z[j] * roots[p * j * (N / (R * M))];
        }
        transform<R>(z, [&](int k, Complex y) {
            if (INVERSE && M > 1 && k > 0) y = y * roots[p * k * (N / (R * M))];
            x[(first + k * M) * Lines::STEP] = INVERSE ? swap_parts(y) : y;
        });
    }
}

template <class Lines, int N, bool INVERSE, int BLOCK = N, class Threads>
SCATCACHE_DEVICE void transform_lines(Threads& threads, Complex* data, const Complex* roots) {
    if constexpr (BLOCK > 1) {
        constexpr int R = radix_of(BLOCK), M = BLOCK / R;
        if constexpr (!INVERSE) transform_lines<Lines, N, INVERSE, M>(threads, data, roots);
        threads.each([=](int thread) { run_pass<Lines, N, R, M, INVERSE>(data, roots, thread); });
        threads.sync();
        if constexpr (INVERSE) transform_lines<Lines, N, INVERSE, M>(threads, data, roots);
    }
}
