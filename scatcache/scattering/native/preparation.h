// Making a cascade: filters into the order in which they are read, scales, and the memory of a thread.

#pragma once

#include "stages.h"

namespace SCATCACHE_CORE {

// Unnormalised inverse FFTs and the means of aliases leave U too large by 1 / (N1 N2) with N1 N2 samples in the
// spectrum; psi takes the nearest power of two of it, which rounds nothing, and the low-pass the rest.
inline float power_of_two_scale(double n_samples) { return float(std::exp2(-std::round(std::log2(n_samples)))); }

template <int SLOTS>
Cascade<SLOTS>::Cascade(const scatcache_settings& settings)
    : settings_(settings),
      cells_high_(settings.cells_high),
      cells_wide_(settings.cells_wide) {
    const int J = settings.J, L = settings.L, of_angle = settings.mean_angles ? 1 : L;
    const std::int64_t first_order = std::int64_t(J) * of_angle;
    const std::int64_t second_order = std::int64_t(L) * of_angle * J * (J - 1) / 2;
    n_paths_ = 1 + (settings.max_order >= 1 ? first_order : 0) + (settings.max_order == 2 ? second_order : 0);
    for (int axis = 0; axis < 2; ++axis) prepare_images(settings, axis);
    ramps_.resize(std::size_t(2 * J * J));
    if (settings.max_order == 0) return;
    for (int res = 0; res < J; ++res)
        for (int size : {size_at(res).rows, size_at(res).columns})
            if (!ffts_.count(size)) ffts_[size] = std::make_unique<Fft>(size);
    const double n_samples = double(settings.padded_height) * settings.padded_width;
    const float scale = power_of_two_scale(n_samples);
    const double rest = 1.0 / (n_samples * double(scale));
    for (int j = 0; j < J; ++j) {
        const Size size = size_at(j);
        along_rows_.emplace_back(settings.lowpass[J + j], cells_wide_, size.columns, 1.0);
        along_columns_.push_back({Lowpass(settings.lowpass[j], cells_high_, size.rows, rest),
                                  Lowpass(settings.lowpass[j], cells_high_, size.rows, rest * rest)});
    }
    arrange_wavelets(settings, scale);
    for (int axis = 0; axis < 2; ++axis)
        for (int res = 0; res < J; ++res)
            for (int fold = 0; fold < J; ++fold) {
                const std::size_t at = std::size_t((axis * J + res) * J + fold);
                const int size = axis == 0 ? size_at(res).rows : size_at(res).columns;
                if (settings.ramps[at]) ramps_[at].assign(settings.ramps[at], settings.ramps[at] + 2 * size);
            }
}

// Half of each scale: split_pair gives twice the spectrum. At resolution 2^res there are 4^res times fewer samples.
template <int SLOTS>
void Cascade<SLOTS>::arrange_wavelets(const scatcache_settings& settings, float scale) {
    const int J = settings.J;
    wavelets_.resize(std::size_t(J * J));
    for (int j = 0; j < J; ++j)
        for (int res = 0; res <= j; ++res) {
            Wavelet& wavelet = wavelets_[std::size_t(j * J + res)];
            if (!settings.psi[j * J + res]) continue;
            wavelet.log2_fold = j - res;
            wavelet.groups.resize(std::size_t(n_groups()));
            const Size size = size_at(res);
            for (Lanes*& group : wavelet.groups) wavelet_tables_.add(group, std::size_t(size.rows) * std::size_t(size.columns));
        }
    wavelet_tables_.allocate();
    for (int j = 0; j < J; ++j)
        for (int res = 0; res <= j; ++res)
            if (const float* psi = settings.psi[j * J + res])
                fill_tables(wavelets_[std::size_t(j * J + res)], psi, size_at(res), settings.L, SLOTS,
                            scale * float(1 << (2 * res)) / 2.0f);
}

// What S0 needs of an axis: where padded samples come from, the low-pass with the reflection in it, and its sum.
template <int SLOTS>
void Cascade<SLOTS>::prepare_images(const scatcache_settings& settings, int axis) {
    const int padded = axis == 0 ? settings.padded_height : settings.padded_width;
    const int size = axis == 0 ? settings.height : settings.width;
    const int n_cells = axis == 0 ? cells_high_ : cells_wide_;
    const std::int64_t* reflection = settings.reflection[axis];
    const double* lowpass = settings.lowpass[axis * settings.J];
    std::vector<double> reflected(std::size_t(n_cells) * std::size_t(size), 0.0);
    for (std::ptrdiff_t i = 0; i < n_cells; ++i) {
        double sum = 0;
        for (int n = 0; n < padded; ++n) {
            reflected[std::size_t(i * size + reflection[n])] += lowpass[i * padded + n];
            sum += lowpass[i * padded + n];
        }
        image_gain_[std::size_t(axis)].push_back(sum);
    }
    reflection_[std::size_t(axis)].assign(reflection, reflection + padded);
    image_lowpass_.emplace_back(reflected.data(), n_cells, size, 1.0);
}

template <int SLOTS>
Workspace Cascade<SLOTS>::make_workspace() const {
    const Size size = size_at(0);
    const std::size_t rows = std::size_t(size.rows), columns = std::size_t(size.columns);
    const std::size_t longest = std::max(rows, columns);
    std::size_t folded = 0, scratch = 0;
    for (const std::vector<Lowpass>* lowpasses : {&along_rows_, &image_lowpass_})
        for (const Lowpass& lowpass : *lowpasses) folded = std::max(folded, lowpass.scratch_size());
    for (const std::array<Lowpass, 2>& lowpasses : along_columns_) folded = std::max(folded, lowpasses[0].scratch_size());
    for (const auto& [length, plan] : ffts_) scratch = std::max(scratch, plan->scratch_size());
    const bool has_maps = settings_.max_order > 0;
    Workspace work = {};
    work.memory.add(work.rows, MOST_LINES * columns);
    work.memory.add(work.averaged, rows * std::size_t(cells_wide_));
    work.memory.add(work.cells, std::size_t(cells_high_) * std::size_t(cells_wide_));
    const std::size_t n_cells = std::size_t(cells_high_) * std::size_t(cells_wide_);
    work.memory.add(work.angle_sums, n_angle_sums());
    work.memory.add(work.angle_maps, settings_.mean_angles ? LANES * n_cells : 0);
    work.memory.add(work.folded, folded);
    work.memory.add(work.scratch, scratch);
    work.memory.add(work.line, has_maps ? MOST_LINES * longest : 0);
    work.memory.add(work.columns, has_maps ? 2 * MOST_MAPS * MOST_LINES * longest : 0);
    work.memory.add(work.half_spectra, has_maps ? rows * std::size_t(pad_stride(size.columns / 2 + 1)) : 0);
    work.memory.add(work.image_spectra, has_maps ? size.half_spectrum() * 2 * LANES : 0);
    work.memory.add(work.map_spectra, has_second_order(0) ? size.half_spectrum() * 2 * LANES : 0);
    // More than one map at once is of order 2, at half the resolution or less.
    for (std::size_t map = 0; map < MOST_MAPS; ++map) {
        const Size largest = size_at(map == 0 ? 0 : 1);
        const std::size_t n_samples = std::size_t(largest.rows) * std::size_t(pad_stride(largest.columns));
        work.memory.add(work.maps[map], has_maps ? n_samples : 0);
        work.memory.add(work.shifted[map], is_centered() ? size.half_spectrum() * 2 * SLOTS : 0);
    }
    work.memory.allocate();
    return work;
}

}  // namespace SCATCACHE_CORE
