// The scattering cascade of one image shape: S0 = x * phi, S1 = |x * psi1| * phi, S2 = ||x * psi1| * psi2| * phi.
//
// A register holds SLOTS image planes times LANES / SLOTS angles: lane = angle * SLOTS + slot. Every lane computes
// what it would compute alone, so a plane's coefficients have the same bits whatever its neighbours, and the layout
// follows from L and the shape alone. There are no shuffles: a spectrum is the same for all angles, so it is read as
// scalars that fill a register, and only the results are transposed.
//
// A real map's spectrum is kept for columns 0..Q/2 and stored column by column, [column][row][re, im][slot].
// stages.h holds the stages, preparation.h what is done once.

#pragma once

#include <algorithm>
#include <array>
#include <map>
#include <memory>

#include "fft.h"
#include "images.h"
#include "lowpass.h"
#include "transpose.h"
#include "wavelet.h"

namespace SCATCACHE_CORE {

// Columns of the maps are an odd number of cache lines apart, or they would all compete for the same cache sets.
inline int pad_stride(int size) { return size | 1; }

struct Output {
    void* data;
    bool is_half;
};

// Memory of one thread.
struct Workspace {
    std::array<Complex*, MOST_MAPS> maps;
    std::array<float*, MOST_MAPS> shifted;
    Complex *half_spectra, *columns, *line, *scratch, *folded;
    Lanes *rows, *averaged, *cells;
    float *image_spectra, *map_spectra;
    float *angle_sums, *angle_maps;  // [slot][path from order 1 on][cell], [lane][cell]
    Buffer memory;
};

class Transform {
  public:
    virtual ~Transform() = default;
    // Planes first..first + n - 1, n at most LANES.
    virtual void run(const scatcache_images& images, std::int64_t first, int n, const Output& out,
                     Workspace& work) const = 0;
    virtual Workspace make_workspace() const = 0;
    virtual int n_slots() const = 0;
};

template <int SLOTS>
class Cascade final : public Transform {
  public:
    explicit Cascade(const scatcache_settings& settings);
    void run(const scatcache_images& images, std::int64_t first, int n, const Output& out,
             Workspace& work) const override;
    Workspace make_workspace() const override;
    int n_slots() const override { return SLOTS; }

  private:
    static constexpr int ANGLES = LANES / SLOTS;  // in one group
    // Where the results of one register go: channel of its first angle, first plane, angles and planes that exist.
    // Averaged angles are added up instead: angle i to channel + (turn + i) % L * step.
    struct Place {
        std::int64_t channel, plane;
        int n_angles, n_planes;
        int turn = 0, step = 0;
    };

    Size size_at(int res) const { return {settings_.padded_height >> res, settings_.padded_width >> res}; }
    const Fft& fft(int size) const { return *ffts_.at(size); }
    int n_groups() const { return (settings_.L + ANGLES - 1) / ANGLES; }
    Place place_order_1(int j1, int first_angle, const Place& planes) const;
    Place place_order_2(int j1, int theta1, int j2, int first_angle, const Place& planes) const;
    void add_angles(const Lanes* cells, const Place& place, Workspace& work) const;
    template <class T>
    void write_angles(const Place& planes, T* out, const Workspace& work) const;
    bool is_centered() const {
        return std::any_of(ramps_.begin(), ramps_.end(), [](const auto& ramp) { return !ramp.empty(); });
    }
    std::size_t n_angle_sums() const {
        const std::size_t n_cells = std::size_t(cells_high_) * std::size_t(cells_wide_);
        return settings_.mean_angles ? SLOTS * std::size_t(n_paths_ - 1) * n_cells : 0;
    }
    bool has_second_order(int j1) const { return settings_.max_order == 2 && j1 + 1 < settings_.J; }

    void transform_images(const scatcache_images& images, std::int64_t first, int n, const Output& out,
                          Workspace& work) const;
    void transform_slots(const float* spectrum, const Place& planes, const Output& out, Workspace& work) const;
    const float* shift(const float* spectrum, int res, int log2_fold, int map, Workspace& work) const;
    template <int MAPS>
    void filter_columns(const float* const (&spectra)[MAPS], int res, const Wavelet& wavelet, int group,
                        Workspace& work) const;
    template <int MAPS>
    void transform_maps(int j1, int first_angle, int angle, const Place& planes, const Output& out,
                        Workspace& work) const;
    void take_moduli(int j, int map, const Lowpass& lowpass, bool keep_spectrum, Workspace& work) const;
    void finish_spectra(int res, Workspace& work) const;
    void average_columns(const Lowpass& lowpass, const Lanes* offset, const Place& place,
                         const Output& out, Workspace& work) const;
    template <class T>
    void write_cells(const Lanes* cells, const Place& place, T* out) const;
    void split_pair(const Complex* pair, int n, Complex* first, Complex* second) const;
    void pack(const Workspace& work, const Size& size, int l, int n, float* spectra) const;
    void prepare_images(const scatcache_settings& settings, int axis);
    void arrange_wavelets(const scatcache_settings& settings, float scale);

