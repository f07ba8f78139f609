// Average, decimation and crop of one axis as a matrix with only its non-zero taps: y[i] = sum_n A[i, n] x[n].
//
// phi is separable, so S = A U B^T. At full resolution a row of A is a Gaussian of about 20 taps at J = 2, wrapped at the
// borders; at coarser ones the reference's cropped spectrum makes every tap count and the rows are dense. phi being even, A
// has a mirror symmetry, A[i', n'] = A[i, n] with n' = N - n (N - 1 - n on the centered grid); so on the sums and the
// differences of mirrored samples
//     y[i], y[i'] = sum_m E[i, m] (x[m] + x[m']) +- sum_m O[i, m] (x[m] - x[m']),
// half of the multiply-adds. Cost: one multiply-add per tap, for dense rows half of that.

#pragma once

#include <cmath>
#include <vector>

#include "lanes.h"

namespace SCATCACHE_CORE {

// Outputs computed together, for two lines at once: eight sums in registers.
constexpr int LOWPASS_BLOCK = 4;
// Taps below this part of the largest one add up to 5e-9 of the result.
constexpr double NEGLIGIBLE_TAP = 1e-8;

// Fewer outputs than this do not pay for the sums and differences.
constexpr int LEAST_MIRRORED_OUTPUTS = 12;

class Lowpass {
  public:
    // matrix: (n_outputs, n_inputs), row-major; each tap is multiplied by scale before it is rounded to float32.
    Lowpass(const double* matrix, int n_outputs, int n_inputs, double scale);

    // emit(i, y[i] of the line x, y[i] of the line other); elements are stride apart. scratch: scratch_size() registers.
    template <class Emit>
    SCATCACHE_INLINE void run(const Lanes* x, const Lanes* other, std::ptrdiff_t stride, Lanes* scratch,
                              const Emit& emit) const {
        if (!mirrored_) {
            for (const Block& block : blocks_) run_block(block, x, other, stride, emit);
        } else {
            fold(x, stride, scratch);
            fold(other, stride, scratch + 2 * n_pairs_);
            for (std::size_t i = 0; i < pairs_.size(); i += 2) run_mirrored(i, scratch, emit);
        }
    }

    std::size_t scratch_size() const { return std::size_t(mirrored_ ? 4 * n_pairs_ : 0); }

  private:
    struct Segment {
        int start, count;
    };
    struct Block {
        int first, first_segment, end_segment;
        std::size_t first_tap;
    };
    struct OutputPair {
        int i, mirror;  // mirror: -1 where the mirror image is no output of its own
    };

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

    // Sums and differences of mirrored samples, in turns.
    SCATCACHE_INLINE void fold(const Lanes* x, std::ptrdiff_t stride, Lanes* to) const {
        for (int m = 0; m < n_pairs_; ++m) {
            const Lanes a = x[m * stride], b = x[mirror_of(m) * stride];
            to[2 * m] = a + b;
            to[2 * m + 1] = a - b;
        }
    }

    template <class Emit>
    SCATCACHE_INLINE void run_mirrored(std::size_t first, const Lanes* folded, const Emit& emit) const {
        const Lanes* const other = folded + 2 * n_pairs_;
        const float* taps = taps_.data() + first * 2 * std::size_t(n_pairs_);
        Lanes even[4] = {}, odd[4] = {};  // of two outputs of the line, then of the other line
        for (int m = 0; m < n_pairs_; ++m, taps += 4) {
            const Lanes sum = folded[2 * m], difference = folded[2 * m + 1];
            const Lanes other_sum = other[2 * m], other_difference = other[2 * m + 1];
            unroll<2>([&](auto k) {
                const Lanes even_tap = fill(taps[2 * k]), odd_tap = fill(taps[2 * k + 1]);
                even[k] += even_tap * sum;
                odd[k] += odd_tap * difference;
                even[2 + k] += even_tap * other_sum;
                odd[2 + k] += odd_tap * other_difference;
            });
        }
        unroll<2>([&](auto k) {
            if (first + k >= pairs_.size()) return;
            const OutputPair pair = pairs_[first + k];
            emit(pair.i, even[k] + odd[k], even[2 + k] + odd[2 + k]);
            if (pair.mirror >= 0) emit(pair.mirror, even[k] - odd[k], even[2 + k] - odd[2 + k]);
        });
    }

