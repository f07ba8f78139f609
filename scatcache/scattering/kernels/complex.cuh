// Complex numbers in two registers, and what a compiler without CUDA needs to read these files.

#pragma once

#if defined(__CUDACC__)
#define SCATCACHE_DEVICE __device__ __forceinline__
#define SCATCACHE_UNROLL _Pragma("unroll")
#define SCATCACHE_ROLL _Pragma("unroll 1")
#else
#include <cmath>
#include <cstdint>
#include <cstring>
#define SCATCACHE_DEVICE inline
#define SCATCACHE_UNROLL
#define SCATCACHE_ROLL
#endif

struct alignas(8) Complex {
    float re, im;
};

SCATCACHE_DEVICE Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
SCATCACHE_DEVICE Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
SCATCACHE_DEVICE Complex operator*(Complex a, Complex b) {
    return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
SCATCACHE_DEVICE Complex operator*(float a, Complex b) { return {a * b.re, a * b.im}; }
SCATCACHE_DEVICE Complex swap_parts(Complex z) { return {z.im, z.re}; }
SCATCACHE_DEVICE Complex conjugate(Complex z) { return {z.re, -z.im}; }

// -i z
SCATCACHE_DEVICE Complex turn(Complex z) { return {z.im, -z.re}; }
