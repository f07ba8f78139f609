// Average, decimation and crop of one axis as a matrix with only its non-zero taps: y[i] = sum_n A[i, n] x[n].
//
// phi is separable, so S = A U B^T. At full resolution a row of A is a Gaussian of about 20 taps at J = 2, wrapped at the
// borders; at coarser ones the reference's cropped spectrum makes every tap count and the rows are dense. Dense rows are computed
// from what A keeps: A[g i, g n] = A[i, n] where g mirrors the axis, or moves it by half its length, or both. With the four (or,
// without the move, two) sums of a sample and its images, one for each choice of signs e,
//     t_e[n] = sum_g e(g) x[g n],    y[g i] = sum_e e(g) sum_n M_e[i, n] t_e[n],
// where n is one sample of each set of images. Cost: one multiply-add per tap, for dense rows a quarter (a half) of that.

#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "matrix.h"

namespace SCATCACHE_CORE {

// Outputs computed together, for two lines at once: eight sums in registers.
constexpr int LOWPASS_BLOCK = 4;
// Taps below this part of the largest one add up to 5e-9 of the result.
constexpr double NEGLIGIBLE_TAP = 1e-8;

// Fewer outputs than this do not pay for the sums and differences.
constexpr int LEAST_FOLDED_OUTPUTS = 12;

class Lowpass {
  public:
    // matrix: (n_outputs, n_inputs), row-major; each tap is multiplied by scale before it is rounded to float32.
    Lowpass(const double* matrix, int n_outputs, int n_inputs, double scale);

    // emit(i, y[i] of the line x, y[i] of the line other); elements are stride apart. scratch: scratch_size() complex numbers.
    template <class Emit>
    SCATCACHE_INLINE void run(const Lanes* x, const Lanes* other, std::ptrdiff_t stride, Complex* scratch,
                              const Emit& emit) const {
        if (n_images_ == 1) {
            for (const Block& block : blocks_) run_block(block, x, other, stride, emit);
            return;
        }
        Complex* const sums = scratch + n_images_ * inputs_.size();
        fold(x, other, stride, scratch);
        for (int e = 0; e < n_images_; ++e)
            matrices_[std::size_t(e)].multiply(scratch + std::size_t(e) * inputs_.size(), sums + std::size_t(e) * outputs_.size());
        unfold(sums, emit);
    }

    std::size_t scratch_size() const { return std::size_t(n_images_) * (inputs_.size() + outputs_.size()); }

  private:
    struct Segment {
        int start, count;
    };
    struct Block {
        int first, first_segment, end_segment;
        std::size_t first_tap;
    };
    // A sample's images g n, g = 0..3: itself, mirrored, moved by half the length, both.
    using Images = std::array<int, 4>;

    template <class Emit>
    SCATCACHE_INLINE void run_block(const Block& block, const Lanes* x, const Lanes* other, std::ptrdiff_t stride,
                                    const Emit& emit) const {
        const float* taps = taps_.data() + block.first_tap;
        Lanes sums[LOWPASS_BLOCK] = {}, other_sums[LOWPASS_BLOCK] = {};
        for (int i = block.first_segment; i < block.end_segment; ++i) {
            const Segment segment = segments_[std::size_t(i)];
            const Lanes* from = x + segment.start * stride;
            const Lanes* other_from = other + segment.start * stride;
            for (int n = 0; n < segment.count; ++n, taps += LOWPASS_BLOCK) {
                const Lanes value = from[n * stride], other_value = other_from[n * stride];
                unroll<LOWPASS_BLOCK>([&](auto k) {
                    const Lanes tap = fill(taps[k]);
                    sums[k] += tap * value;
                    other_sums[k] += tap * other_value;
                });
            }
        }
        unroll<LOWPASS_BLOCK>([&](auto k) {
            if (block.first + k < n_outputs_) emit(block.first + k, sums[k], other_sums[k]);
        });
    }

