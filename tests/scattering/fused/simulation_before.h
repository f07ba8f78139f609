// Stands before the kernels' source when it is compiled for the CPU.

#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

// binary16 of a float, rounded to nearest even, for finite values below 65520.
inline unsigned short host_half_of(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const std::uint32_t sign = bits >> 16 & 0x8000u;
    float magnitude = value < 0 ? -value : value;
    std::memcpy(&bits, &magnitude, sizeof bits);
    if (bits < 0x38800000u) {  // subnormal: adding 0.5 rounds to multiples of 2^-24
        magnitude += 0.5f;
        std::memcpy(&bits, &magnitude, sizeof bits);
        return (unsigned short)(sign | (bits - 0x3f000000u));
    }
    return (unsigned short)(sign | ((bits + 0xc8000fffu + (bits >> 13 & 1u)) >> 13));
}
