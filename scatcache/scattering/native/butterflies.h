// DFTs of 2, 3, 4, 5 and 8 elements in registers, and the twiddle factor after them.

#pragma once

#include "lanes.h"

namespace SCATCACHE_CORE {

// DFT of R elements: load(j) gives the inputs, store(k, z) takes the outputs. Each loads and stores as late and as early as
// it can: on 16 registers, and one store a cycle, what spills costs more than the arithmetic.
template <int R>
struct Butterfly;

template <>
struct Butterfly<2> {
    template <class Load, class Store>
    SCATCACHE_INLINE static void run(const Load& load, const Store& store) {
        const Complex a = load(0), b = load(1);
        store(0, a + b);
        store(1, a - b);
    }
};

template <>
struct Butterfly<3> {
    template <class Load, class Store>
    SCATCACHE_INLINE static void run(const Load& load, const Store& store) {
        const Lanes half = fill(0.5f), sine = fill(0.866025403784438646763723f);
        const Complex a = load(1), b = load(2), t = a + b, u = a - b, x = load(0);
        store(0, x + t);
        const Complex c = {x.re - half * t.re, x.im - half * t.im};
        store(1, Complex{c.re + sine * u.im, c.im - sine * u.re});
        store(2, Complex{c.re - sine * u.im, c.im + sine * u.re});
    }
};

template <>
struct Butterfly<4> {
    template <class Load, class Store>
    SCATCACHE_INLINE static void run(const Load& load, const Store& store) {
        const Complex a = load(0), c = load(2), p = a + c, m = a - c;
        const Complex b = load(1), d = load(3), q = b + d, n = b - d;
        store(0, p + q);
        store(2, p - q);
        store(1, Complex{m.re + n.im, m.im - n.re});
        store(3, Complex{m.re - n.im, m.im + n.re});
    }
};

template <>
struct Butterfly<5> {
    template <class Load, class Store>
    SCATCACHE_INLINE static void run(const Load& load, const Store& store) {
        const Lanes c1 = fill(0.309016994374947424102293f), c2 = fill(-0.809016994374947424102293f);
        const Lanes s1 = fill(0.951056516295153572116439f), s2 = fill(0.587785252292473129168706f);
        const Complex a1 = load(1), a4 = load(4), t1 = a1 + a4, u1 = a1 - a4;
        const Complex a2 = load(2), a3 = load(3), t2 = a2 + a3, u2 = a2 - a3, x = load(0);
        store(0, x + t1 + t2);
        const Complex p1 = {x.re + c1 * t1.re + c2 * t2.re, x.im + c1 * t1.im + c2 * t2.im};
        const Complex q1 = {s1 * u1.im + s2 * u2.im, s1 * u1.re + s2 * u2.re};
        store(1, Complex{p1.re + q1.re, p1.im - q1.im});
        store(4, Complex{p1.re - q1.re, p1.im + q1.im});
        const Complex p2 = {x.re + c2 * t1.re + c1 * t2.re, x.im + c2 * t1.im + c1 * t2.im};
        const Complex q2 = {s2 * u1.im - s1 * u2.im, s2 * u1.re - s1 * u2.re};
        store(2, Complex{p2.re + q2.re, p2.im - q2.im});
        store(3, Complex{p2.re - q2.re, p2.im + q2.im});
    }
};

template <>
struct Butterfly<8> {
    template <class Load, class Store>
    SCATCACHE_INLINE static void run(const Load& load, const Store& store) {
        const Lanes r = fill(0.707106781186547524400844f);
        Complex even[4], odd[4];
        Butterfly<4>::run([&](int j) __attribute__((always_inline)) { return load(2 * j); },
                          [&](int k, Complex z) __attribute__((always_inline)) { even[k] = z; });
        Butterfly<4>::run([&](int j) __attribute__((always_inline)) { return load(2 * j + 1); },
                          [&](int k, Complex z) __attribute__((always_inline)) { odd[k] = z; });
        store(0, even[0] + odd[0]);
        store(4, even[0] - odd[0]);
        store(2, Complex{even[2].re + odd[2].im, even[2].im - odd[2].re});
        store(6, Complex{even[2].re - odd[2].im, even[2].im + odd[2].re});
        const Lanes s1 = odd[1].re + odd[1].im, d1 = odd[1].im - odd[1].re;
        store(1, Complex{even[1].re + r * s1, even[1].im + r * d1});
        store(5, Complex{even[1].re - r * s1, even[1].im - r * d1});
        const Lanes s3 = odd[3].re + odd[3].im, d3 = odd[3].im - odd[3].re;
        store(3, Complex{even[3].re + r * d3, even[3].im - r * s3});
        store(7, Complex{even[3].re - r * d3, even[3].im + r * s3});
    }
};

SCATCACHE_INLINE Complex rotate(Complex z, const float* twiddle) {
    const Lanes c = fill(twiddle[0]), s = fill(twiddle[1]);
    return {z.re * c - z.im * s, z.re * s + z.im * c};
}

}  // namespace SCATCACHE_CORE