    // The sums t_e of both lines: [e][n].
    SCATCACHE_INLINE void fold(const Lanes* x, const Lanes* other, std::ptrdiff_t stride, Complex* to) const {
        const std::size_t n_sums = inputs_.size();
        for (const Images& images : inputs_) {
            const auto load = [&](int g) __attribute__((always_inline)) {
                return Complex{x[images[std::size_t(g)] * stride], other[images[std::size_t(g)] * stride]};
            };
            const Complex a = load(0), b = load(1), sum = a + b, difference = a - b;
            if (n_images_ == 2) {
                write(to, sum);
                write(to + n_sums, difference);
            } else {
                const Complex c = load(2), d = load(3), moved_sum = c + d, moved_difference = c - d;
                write(to, sum + moved_sum);
                write(to + n_sums, difference + moved_difference);
                write(to + 2 * n_sums, sum - moved_sum);
                write(to + 3 * n_sums, difference - moved_difference);
            }
            ++to;
        }
    }

    // Every output from the four (two) sums of its images.
    template <class Emit>
    SCATCACHE_INLINE void unfold(const Complex* sums, const Emit& emit) const {
        const std::size_t n_sums = outputs_.size();
        for (const Images& images : outputs_) {
            const auto put = [&](int g, Complex y) __attribute__((always_inline)) {
                if (images[std::size_t(g)] >= 0) emit(images[std::size_t(g)], y.re, y.im);
            };
            const Complex even = read(sums), odd = read(sums + n_sums);
            if (n_images_ == 2) {
                put(0, even + odd);
                put(1, even - odd);
            } else {
                const Complex moved_even = read(sums + 2 * n_sums), moved_odd = read(sums + 3 * n_sums);
                const Complex p = even + moved_even, q = odd + moved_odd, r = even - moved_even, s = odd - moved_odd;
                put(0, p + q);
                put(1, p - q);
                put(2, r + s);
                put(3, r - s);
            }
            ++sums;
        }
    }

    // Image g of an input, or of an output: -1 where that was cropped.
    int move_input(int n, int g) const {
        if (g & 1) n = half_sample_ ? n_inputs_ - 1 - n : (n_inputs_ - n) % n_inputs_;
        return g & 2 ? (n + n_inputs_ / 2) % n_inputs_ : n;
    }
    int move_output(int i, int g) const {
        const int period = n_outputs_ + 2;  // one cell was cropped at either end
        i += 1;
        if (g & 1) i = half_sample_ ? period - 1 - i : (period - i) % period;
        if (g & 2) i = (i + period / 2) % period;
        return i == 0 || i == period - 1 ? -1 : i - 1;
    }
    bool keeps(const double* matrix, int g, double tolerance) const;
    void arrange_blocks(const double* matrix, double negligible, double scale);
    void arrange_images(const double* matrix, double scale);

