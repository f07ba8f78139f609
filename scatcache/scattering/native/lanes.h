// One SIMD register of float32, as GCC's and Clang's vector type: arithmetic on it is written like arithmetic on a float.
//
// Before this file, SCATCACHE_CORE names the namespace of the core and SCATCACHE_LANES the floats in a register.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace SCATCACHE_CORE {

constexpr int LANES = SCATCACHE_LANES;
static_assert((LANES & (LANES - 1)) == 0 && LANES >= 4 && LANES <= 16, "a register holds 4, 8 or 16 floats");

// Registers for values in flight: 32, where there are not only 16.
#if defined(__AVX512VL__) || defined(__aarch64__)
constexpr bool MANY_REGISTERS = true;
#else
constexpr bool MANY_REGISTERS = false;
#endif

typedef float Lanes __attribute__((vector_size(4 * SCATCACHE_LANES), may_alias));
typedef float Quad __attribute__((vector_size(16), may_alias));
typedef double Doubles __attribute__((vector_size(4 * SCATCACHE_LANES), may_alias));

#define SCATCACHE_INLINE inline __attribute__((always_inline))

// Complex numbers with real and imaginary parts in registers of their own: products need no shuffles.
struct Complex {
    Lanes re, im;
};

// Part by part: GCC copies a whole Complex through the stack, in halves of a register.
SCATCACHE_INLINE Complex read(const Complex* from) { return {from->re, from->im}; }
SCATCACHE_INLINE void write(Complex* to, Complex z) {
    to->re = z.re;
    to->im = z.im;
}

SCATCACHE_INLINE Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
SCATCACHE_INLINE Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }

template <std::size_t... I>
SCATCACHE_INLINE Lanes fill_lanes(float value, std::index_sequence<I...>) {
    return Lanes{((void)I, value)...};
}

// The same float in every lane.
SCATCACHE_INLINE Lanes fill(float value) { return fill_lanes(value, std::make_index_sequence<LANES>()); }

template <int N, std::size_t... I>
SCATCACHE_INLINE Lanes repeat_lanes(const float* from, std::index_sequence<I...>) {
    return Lanes{from[I % N]...};
}

// N adjacent floats, repeated until the lanes are full; N divides LANES.
template <int N>
SCATCACHE_INLINE Lanes repeat(const float* from) {
    if constexpr (N == 1) {
        return fill(*from);
    } else if constexpr (N == 2) {
        double pair;
        std::memcpy(&pair, from, sizeof pair);
        Doubles pairs;
        for (int i = 0; i < LANES / 2; ++i) pairs[i] = pair;
        return reinterpret_cast<Lanes>(pairs);
    } else if constexpr (N == LANES) {
        Lanes lanes;
        std::memcpy(&lanes, from, sizeof lanes);
        return lanes;
    } else {
        return repeat_lanes<N>(from, std::make_index_sequence<LANES>());
    }
}

// The square root rounded as IEEE 754 asks; estimates with a Newton step were no faster beside the FFTs.
SCATCACHE_INLINE Lanes square_root(Lanes x) {
#if defined(__AVX512F__) && SCATCACHE_LANES == 16
    return (Lanes)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX__) && SCATCACHE_LANES == 8
    return (Lanes)_mm256_sqrt_ps((__m256)x);
#elif defined(__SSE2__) && SCATCACHE_LANES == 4
    return (Lanes)_mm_sqrt_ps((__m128)x);
#else
    for (int i = 0; i < LANES; ++i) x[i] = __builtin_sqrtf(x[i]);
    return x;
#endif
}

SCATCACHE_INLINE Lanes modulus(Lanes re, Lanes im) { return square_root(re * re + im * im); }

// f(0), f(1), ..., f(N - 1) with indices known to the compiler, so that small arrays become registers.
template <class F, int... I>
SCATCACHE_INLINE void unroll_indices(F f, std::integer_sequence<int, I...>) {
    (f(std::integral_constant<int, I>()), ...);
}

template <int N, class F>
SCATCACHE_INLINE void unroll(F f) {
    unroll_indices(f, std::make_integer_sequence<int, N>());
}

// IEEE 754 binary16, round to nearest even; NaN stays NaN, what is too large becomes infinite.
SCATCACHE_INLINE std::uint16_t half_of(float value) {
#if defined(__F16C__)
    return (std::uint16_t)_cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT);
#else
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const std::uint32_t sign = (bits >> 16) & 0x8000u;
    bits &= 0x7fffffffu;
    if (bits > 0x7f800000u) return (std::uint16_t)(sign | 0x7e00u);
    if (bits >= 0x477ff000u) return (std::uint16_t)(sign | 0x7c00u);
    if (bits < 0x38800000u) {
        // Subnormal in binary16: adding 0.5 leaves the 2^-24ths in the lowest bits, rounded by the addition itself.
        float magnitude;
        std::memcpy(&magnitude, &bits, sizeof bits);
        magnitude += 0.5f;
        std::memcpy(&bits, &magnitude, sizeof bits);
        return (std::uint16_t)(sign | (bits - 0x3f000000u));
    }
    return (std::uint16_t)(sign | ((bits + 0xc8000fffu + ((bits >> 13) & 1u)) >> 13));
#endif
}

// The value of a binary16.
inline float float_of_half(std::uint16_t half) {
    const std::uint32_t sign = std::uint32_t(half & 0x8000u) << 16;
    std::uint32_t bits = std::uint32_t(half & 0x7fffu) << 13;
    float value;
    if (bits >= 0x0f800000u) {
        bits += 0x70000000u;  // infinities and NaN
        std::memcpy(&value, &bits, sizeof value);
    } else {
        // The exponent is 112 too small; the product also turns subnormal ones into what they are.
        std::memcpy(&value, &bits, sizeof value);
        value *= 5192296858534827628530496329220096.0f;
    }
    std::memcpy(&bits, &value, sizeof bits);
    bits |= sign;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

}  // namespace SCATCACHE_CORE
