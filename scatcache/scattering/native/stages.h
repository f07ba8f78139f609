// The stages of a cascade. Costs are register operations per sample of the map at hand.

#pragma once

#include "cascade.h"

namespace SCATCACHE_CORE {

// ---- stage 0: S0 = A x B^T, and the half-spectra of the images ----
//
// Only the H rows of the image itself are transformed; reflection repeats them. The mean is taken out before: float32
// FFTs of a flat image are then nearly zero, and psi does not see it. Cost: half a complex 2-D FFT for LANES planes.
template <int SLOTS>
void Cascade<SLOTS>::transform_images(const scatcache_images& images, std::int64_t first, int n, const Output& out,
                                      Workspace& work) const {
    const int height = settings_.height;
    const Size size = size_at(0);
    const int stride = pad_stride(size.columns / 2 + 1);
    const Reader reader = choose_reader(images);
    const Lanes means = reader.find_means(images, first, n, height, settings_.width);
    Lanes* const row = work.rows;
    Lanes* const next = row + size.columns;
    std::fill_n(reinterpret_cast<float*>(row), 2 * std::size_t(size.columns) * LANES, 0.0f);
    const std::int64_t* columns = reflection_[1].data();
    const auto padded = [=](std::ptrdiff_t k) __attribute__((always_inline)) {
        return Complex{row[columns[k]], next[columns[k]]};
    };
    for (int y = 0; y < height; y += 2) {
        const bool has_next = y + 1 < height;
        reader.read_row(images, first, n, y, settings_.width, means, row);
        if (has_next) reader.read_row(images, first, n, y + 1, settings_.width, means, next);
        Lanes* averaged = work.averaged + std::ptrdiff_t(y) * cells_wide_;
        image_lowpass_[1].run(row, next, 1, work.folded, [&](int i, Lanes first_row, Lanes second_row) {
            averaged[i] = first_row;
            if (has_next) averaged[cells_wide_ + i] = second_row;
        });
        if (settings_.max_order == 0) continue;
        Complex* half = work.half_spectra + std::ptrdiff_t(y) * stride;
        fft(size.columns).run(Gather<decltype(padded)>{padded}, Line{work.line, 0}, 1, work.scratch);
        split_pair(work.line, size.columns, half, has_next ? half + stride : work.columns);
    }
    average_columns(image_lowpass_[0], &means, {0, first, 1, n}, out, work);
    if (settings_.max_order == 0) return;
    const std::int64_t* rows = reflection_[0].data();
    for (int l = 0; l <= size.columns / 2; ++l) {
        const Complex* half = work.half_spectra + l;
        const auto column = [=](std::ptrdiff_t k) __attribute__((always_inline)) { return read(half + rows[k] * stride); };
        fft(size.rows).run(Gather<decltype(column)>{column}, Line{work.line, 0}, 1, work.scratch);
        pack(work, size, l, 1, work.image_spectra);
    }
}

// Twice the half-spectra of two real lines, from the spectrum F of (first + i second):
// first: F[k] + conj F[-k]; second: -i (F[k] - conj F[-k]). Cost: 2.
template <int SLOTS>
void Cascade<SLOTS>::split_pair(const Complex* pair, int n, Complex* first, Complex* second) const {
    for (int k = 0; k <= n / 2; ++k) {
        const Complex a = read(pair + k), b = read(pair + (k == 0 ? 0 : n - k));
        write(first + k, {a.re + b.re, a.im - b.im});
        write(second + k, {a.im + b.im, b.re - a.re});
    }
}

// n columns of the spectra from l on, from the lines in hand to the spectrum of each group of SLOTS lanes.
template <int SLOTS>
void Cascade<SLOTS>::pack(const Workspace& work, const Size& size, int l, int n, float* spectra) const {
    transpose_groups<SLOTS>(reinterpret_cast<const float*>(work.line), 2 * n * size.rows,
                            spectra + std::size_t(l) * size.rows * 2 * SLOTS, size.half_spectrum() * 2 * SLOTS);
}

// The spectrum of the map moved by (2^fold - 1) / 2 samples, so that the fold keeps the middle of each cell; on
// Kymatio's grid the spectrum itself. Cost: 10 scalar operations.
template <int SLOTS>
const float* Cascade<SLOTS>::shift(const float* spectrum, int res, int log2_fold, int map, Workspace& work) const {
    const std::vector<float>& along_rows = ramps_[std::size_t((settings_.J + res) * settings_.J + log2_fold)];
    const std::vector<float>& along_columns = ramps_[std::size_t(res * settings_.J + log2_fold)];
    if (along_rows.empty()) return spectrum;
    const Size size = size_at(res);
    float* const shifted = work.shifted[std::size_t(map)];
    float* to = shifted;
    for (int l = 0; l <= size.columns / 2; ++l) {
        const float c = along_rows[std::size_t(2 * l)], s = along_rows[std::size_t(2 * l + 1)];
        for (int k = 0; k < size.rows; ++k, spectrum += 2 * SLOTS, to += 2 * SLOTS) {
            const float a = along_columns[std::size_t(2 * k)], b = along_columns[std::size_t(2 * k + 1)];
            const float re = a * c - b * s, im = a * s + b * c;
            for (int slot = 0; slot < SLOTS; ++slot) {
                to[slot] = spectrum[slot] * re - spectrum[SLOTS + slot] * im;
                to[SLOTS + slot] = spectrum[slot] * im + spectrum[SLOTS + slot] * re;
            }
        }
    }
    return shifted;
}

// ---- stage 1: product with psi, fold, inverse FFT along columns ----
//
// See wavelet.h. Cost: 2 per sample of the spectrum, and the FFT.
template <int SLOTS>
template <int MAPS>
void Cascade<SLOTS>::filter_columns(const float* const (&spectra)[MAPS], int res, const Wavelet& wavelet, int group,
                                    Workspace& work) const {
    const Size from = size_at(res), to = size_at(res + wavelet.log2_fold);
    const int fold = 1 << wavelet.log2_fold, stride = pad_stride(to.columns);
    const Lanes* psi = wavelet.groups[std::size_t(group)];
    const Fft& along_column = fft(to.rows);
    const int n_lines = along_column.n_lines(), n_pairs = (to.columns - 1) / 2;
    const auto transform = [&](const Complex* z, int map, int c, int step, int n) {
        Complex* const first = work.maps[std::size_t(map)] + c;
        along_column.run(Line{const_cast<Complex*>(z), to.rows}, Strided{first, stride, step}, n, work.scratch);
    };
    Complex* const lines = work.columns;  // [map][direct, mirrored][line]
    const std::ptrdiff_t apart = std::ptrdiff_t(n_lines) * to.rows;
    for (int first = 1; first <= n_pairs; first += n_lines) {
        const int n = std::min(n_lines, n_pairs + 1 - first);
        for (int i = 0; i < n; ++i) {
            Complex *z[MAPS], *mirror[MAPS];
            for (int map = 0; map < MAPS; ++map) {
                z[map] = lines + 2 * map * apart + i * to.rows;
                mirror[map] = z[map] + apart;
            }
            const int c = first + i;
            if (fold == 1)
                psi = multiply_pair<SLOTS, MAPS>(spectra, psi, from, to, 1, c, z, mirror);
            else if (fold == 2)
                psi = multiply_pair<SLOTS, MAPS>(spectra, psi, from, to, 2, c, z, mirror);
            else
                psi = multiply_pair<SLOTS, MAPS>(spectra, psi, from, to, fold, c, z, mirror);
        }
        for (int map = 0; map < MAPS; ++map) {
            transform(lines + 2 * map * apart, map, first, 1, n);
            transform(lines + (2 * map + 1) * apart, map, to.columns - first, -1, n);
        }
    }
    for (int c : {0, to.columns / 2}) {
        const Lanes* next = psi;
        for (int map = 0; map < MAPS; ++map) {
            next = multiply_single<SLOTS>(spectra[map], psi, from, to, c, lines);
            transform(lines, map, c, 0, 1);
        }
        psi = next;
    }
}

// ---- stage 2: inverse FFT along rows, U = |z|, low-pass along rows, forward FFT along rows ----
//
// All on two rows that stay in the first-level cache. Cost: the FFT, 2 and a square root, the taps of the low-pass, and half an FFT
// where the spectrum is wanted.
template <int SLOTS>
void Cascade<SLOTS>::take_moduli(int j, int map, const Lowpass& lowpass, bool keep_spectrum,
                                 Workspace& work) const {
    const Size size = size_at(j);
    const int stride = pad_stride(size.columns), half_stride = pad_stride(size.columns / 2 + 1);
    const Fft& along_row = fft(size.columns);
    const int n_lines = std::max(2, along_row.n_lines());
    for (int r = 0; r < size.rows; r += n_lines) {
        const int n = std::min(n_lines, size.rows - r);
        Lanes* const rows = work.rows;
        Complex* const maps = work.maps[std::size_t(map)] + std::ptrdiff_t(r) * stride;
        along_row.run(Line{maps, stride}, Modulus{rows, size.columns}, n, work.scratch);
        for (int i = 0; i < n; i += 2) {
            const Lanes* row = rows + std::ptrdiff_t(i) * size.columns;
            Lanes* averaged = work.averaged + std::ptrdiff_t(r + i) * cells_wide_;
            lowpass.run(row, row + size.columns, 1, work.folded, [&](int k, Lanes first, Lanes second) {
                averaged[k] = first;
                averaged[cells_wide_ + k] = second;
            });
        }
        if (!keep_spectrum) continue;
        const RealPair pairs{rows, rows + size.columns, 2 * size.columns};
        along_row.run(pairs, Line{work.line, size.columns}, n / 2, work.scratch);
        for (int i = 0; i < n; i += 2) {
            Complex* half = work.half_spectra + std::ptrdiff_t(r + i) * half_stride;
            split_pair(work.line + std::ptrdiff_t(i / 2) * size.columns, size.columns, half, half + half_stride);
        }
    }
}

// ---- stage 3: forward FFT along columns of the half-spectra, then one spectrum for each angle ----
template <int SLOTS>
void Cascade<SLOTS>::finish_spectra(int res, Workspace& work) const {
    const Size size = size_at(res);
    const int stride = pad_stride(size.columns / 2 + 1);
    const int n_lines = fft(size.rows).n_lines(), n_columns = size.columns / 2 + 1;
    for (int l = 0; l < n_columns; l += n_lines) {
        const int n = std::min(n_lines, n_columns - l);
        const Strided columns{work.half_spectra + l, stride, 1};
        fft(size.rows).run(columns, Line{work.line, size.rows}, n, work.scratch);
        pack(work, size, l, n, work.map_spectra);
    }
}

// ---- stage 4: low-pass along columns, and the results to their channels ----
//
// offset: a constant of the input that was left out, in each lane; null for none.
template <int SLOTS>
void Cascade<SLOTS>::average_columns(const Lowpass& lowpass, const Lanes* offset, const Place& place,
                                     const Output& out, Workspace& work) const {
    const Lanes* averaged = work.averaged;
    Lanes* const cells = work.cells;
    const std::ptrdiff_t width = cells_wide_;
    for (std::ptrdiff_t c = 0; c < width; c += 2) {
        const std::ptrdiff_t other = std::min(c + 1, width - 1);
        lowpass.run(averaged + c, averaged + other, width, work.folded, [&](int i, Lanes left, Lanes right) {
            cells[i * width + c] = left;
            cells[i * width + other] = right;
        });
    }
    for (std::ptrdiff_t i = 0; offset && i < cells_high_; ++i)
        for (std::ptrdiff_t c = 0; c < width; ++c)
            cells[i * width + c] +=
                *offset * fill(float(image_gain_[0][std::size_t(i)] * image_gain_[1][std::size_t(c)]));
    if (settings_.mean_angles && place.channel > 0)
        add_angles(cells, place, work);
    else if (out.is_half)
        write_cells(cells, place, static_cast<std::uint16_t*>(out.data));
    else
        write_cells(cells, place, static_cast<float*>(out.data));
}

// Every lane to its plane and channel. Order 0 has a plane in each lane, one angle and up to LANES planes.
template <int SLOTS>
template <class T>
void Cascade<SLOTS>::write_cells(const Lanes* cells, const Place& place, T* out) const {
    const std::ptrdiff_t n_cells = std::ptrdiff_t(cells_high_) * cells_wide_;
    T* channels[LANES] = {};
    for (int angle = 0; angle < place.n_angles; ++angle)
        for (int slot = 0; slot < place.n_planes; ++slot)
            channels[angle * SLOTS + slot] = out + ((place.plane + slot) * n_paths_ + place.channel + angle) * n_cells;
    transpose_lanes<T>(reinterpret_cast<const float*>(cells), int(n_cells), channels);
}

// ---- means over angles: sums of what average_columns gives, then once for each plane their L-th part ----
//
// The order of additions depends on L and the core's lanes alone. Cost: an addition per cell and path.
template <int SLOTS>
void Cascade<SLOTS>::add_angles(const Lanes* cells, const Place& place, Workspace& work) const {
    const std::ptrdiff_t n_cells = std::ptrdiff_t(cells_high_) * cells_wide_;
    float* maps[LANES] = {};
    for (int angle = 0; angle < place.n_angles; ++angle)
        for (int slot = 0; slot < place.n_planes; ++slot)
            maps[angle * SLOTS + slot] = work.angle_maps + (angle * SLOTS + slot) * n_cells;
    transpose_lanes<float>(reinterpret_cast<const float*>(cells), int(n_cells), maps);
    for (int angle = 0; angle < place.n_angles; ++angle) {
        const std::int64_t path = place.channel - 1 + std::int64_t((place.turn + angle) % settings_.L) * place.step;
        for (int slot = 0; slot < place.n_planes; ++slot) {
            const float* map = maps[angle * SLOTS + slot];
            float* sums = work.angle_sums + (slot * (n_paths_ - 1) + path) * n_cells;
            for (std::ptrdiff_t i = 0; i < n_cells; ++i) sums[i] += map[i];
        }
    }
}

template <int SLOTS>
template <class T>
void Cascade<SLOTS>::write_angles(const Place& planes, T* out, const Workspace& work) const {
    const std::ptrdiff_t n_cells = std::ptrdiff_t(cells_high_) * cells_wide_, n_sums = (n_paths_ - 1) * n_cells;
    const float n_angles = float(settings_.L);
    for (int slot = 0; slot < planes.n_planes; ++slot) {
        T* to = out + ((planes.plane + slot) * n_paths_ + 1) * n_cells;
        const float* sums = work.angle_sums + slot * n_sums;
        for (std::ptrdiff_t i = 0; i < n_sums; ++i) store_value(to + i, sums[i] / n_angles);
    }
}

}  // namespace SCATCACHE_CORE
