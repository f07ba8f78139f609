// Lanes to lines: n registers in a row become one line of n floats for each lane.

#pragma once

#include "lanes.h"

namespace SCATCACHE_CORE {

SCATCACHE_INLINE Quad load_quad(const float* from) {
    Quad quad;
    std::memcpy(&quad, from, sizeof quad);
    return quad;
}

SCATCACHE_INLINE void store_quad(float* to, Quad quad) { std::memcpy(to, &quad, sizeof quad); }

#if defined(__clang__)
#define SCATCACHE_SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
typedef std::int32_t QuadIndex __attribute__((vector_size(16)));
#define SCATCACHE_SHUFFLE(a, b, i, j, k, l) __builtin_shuffle(a, b, QuadIndex{i, j, k, l})
#endif

SCATCACHE_INLINE void transpose_quads(Quad& a, Quad& b, Quad& c, Quad& d) {
    const Quad ab = SCATCACHE_SHUFFLE(a, b, 0, 4, 1, 5), ab_high = SCATCACHE_SHUFFLE(a, b, 2, 6, 3, 7);
    const Quad cd = SCATCACHE_SHUFFLE(c, d, 0, 4, 1, 5), cd_high = SCATCACHE_SHUFFLE(c, d, 2, 6, 3, 7);
    a = SCATCACHE_SHUFFLE(ab, cd, 0, 1, 4, 5);
    b = SCATCACHE_SHUFFLE(ab, cd, 2, 3, 6, 7);
    c = SCATCACHE_SHUFFLE(ab_high, cd_high, 0, 1, 4, 5);
    d = SCATCACHE_SHUFFLE(ab_high, cd_high, 2, 3, 6, 7);
}

SCATCACHE_INLINE void store_values(float* to, Quad quad) { store_quad(to, quad); }
SCATCACHE_INLINE void store_value(float* to, float value) { *to = value; }

SCATCACHE_INLINE void store_values(std::uint16_t* to, Quad quad) {
#if defined(__F16C__)
    const __m128i halves = _mm_cvtps_ph((__m128)quad, _MM_FROUND_TO_NEAREST_INT);
    std::memcpy(to, &halves, 8);
#else
    for (int i = 0; i < 4; ++i) to[i] = half_of(quad[i]);
#endif
}
SCATCACHE_INLINE void store_value(std::uint16_t* to, float value) { *to = half_of(value); }

// to[lane][i] = lane `lane` of register i, for i < n; lanes of a null pointer are left out. T: float, or uint16_t for float16.
template <class T>
void transpose_lanes(const float* registers, int n, T* const (&to)[LANES]) {
    for (int lane = 0; lane < LANES; lane += 4) {
        const float* from = registers + lane;
        T *a = to[lane], *b = to[lane + 1], *c = to[lane + 2], *d = to[lane + 3];
        int i = 0;
        if (a && b && c && d) {
            for (; i + 4 <= n; i += 4, from += 4 * LANES) {
                Quad p = load_quad(from), q = load_quad(from + LANES);
                Quad r = load_quad(from + 2 * LANES), s = load_quad(from + 3 * LANES);
                transpose_quads(p, q, r, s);
                store_values(a + i, p);
                store_values(b + i, q);
                store_values(c + i, r);
                store_values(d + i, s);
            }
        }
        for (; i < n; ++i, from += LANES)
            for (int k = 0; k < 4; ++k)
                if (to[lane + k]) store_value(to[lane + k] + i, from[k]);
    }
}

// Groups of SLOTS lanes stay together: to[group * stride + i * SLOTS + slot], for i < n.
template <int SLOTS>
void transpose_groups(const float* registers, int n, float* to, std::size_t stride) {
    if constexpr (SLOTS == 1) {
        float* lines[LANES];
        for (int lane = 0; lane < LANES; ++lane) lines[lane] = to + std::size_t(lane) * stride;
        transpose_lanes<float>(registers, n, lines);
    } else if constexpr (SLOTS == 2) {
        for (int lane = 0; lane < LANES; lane += 4, to += 2 * stride) {
            const float* from = registers + lane;
            int i = 0;
            for (; i + 2 <= n; i += 2, from += 2 * LANES) {
                const Quad p = load_quad(from), q = load_quad(from + LANES);
                store_quad(to + 2 * i, SCATCACHE_SHUFFLE(p, q, 0, 1, 4, 5));
                store_quad(to + stride + 2 * i, SCATCACHE_SHUFFLE(p, q, 2, 3, 6, 7));
            }
            for (; i < n; ++i, from += LANES) {
                std::memcpy(to + 2 * i, from, 8);
                std::memcpy(to + stride + 2 * i, from + 2, 8);
            }
        }
    } else {
        for (int lane = 0; lane < LANES; lane += SLOTS, to += stride)
            for (int i = 0; i < n; ++i)
                std::memcpy(to + std::ptrdiff_t(i) * SLOTS, registers + std::ptrdiff_t(i) * LANES + lane, SLOTS * 4);
    }
}

}  // namespace SCATCACHE_CORE