    int n_outputs_, n_inputs_, n_images_ = 1;
    bool half_sample_ = false;  // whether the mirror stands between two samples
    std::vector<Block> blocks_;
    std::vector<Segment> segments_;
    std::vector<float> taps_;  // [block][tap][output of the block]
    std::vector<Images> inputs_, outputs_;  // of one element of each set of images; -1: not an output, or there before
    std::array<Matrix, 4> matrices_;
};

inline Lowpass::Lowpass(const double* matrix, int n_outputs, int n_inputs, double scale)
    : n_outputs_(n_outputs), n_inputs_(n_inputs) {
    double largest = 0;
    for (std::ptrdiff_t i = 0; i < std::ptrdiff_t(n_outputs) * n_inputs; ++i)
        largest = std::fmax(largest, std::fabs(matrix[i]));
    arrange_blocks(matrix, NEGLIGIBLE_TAP * largest, scale);
    const bool is_dense = taps_.size() > std::size_t(n_outputs) * std::size_t(n_inputs) * 3 / 4;
    if (!is_dense || n_outputs < LEAST_FOLDED_OUTPUTS || n_inputs % 2 != 0) return;
    const double tolerance = 1e-12 * largest;
    half_sample_ = !keeps(matrix, 1, tolerance);
    if (half_sample_ && !keeps(matrix, 1, tolerance)) return;
    n_images_ = n_outputs % 2 == 0 && keeps(matrix, 2, tolerance) ? 4 : 2;
    arrange_images(matrix, scale);
}

inline bool Lowpass::keeps(const double* matrix, int g, double tolerance) const {
    for (int i = 0; i < n_outputs_; ++i) {
        const int image = move_output(i, g);
        for (int n = 0; n < n_inputs_ && image >= 0; ++n) {
            const double tap = matrix[std::ptrdiff_t(i) * n_inputs_ + n];
            if (std::fabs(tap - matrix[std::ptrdiff_t(image) * n_inputs_ + move_input(n, g)]) > tolerance) return false;
        }
    }
    return true;
}

inline void Lowpass::arrange_blocks(const double* matrix, double negligible, double scale) {
    const auto tap = [&](int i, int n) { return i < n_outputs_ ? matrix[std::ptrdiff_t(i) * n_inputs_ + n] : 0.0; };
    for (int first = 0; first < n_outputs_; first += LOWPASS_BLOCK) {
        Block block{first, int(segments_.size()), 0, taps_.size()};
        bool inside = false;
        for (int n = 0; n < n_inputs_; ++n) {
            bool counts = false;
            for (int k = 0; k < LOWPASS_BLOCK; ++k) counts = counts || std::fabs(tap(first + k, n)) > negligible;
            if (counts && !inside) segments_.push_back({n, 0});
            inside = counts;
            if (!counts) continue;
            segments_.back().count += 1;
            for (int k = 0; k < LOWPASS_BLOCK; ++k) taps_.push_back(float(scale * tap(first + k, n)));
        }
        block.end_segment = int(segments_.size());
        blocks_.push_back(block);
    }
}

inline void Lowpass::arrange_images(const double* matrix, double scale) {
    const auto collect = [&](int size, const auto& move) {
        std::vector<Images> sets;
        std::vector<bool> seen(std::size_t(size), false);
        for (int n = 0; n < size; ++n) {
            if (seen[std::size_t(n)]) continue;
            sets.push_back({-1, -1, -1, -1});
            for (int g = 0; g < n_images_; ++g) {
                const int image = move(n, g);
                if (image < 0) continue;
                sets.back()[std::size_t(g)] = image;
                seen[std::size_t(image)] = true;
            }
        }
        return sets;
    };
    inputs_ = collect(n_inputs_, [&](int n, int g) { return move_input(n, g); });
    outputs_ = collect(n_outputs_, [&](int i, int g) { return move_output(i, g); });
    for (Images& images : outputs_)
        for (std::size_t g = 1; g < 4; ++g)
            if (std::find(images.begin(), images.begin() + g, images[g]) != images.begin() + g) images[g] = -1;
    const auto sign = [](int e, int g) { return (e & g) == 1 || (e & g) == 2 ? -1.0 : 1.0; };
    for (int e = 0; e < n_images_; ++e)
        matrices_[std::size_t(e)] = Matrix(int(outputs_.size()), int(inputs_.size()), [&](int i, int n) {
            const Images& images = inputs_[std::size_t(n)];
            const double* row = matrix + std::ptrdiff_t(outputs_[std::size_t(i)][0]) * n_inputs_;
            double sum = 0;
            int n_fixed = 0;  // a sample that is its own image is counted as often in its sums
            for (int g = 0; g < n_images_; ++g) {
                sum += sign(e, g) * row[images[std::size_t(g)]];
                n_fixed += images[std::size_t(g)] == images[0];
            }
            return scale * sum / (n_images_ * n_fixed);
        });
}

}  // namespace SCATCACHE_CORE