    int mirror_of(int n) const { return half_sample_ ? n_inputs_ - 1 - n : n == 0 ? 0 : n_inputs_ - n; }
    int output_mirror(int i) const { return half_sample_ ? n_outputs_ - 1 - i : n_outputs_ - i; }
    bool is_mirrored(const double* matrix, double tolerance) const;
    void arrange_blocks(const double* matrix, double negligible, double scale);
    void arrange_pairs(const double* matrix, double scale);

    int n_outputs_, n_inputs_, n_pairs_ = 0;
    bool mirrored_ = false, half_sample_ = false;
    std::vector<Block> blocks_;
    std::vector<Segment> segments_;
    std::vector<OutputPair> pairs_;
    std::vector<float> taps_;  // [block][tap][output of the block], or [two pairs][m][pair][even, odd]
};

inline Lowpass::Lowpass(const double* matrix, int n_outputs, int n_inputs, double scale)
    : n_outputs_(n_outputs), n_inputs_(n_inputs) {
    double largest = 0;
    for (std::ptrdiff_t i = 0; i < std::ptrdiff_t(n_outputs) * n_inputs; ++i)
        largest = std::fmax(largest, std::fabs(matrix[i]));
    arrange_blocks(matrix, NEGLIGIBLE_TAP * largest, scale);
    const bool is_dense = taps_.size() > std::size_t(n_outputs) * std::size_t(n_inputs) * 3 / 4;
    for (const bool half_sample : {false, true}) {
        half_sample_ = half_sample;
        if (half_sample && n_inputs % 2 != 0) continue;
        if (is_dense && n_outputs >= LEAST_MIRRORED_OUTPUTS && is_mirrored(matrix, 1e-12 * largest)) {
            arrange_pairs(matrix, scale);
            return;
        }
    }
}

inline bool Lowpass::is_mirrored(const double* matrix, double tolerance) const {
    for (int i = 0; i < n_outputs_; ++i) {
        const int mirror = output_mirror(i);
        for (int n = 0; n < n_inputs_ && mirror < n_outputs_; ++n) {
            const double tap = matrix[std::ptrdiff_t(i) * n_inputs_ + n];
            if (std::fabs(tap - matrix[std::ptrdiff_t(mirror) * n_inputs_ + mirror_of(n)]) > tolerance) return false;
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

inline void Lowpass::arrange_pairs(const double* matrix, double scale) {
    mirrored_ = true;
    n_pairs_ = half_sample_ ? n_inputs_ / 2 : n_inputs_ / 2 + 1;
    taps_.clear();
    for (int i = 0; i < n_outputs_; ++i) {
        const int mirror = output_mirror(i);
        if (mirror >= i) pairs_.push_back({i, mirror == i || mirror >= n_outputs_ ? -1 : mirror});
    }
    for (std::size_t first = 0; first < pairs_.size(); first += 2)
        for (int m = 0; m < n_pairs_; ++m)
            for (std::size_t k = 0; k < 2; ++k) {
                const bool exists = first + k < pairs_.size();
                const double* row = matrix + (exists ? std::ptrdiff_t(pairs_[first + k].i) * n_inputs_ : 0);
                const int n = mirror_of(m);
                // A sample that is its own mirror image is counted twice in its sum.
                const double even = (row[m] + row[n]) / (n == m ? 4 : 2), odd = n == m ? 0.0 : (row[m] - row[n]) / 2;
                taps_.push_back(exists ? float(scale * even) : 0.0f);
                taps_.push_back(exists ? float(scale * odd) : 0.0f);
            }
}

}  // namespace SCATCACHE_CORE
