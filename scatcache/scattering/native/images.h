// Reading image planes: any strides, uint8 or float32, a plane in a lane.

#pragma once

#include "lanes.h"
#include "settings.h"

namespace SCATCACHE_CORE {

template <class Pixel>
inline float to_float(Pixel pixel);
template <>
inline float to_float<float>(float pixel) {
    return pixel;
}
template <>
inline float to_float<std::uint8_t>(std::uint8_t pixel) {
    return float(pixel) / 255.0f;
}

template <class Pixel>
SCATCACHE_INLINE const Pixel* find_plane(const scatcache_images& images, std::int64_t plane) {
    return static_cast<const Pixel*>(images.data) + plane / images.n_colours * images.image_stride +
           plane % images.n_colours * images.colour_stride;
}

template <class Pixel>
float mean_of(const scatcache_images& images, std::int64_t plane, int height, int width) {
    const Pixel* data = find_plane<Pixel>(images, plane);
    double sum = 0;
    for (int y = 0; y < height; ++y) {
        const Pixel* row = data + y * images.row_stride;
        float row_sum = 0;
        for (int x = 0; x < width; ++x) row_sum += float(row[x * images.column_stride]);
        sum += double(row_sum);
    }
    return float(sum / (double(height) * width * (sizeof(Pixel) == 1 ? 255.0 : 1.0)));
}

template <class Pixel>
void read_lane(const scatcache_images& images, std::int64_t plane, int y, int width, float mean, float* row) {
    const Pixel* from = find_plane<Pixel>(images, plane) + y * images.row_stride;
    for (int x = 0; x < width; ++x) row[std::ptrdiff_t(x) * LANES] = to_float(from[x * images.column_stride]) - mean;
}

// The mean of each of planes first..first + n - 1, 0 in the other lanes.
inline Lanes find_means(const scatcache_images& images, std::int64_t first, int n, int height, int width) {
    const auto mean = images.is_uint8 ? mean_of<std::uint8_t> : mean_of<float>;
    Lanes means = {};
    for (int lane = 0; lane < n; ++lane) means[lane] = mean(images, first + lane, height, width);
    return means;
}

// Row y of planes first..first + n - 1, each less its mean; the other lanes are left as they are.
inline void read_row(const scatcache_images& images, std::int64_t first, int n, int y, int width, Lanes means,
                     Lanes* row) {
    const auto read = images.is_uint8 ? read_lane<std::uint8_t> : read_lane<float>;
    float* const lanes = reinterpret_cast<float*>(row);
    for (int lane = 0; lane < n; ++lane) read(images, first + lane, y, width, means[lane], lanes + lane);
}

}  // namespace SCATCACHE_CORE
