// Small real matrices times vectors of complex registers.

#pragma once

#include <algorithm>
#include <vector>

#include "lanes.h"

namespace SCATCACHE_CORE {

// Rows computed together: two sums each stay in registers, beside the two parts of an element and one coefficient.
constexpr int MOST_ROWS = MANY_REGISTERS ? 12 : 6;

class Matrix {
  public:
    Matrix() = default;

    // entry(row, column) in double precision.
    template <class Entry>
    Matrix(int n_rows, int n_columns, const Entry& entry) : n_columns_(n_columns) {
        const int n_blocks = (n_rows + MOST_ROWS - 1) / MOST_ROWS;
        for (int block = 0, row = 0; block < n_blocks; row += blocks_[std::size_t(block++)]) {
            blocks_.push_back((n_rows - row + n_blocks - block - 1) / (n_blocks - block));
            for (int column = 0; column < n_columns; ++column)
                for (int k = row; k < row + blocks_.back(); ++k) entries_.push_back(float(entry(k, column)));
        }
    }

    // y[k] = sum_i M[k, i] x[i]. Cost: 2 multiply-adds per entry.
    void multiply(const Complex* x, Complex* y) const {
        const float* entries = entries_.data();
        for (const int n : blocks_) {
            multiply_block(n, entries, x, y);
            entries += n * n_columns_;
            y += n;
        }
    }

  private:
    void multiply_block(int n, const float* entries, const Complex* x, Complex* y) const {
        switch (n) {
            case 1: return multiply_rows<1>(entries, x, y);
            case 2: return multiply_rows<2>(entries, x, y);
            case 3: return multiply_rows<3>(entries, x, y);
            case 4: return multiply_rows<4>(entries, x, y);
            case 5: return multiply_rows<5>(entries, x, y);
            case 6: return multiply_rows<6>(entries, x, y);
            default: break;
        }
        if constexpr (MOST_ROWS > 6) {
            switch (n) {
                case 7: return multiply_rows<7>(entries, x, y);
                case 8: return multiply_rows<8>(entries, x, y);
                case 9: return multiply_rows<9>(entries, x, y);
                case 10: return multiply_rows<10>(entries, x, y);
                case 11: return multiply_rows<11>(entries, x, y);
                default: return multiply_rows<12>(entries, x, y);
            }
        }
    }

    template <int K>
    SCATCACHE_INLINE void multiply_rows(const float* entries, const Complex* x, Complex* y) const {
        Complex sums[K] = {};
        for (int i = 0; i < n_columns_; ++i, entries += K) {
            const Complex z = read(x + i);
            unroll<K>([&](auto k) {
                const Lanes entry = fill(entries[k]);
                sums[k].re += entry * z.re;
                sums[k].im += entry * z.im;
            });
        }
        unroll<K>([&](auto k) { write(y + k, sums[k]); });
    }

    int n_columns_ = 0;
    std::vector<int> blocks_;     // rows of each block
    std::vector<float> entries_;  // [block][column][row of the block]
};

}  // namespace SCATCACHE_CORE