    scatcache_settings settings_;  // its pointers are used by the constructor alone
    int cells_high_, cells_wide_;
    std::int64_t n_paths_;
    std::map<int, std::unique_ptr<Fft>> ffts_;
    std::vector<Wavelet> wavelets_;                      // [j * J + res]
    Buffer wavelet_tables_;
    std::vector<Lowpass> along_rows_;                    // [j]
    std::vector<std::array<Lowpass, 2>> along_columns_;  // [j][order - 1]
    std::vector<Lowpass> image_lowpass_;                 // [axis], reflection included
    std::array<std::vector<double>, 2> image_gain_;      // [axis][cell]: the sum of the low-pass's taps
    std::vector<std::vector<float>> ramps_;  // [(axis * J + res) * J + fold]
    std::array<std::vector<std::int64_t>, 2> reflection_;
};

template <int SLOTS>
void Cascade<SLOTS>::transform_slots(const float* spectrum, const Place& planes, const Output& out,
                                     Workspace& work) const {
    const int J = settings_.J, L = settings_.L;
    for (int j1 = 0; j1 < J; ++j1) {
        for (int group = 0; group < n_groups(); ++group) {
            const int first_angle = group * ANGLES, n_angles = std::min(ANGLES, L - first_angle);
            const float* source = shift(spectrum, 0, j1, 0, work);  // anew: order 2 has used its memory
            filter_columns<1>({source}, 0, wavelets_[std::size_t(j1 * J)], group, work);
            take_moduli(j1, 0, along_rows_[std::size_t(j1)], has_second_order(j1), work);
            average_columns(along_columns_[std::size_t(j1)][0], nullptr,
                            place_order_1(j1, first_angle, planes), out, work);
            if (!has_second_order(j1)) continue;
            finish_spectra(j1, work);
            int angle = 0;
            for (; angle + MOST_MAPS <= n_angles; angle += MOST_MAPS)
                transform_maps<MOST_MAPS>(j1, first_angle, angle, planes, out, work);
            for (; angle < n_angles; ++angle) transform_maps<1>(j1, first_angle, angle, planes, out, work);
        }
    }
}

// Order 2 of the maps of MAPS angles of a group, whose spectra lie in work.map_spectra.
template <int SLOTS>
template <int MAPS>
void Cascade<SLOTS>::transform_maps(int j1, int first_angle, int angle, const Place& planes, const Output& out,
                                    Workspace& work) const {
    const int J = settings_.J;
    for (int j2 = j1 + 1; j2 < J; ++j2) {
        const float* spectra[MAPS];
        for (int map = 0; map < MAPS; ++map) {
            const std::size_t at = std::size_t(angle + map) * size_at(j1).half_spectrum() * 2 * SLOTS;
            spectra[map] = shift(work.map_spectra + at, j1, j2 - j1, map, work);
        }
        for (int group = 0; group < n_groups(); ++group) {
            const int first2 = group * ANGLES;
            filter_columns<MAPS>(spectra, j1, wavelets_[std::size_t(j2 * J + j1)], group, work);
            for (int map = 0; map < MAPS; ++map) {
                take_moduli(j2, map, along_rows_[std::size_t(j2)], false, work);
                average_columns(along_columns_[std::size_t(j2)][1], nullptr,
                                place_order_2(j1, first_angle + angle + map, j2, first2, planes), out, work);
            }
        }
    }
}

template <int SLOTS>
void Cascade<SLOTS>::run(const scatcache_images& images, std::int64_t first, int n, const Output& out,
                         Workspace& work) const {
    transform_images(images, first, n, out, work);
    if (settings_.max_order == 0) return;
    for (int slot = 0; slot < n; slot += SLOTS) {
        const float* spectrum = work.image_spectra + std::size_t(slot) * size_at(0).half_spectrum() * 2;
        const Place planes = {0, first + slot, 0, std::min(SLOTS, n - slot)};
        std::fill_n(work.angle_sums, n_angle_sums(), 0.0f);
        transform_slots(spectrum, planes, out, work);
        if (!settings_.mean_angles) continue;
        if (out.is_half)
            write_angles(planes, static_cast<std::uint16_t*>(out.data), work);
        else
            write_angles(planes, static_cast<float*>(out.data), work);
    }
}

template <int SLOTS>
auto Cascade<SLOTS>::place_order_1(int j1, int first_angle, const Place& planes) const -> Place {
    const int n_angles = std::min(ANGLES, settings_.L - first_angle);
    if (settings_.mean_angles) return {1 + j1, planes.plane, n_angles, planes.n_planes};
    return {1 + j1 * settings_.L + first_angle, planes.plane, n_angles, planes.n_planes};
}

template <int SLOTS>
auto Cascade<SLOTS>::place_order_2(int j1, int theta1, int j2, int first_angle, const Place& planes) const -> Place {
    const std::int64_t J = settings_.J, L = settings_.L, of_angle = settings_.mean_angles ? 1 : L;
    std::int64_t channel = 1 + J * of_angle;
    for (int j = 0; j < j1; ++j) channel += of_angle * L * (J - 1 - j);
    const int n_angles = std::min(ANGLES, settings_.L - first_angle), between = j2 - j1 - 1;
    if (settings_.mean_angles)
        return {channel + between * L, planes.plane, n_angles, planes.n_planes, first_angle - theta1 + int(L), 1};
    return {channel + (theta1 * (J - 1 - j1) + between) * L + first_angle, planes.plane, n_angles, planes.n_planes};
}

}  // namespace SCATCACHE_CORE
