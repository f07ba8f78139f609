// What a caller of the core passes in: the C side of library.py.

#pragma once

#include <cstdint>

// Counts changes of this file and of core.h's functions: library.py refuses a core built with another.
#define SCATCACHE_INTERFACE 3

// Types of samples.
#define SCATCACHE_FLOAT32 0
#define SCATCACHE_UINT8 1
#define SCATCACHE_UINT16 2

extern "C" {

// Filters and geometry of one transform; every array is copied, none has to outlive the call.
struct scatcache_settings {
    std::int32_t J, L, max_order;
    std::int32_t height, width, padded_height, padded_width;
    // Of what is kept of a map: its own, or those that it is pooled over.
    std::int32_t cells_high, cells_wide;
    // 1: order 1 is averaged over theta1, order 2 over theta1 at each theta2 - theta1 modulo L.
    std::int32_t mean_angles;
    // [j * J + res]: psi_j in Fourier space at resolution 2^res, (L, P / 2^res, Q / 2^res); null where it is not needed.
    const float* const* psi;
    // [axis * J + j]: low-pass of an axis at resolution 2^j, (cells, size / 2^j), means over cells in it.
    const double* const* lowpass;
    // [(axis * J + res) * J + fold]: (size / 2^res) re, im pairs, the shift of samples before a fold; null for none.
    const float* const* ramps;
    // [axis]: where each padded sample comes from.
    const std::int64_t* const* reflection;
};

// Where the planes lie: plane p is colour p % n_colours of image p / n_colours. Strides are in elements.
struct scatcache_images {
    const void* data;
    std::int32_t sample_type;
    float scale;  // what samples are divided by
    std::int64_t n_planes, n_colours;
    std::int64_t image_stride, colour_stride, row_stride, column_stride;
};
}
