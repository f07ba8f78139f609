// DFTs of R elements in the registers of one thread: y[k] = sum_j z[j] exp(-2 pi i j k / R), handed to store(k, y[k]).
//
// Registers: 2 R for the inputs, and 2 R more for the sums and differences of a prime R. Operations: 4 to 60 for R up to 8,
// R^2 multiply-adds for a larger prime. cosine<R>(i) and sine<R>(i), of 2 pi i / R, stand in the preamble.

#pragma once

#include "complex.cuh"

template <int R, class Store>
SCATCACHE_DEVICE void transform_prime(const Complex (&z)[R], const Store& store) {
    constexpr int HALF = R / 2;
    Complex even[HALF], odd[HALF], total = z[0];
    SCATCACHE_UNROLL
    for (int i = 0; i < HALF; ++i) {
        even[i] = z[1 + i] + z[R - 1 - i];
        odd[i] = z[1 + i] - z[R - 1 - i];
        total = total + even[i];
    }
    store(0, total);
    SCATCACHE_UNROLL
    for (int k = 1; k <= HALF; ++k) {
        Complex c = z[0], s = {0.0f, 0.0f};
        SCATCACHE_UNROLL
        for (int i = 0; i < HALF; ++i) {
            c = c + cosine<R>((i + 1) * k % R) * even[i];
            s = s + sine<R>((i + 1) * k % R) * odd[i];
        }
        store(k, c + turn(s));
        store(R - k, c - turn(s));
    }
}

template <class Store>
SCATCACHE_DEVICE void transform_4(Complex a, Complex b, Complex c, Complex d, const Store& store) {
    const Complex p = a + c, m = a - c, q = b + d, n = turn(b - d);
    store(0, p + q);
    store(1, m + n);
    store(2, p - q);
    store(3, m - n);
}

template <int R, class Store>
SCATCACHE_DEVICE void transform(const Complex (&z)[R], const Store& store) {
    if constexpr (R == 2) {
        store(0, z[0] + z[1]);
        store(1, z[0] - z[1]);
    } else if constexpr (R == 4) {
        transform_4(z[0], z[1], z[2], z[3], store);
    } else if constexpr (R == 8) {
        Complex even[4], odd[4];
        transform_4(z[0], z[2], z[4], z[6], [&](int k, Complex y) { even[k] = y; });
        transform_4(z[1], z[3], z[5], z[7], [&](int k, Complex y) { odd[k] = y; });
        const float r = 0.70710678118654752f;
        const Complex first = {r * (odd[1].re + odd[1].im), r * (odd[1].im - odd[1].re)};
        const Complex third = {r * (odd[3].im - odd[3].re), -r * (odd[3].re + odd[3].im)};
        store(0, even[0] + odd[0]);
        store(1, even[1] + first);
        store(2, even[2] + turn(odd[2]));
        store(3, even[3] + third);
        store(4, even[0] - odd[0]);
        store(5, even[1] - first);
        store(6, even[2] - turn(odd[2]));
        store(7, even[3] - third);
    } else {
        transform_prime<R>(z, store);
    }
}
