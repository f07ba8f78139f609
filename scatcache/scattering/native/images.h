// Reading image planes: any strides, float32, uint8 or uint16, a plane in a lane, samples divided by a scale in float32.

#pragma once

#include <type_traits>

#include "lanes.h"
#include "settings.h"

namespace SCATCACHE_CORE {

template <class Sample>
SCATCACHE_INLINE const Sample* find_row(const scatcache_images& images, std::int64_t plane, int y) {
    return static_cast<const Sample*>(images.data) + plane / images.n_colours * images.image_stride +
           plane % images.n_colours * images.colour_stride + y * images.row_stride;
}

// The mean of each of planes first..first + n - 1, 0 in the other lanes. What rounding leaves of it in an image is harmless: psi
// does not see it, and stage 4 adds what was taken out. Row by row, for the planes may share cache lines.
template <class Sample>
Lanes find_means(const scatcache_images& images, std::int64_t first, int n, int height, int width) {
    // Sums of whole numbers are exact.
    using Sum = std::conditional_t<std::is_floating_point_v<Sample>, float, std::uint64_t>;
    double sums[LANES] = {};
    for (int y = 0; y < height; ++y)
        for (int lane = 0; lane < n; ++lane) {
            const Sample* row = find_row<Sample>(images, first + lane, y);
            Sum sum = 0;
            for (int x = 0; x < width; ++x) sum += row[x * images.column_stride];
            sums[lane] += double(sum);
        }
    const double n_units = double(height) * width * double(images.scale);
    Lanes means = {};
    for (int lane = 0; lane < n; ++lane) means[lane] = float(sums[lane] / n_units);
    return means;
}

// Row y of planes first..first + n - 1, each less its mean; the other lanes are left as they are.
template <class Sample>
void read_row(const scatcache_images& images, std::int64_t first, int n, int y, int width, Lanes means, Lanes* row) {
    float* const lanes = reinterpret_cast<float*>(row);
    for (int lane = 0; lane < n; ++lane) {
        const Sample* from = find_row<Sample>(images, first + lane, y);
        const float mean = means[lane];
        for (int x = 0; x < width; ++x)
            lanes[std::ptrdiff_t(x) * LANES + lane] = float(from[x * images.column_stride]) / images.scale - mean;
    }
}

// The two functions above for the samples at hand.
struct Reader {
    Lanes (*find_means)(const scatcache_images&, std::int64_t, int, int, int);
    void (*read_row)(const scatcache_images&, std::int64_t, int, int, int, Lanes, Lanes*);
};

template <class Sample>
inline Reader reader_of() {
    return {find_means<Sample>, read_row<Sample>};
}

inline Reader choose_reader(const scatcache_images& images) {
    switch (images.sample_type) {
        case SCATCACHE_UINT8: return reader_of<std::uint8_t>();
        case SCATCACHE_UINT16: return reader_of<std::uint16_t>();
        default: return reader_of<float>();
    }
}

}  // namespace SCATCACHE_CORE
