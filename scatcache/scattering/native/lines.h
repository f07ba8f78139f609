// Where the passes of an FFT read and write: lines of elements, next to each other, a stride apart, or by index.

#pragma once

#include "buffer.h"

namespace SCATCACHE_CORE {

// Multiples 0..7 of a distance in bytes, by addressing modes and four registers. Left to itself GCC keeps a pointer for each
// multiple and, with sixteen registers, moves them to and from the stack all the time.
class Steps {
  public:
    explicit Steps(std::ptrdiff_t bytes) : one_(bytes), three_(3 * bytes), five_(5 * bytes), seven_(7 * bytes) {
        asm("" : "+r"(one_), "+r"(three_), "+r"(five_), "+r"(seven_));  // Hides from the optimiser that they are multiples.
    }
    SCATCACHE_INLINE std::ptrdiff_t operator()(int j) const {
        switch (j) {
            case 0: return 0;
            case 3: return three_;
            case 5: return five_;
            case 6: return 2 * three_;
            case 7: return seven_;
            default: return j * one_;
        }
    }

  private:
    std::ptrdiff_t one_, three_, five_, seven_;
};

template <class T>
SCATCACHE_INLINE T* advance(T* from, std::ptrdiff_t bytes) {
    using Byte = std::conditional_t<std::is_const_v<T>, const char, char>;
    return reinterpret_cast<T*>(reinterpret_cast<Byte*>(from) + bytes);
}

// Where a pass reads and writes: lines of elements, line(i) the i-th of them. steps(n) is the way from an element to the n-th
// after it; load(n, steps, j) gives element n + j steps, store(n, steps, k, z) sets element n + k steps.
struct Line {
    Complex* z;
    std::ptrdiff_t line_stride;
    Line line(std::ptrdiff_t i) const { return {z + i * line_stride, line_stride}; }
    Steps steps(std::ptrdiff_t n) const { return Steps(n * std::ptrdiff_t(sizeof(Complex))); }
    SCATCACHE_INLINE Complex load(std::ptrdiff_t n, const Steps& steps, int j) const {
        return read(advance(z + n, steps(j)));
    }
    SCATCACHE_INLINE void store(std::ptrdiff_t n, const Steps& steps, int k, Complex value) const {
        write(advance(z + n, steps(k)), value);
    }
};

struct Strided {
    Complex* z;
    std::ptrdiff_t stride, line_stride;
    Strided line(std::ptrdiff_t i) const { return {z + i * line_stride, stride, line_stride}; }
    Steps steps(std::ptrdiff_t n) const { return Steps(n * stride * std::ptrdiff_t(sizeof(Complex))); }
    SCATCACHE_INLINE Complex load(std::ptrdiff_t n, const Steps& steps, int j) const {
        return read(advance(z + n * stride, steps(j)));
    }
    SCATCACHE_INLINE void store(std::ptrdiff_t n, const Steps& steps, int k, Complex value) const {
        write(advance(z + n * stride, steps(k)), value);
    }
};

// Two real lines as one complex line.
struct RealPair {
    const Lanes* first;
    const Lanes* second;
    std::ptrdiff_t line_stride;
    RealPair line(std::ptrdiff_t i) const { return {first + i * line_stride, second + i * line_stride, line_stride}; }
    Steps steps(std::ptrdiff_t n) const { return Steps(n * std::ptrdiff_t(sizeof(Lanes))); }
    SCATCACHE_INLINE Complex load(std::ptrdiff_t n, const Steps& steps, int j) const {
        return {*advance(first + n, steps(j)), *advance(second + n, steps(j))};
    }
};

// |z| into a real line.
struct Modulus {
    Lanes* real;
    std::ptrdiff_t line_stride;
    Modulus line(std::ptrdiff_t i) const { return {real + i * line_stride, line_stride}; }
    Steps steps(std::ptrdiff_t n) const { return Steps(n * std::ptrdiff_t(sizeof(Lanes))); }
    SCATCACHE_INLINE void store(std::ptrdiff_t n, const Steps& steps, int k, Complex z) const {
        *advance(real + n, steps(k)) = modulus(z.re, z.im);
    }
};

// The elements of a single line by index: at(n) gives element n.
template <class At>
struct Gather {
    At at;
    Gather line(std::ptrdiff_t) const { return *this; }
    std::ptrdiff_t steps(std::ptrdiff_t n) const { return n; }
    SCATCACHE_INLINE Complex load(std::ptrdiff_t n, std::ptrdiff_t step, int j) const { return at(n + step * j); }
};

}  // namespace SCATCACHE_CORE
