// The scattering cascade as kernels: S0 = x * phi, S1 = |x * psi1| * phi, S2 = ||x * psi1| * psi2| * phi.
//
// A preamble written by fused.py stands before this file: sizes, radices, where each table lies, the trigonometry of primes.
// A body is a list of phases and barriers. On a GPU each() runs the phase on this thread and sync() is __syncthreads(); the tests
// run the same bodies on the CPU, one thread after the other from barrier to barrier, in several orders.
//
// Where a map fits in shared memory a block computes a wavelet of a plane, with all of order 2 above it (scatter). Larger ones
// go through global memory in tiles (first_columns, first_rows, transform_columns), and order 2, at half the resolution or
// less, does not (second). All in float32, natural order in frequency, permuted order in space: see fft.cuh.
//
// Budgets: 64 registers a thread where no radix is above 17, else 128, none spilled; shared memory as each body says, in bytes in
// fused_plan.py, up to what a block of the device may have.

#include "phases.cuh"

struct Arguments {
    const void* images;  // planes of samples, any strides, in elements
    void* out;           // (n_planes, N_PATHS, CELLS_HIGH, CELLS_WIDE), float32 or float16
    Complex* spectra;    // (n, ROWS, HALF): of the images
    Complex* maps;       // (n, L, ROWS, COLUMNS) where maps do not fit in shared memory
    float* averages;     // (n, L, CELLS_WIDE, ROWS), likewise
    float* means;        // (n,)
    const float* tables;
    const int* indices;
    long long image_stride, colour_stride, row_stride, column_stride;
    int n_colours;
    int sample_type;  // 0 float32, 1 uint8, 2 uint16
    int is_half, first_plane;
    float scale;  // what samples are divided by

    SCATCACHE_DEVICE float pixel(int plane, int y, int x) const {
        const int at = first_plane + plane;
        const long long i = at / n_colours * image_stride + at % n_colours * colour_stride + y * row_stride + x * column_stride;
        if (sample_type == 1) return static_cast<const unsigned char*>(images)[i] / scale;
        if (sample_type == 2) return static_cast<const unsigned short*>(images)[i] / scale;
        return static_cast<const float*>(images)[i] / scale;
    }
    SCATCACHE_DEVICE long long element(int plane, int path) const {
        return ((long long)(first_plane + plane) * N_PATHS + path) * N_CELLS;
    }
    SCATCACHE_DEVICE Output output() const { return {out, is_half}; }
    SCATCACHE_DEVICE const Complex* roots(int size) const { return complexes(roots_offset(size)); }
    SCATCACHE_DEVICE const Complex* ramps(int res, int scale) const { return complexes(ramps_offset(res, scale)); }
    SCATCACHE_DEVICE const Complex* complexes(int offset) const { return reinterpret_cast<const Complex*>(tables + offset); }
    SCATCACHE_DEVICE const float* psi(int res, int scale, int theta) const {
        return tables + psi_offset(scale, res) + theta * (PADDED_HEIGHT >> res) * (PADDED_WIDTH >> res);
    }
    template <int AXIS, int RES>
    SCATCACHE_DEVICE Taps<n_taps(AXIS, RES)> taps() const {
        return {reinterpret_cast<const Tap*>(indices + taps_offset(AXIS, RES))};
    }
};

// Channel of the first theta2 above (j1, theta1) at scale j2, in Kymatio's order.
SCATCACHE_DEVICE int order_2_path(int j1, int theta1, int j2) {
    int path = 1 + J * L;
    for (int j = 0; j < j1; ++j) path += L * L * (J - 1 - j);
    return path + (theta1 * (J - 1 - j1) + (j2 - j1 - 1)) * L;
}

// ---- means: one block per plane ----
// Shared memory: N_THREADS + 16 floats.
template <class Threads>
SCATCACHE_DEVICE void means_body(Threads& threads, const Arguments& a, float* shared, int plane) {
    threads.each([=](int thread) {
        float sum = 0.0f;
        for (int i = thread; i < HEIGHT * WIDTH; i += N_THREADS) sum += a.pixel(plane, i / WIDTH, i % WIDTH);
        shared[thread] = sum;
    });
    threads.sync();
    threads.each([=](int thread) {
        if (thread >= 16) return;
        float sum = 0.0f;
        for (int i = thread; i < N_THREADS; i += 16) sum += shared[i];
        shared[N_THREADS + thread] = sum;
    });
    threads.sync();
    threads.each([=](int thread) {
        if (thread != 0) return;
        float sum = 0.0f;
        for (int i = 0; i < 16; ++i) sum += shared[N_THREADS + i];
        a.means[plane] = sum / (HEIGHT * WIDTH);
    });
}

// ---- parts of the bodies below ----

// Reflect-padded rows first.. of an image less its mean, two to a complex row, in permuted order.
template <int N_ROWS>
SCATCACHE_DEVICE void load_rows(const Arguments& a, int plane, int first, Complex* rows, int thread) {
    const int *const row_of = a.indices + source_offset(0), *const column_of = a.indices + source_offset(1);
    const float mean = a.means[plane];
    SCATCACHE_ROLL
    for (int task = thread; task < N_ROWS / 2 * PADDED_WIDTH; task += N_THREADS) {
        const int pair = task / PADDED_WIDTH, c = task % PADDED_WIDTH, row = first + 2 * pair;
        rows[2 * pair * Map<0>::PITCH + c] = {a.pixel(plane, row_of[row], column_of[c]) - mean,
                                              a.pixel(plane, row_of[row + 1], column_of[c]) - mean};
    }
}

template <int N_ROWS>
SCATCACHE_DEVICE void copy_lines(const Complex* from, int from_pitch, Complex* to, int to_pitch, int n, int thread) {
    for (int task = thread; task < N_ROWS * n; task += N_THREADS)
        to[task / n * to_pitch + task % n] = from[task / n * from_pitch + task % n];
}

// Columns first.. of a map into a tile or back; what lies beyond n_columns is zero in the tile and not written.
template <bool BACK>
SCATCACHE_DEVICE void copy_tile(Complex* map, int map_pitch, int n_columns, int first, Complex* tile, int thread) {
    for (int task = thread; task < PADDED_HEIGHT * COLUMN_TILE; task += N_THREADS) {
        const int r = task / COLUMN_TILE, c = task % COLUMN_TILE;
        Complex* const at = tile + r * (COLUMN_TILE | 1) + c;
        if (first + c >= n_columns) {
            if (!BACK) *at = {0.0f, 0.0f};
        } else if (BACK) {
            map[r * map_pitch + first + c] = *at;
        } else {
            *at = map[r * map_pitch + first + c];
        }
    }
}

// Half-spectra of N_ROWS real rows, two to a complex row.
template <int RES, int N_ROWS, class Threads>
SCATCACHE_DEVICE void transform_rows(Threads& threads, const Arguments& a, Complex* rows) {
    using M = Map<RES>;
    transform_lines<Lines<N_ROWS / 2, 1, 2 * M::PITCH>, M::COLUMNS, false>(threads, rows, a.roots(M::COLUMNS));
    threads.each([=](int thread) { split_rows<N_ROWS, M::COLUMNS, M::PITCH>(rows, thread); });
    threads.sync();
}

// From products with psi to N_MAPS maps U and their low-pass, from path on.
template <int RES, int N_MAPS, class Threads>
SCATCACHE_DEVICE void finish_maps(Threads& threads, const Arguments& a, Complex* maps, float* averaged, int plane, int path) {
    using M = Map<RES>;
    constexpr int N_ROWS = N_MAPS * M::ROWS, PITCH = N_ROWS | 1;
    transform_lines<Lines<N_MAPS * M::COLUMNS, M::PITCH, 1, M::COLUMNS, M::AREA>, M::ROWS, true>(threads, maps, a.roots(M::ROWS));
    transform_lines<Lines<N_ROWS, 1, M::PITCH>, M::COLUMNS, true>(threads, maps, a.roots(M::COLUMNS));
    threads.each([=](int thread) { take_moduli<N_ROWS, M::COLUMNS, M::PITCH>(maps, thread); });
    threads.sync();
    threads.each([=](int thread) { average_rows<N_ROWS, M::PITCH>(maps, a.taps<1, RES>(), averaged, PITCH, thread); });
    threads.sync();
    threads.each([=](int thread) {
        average_columns<N_MAPS, M::ROWS>(averaged, PITCH, a.taps<0, RES>(), {0.0f, nullptr}, a.output(),
                                         a.element(plane, path), thread);
    });
}

// Order 2 above U at (J1, theta1), scales J2 and larger, from U's half-spectrum.
template <int J1, int J2, class Threads>
SCATCACHE_DEVICE void second_orders(Threads& threads, const Arguments& a, const Spectrum<J1>& spectrum, Complex* maps,
                                    float* averaged, int plane, int theta1) {
    if constexpr (J2 < J) {
        using M = Map<J2>;
        for (int theta2 = 0; theta2 < L; theta2 += group_of(J2)) {
            threads.each([=](int thread) {
                multiply<J1, J2, group_of(J2), M::COLUMNS, M::PITCH, M::AREA>(spectrum, a.psi(J1, J2, theta2), a.ramps(J1, J2), 0,
                                                                              maps, thread);
            });
            threads.sync();
            finish_maps<J2, group_of(J2)>(threads, a, maps, averaged, plane, order_2_path(J1, theta1, J2) + theta2);
        }
        second_orders<J1, J2 + 1>(threads, a, spectrum, maps, averaged, plane, theta1);
    }
}

SCATCACHE_DEVICE constexpr bool has_second_order(int j1) { return MAX_ORDER == 2 && j1 + 1 < J; }

SCATCACHE_DEVICE constexpr int larger(int a, int b) { return a > b ? a : b; }

// Complex numbers of the maps of order 2 above j1, and floats of their rows' averages.
template <int J2 = J - 1>
SCATCACHE_DEVICE constexpr int second_area(int j1) {
    if constexpr (J2 < 1)
        return 0;
    else
        return J2 <= j1 ? 0 : larger(group_of(J2) * Map<J2>::AREA, second_area<J2 - 1>(j1));
}

SCATCACHE_DEVICE Spectrum<0> image_spectrum(const Arguments& a, int plane) {
    return {a.spectra + (long long)plane * Map<0>::ROWS * Map<0>::HALF, Map<0>::HALF};
}

// ---- images whose map fits in shared memory: one block per plane ----
// Shared memory: a map, and CELLS_WIDE averaged rows.
template <class Threads>
SCATCACHE_DEVICE void image_body(Threads& threads, const Arguments& a, float* shared, int plane) {
    using M = Map<0>;
    Complex* const map = reinterpret_cast<Complex*>(shared);
    float* const averaged = shared + 2 * M::AREA;
    threads.each([=](int thread) { load_rows<M::ROWS>(a, plane, 0, map, thread); });
    threads.sync();
    threads.each([=](int thread) { average_rows<M::ROWS, M::PITCH>(map, a.taps<1, 0>(), averaged, M::ROWS | 1, thread); });
    threads.sync();
    threads.each([=](int thread) {
        average_columns<1, M::ROWS>(averaged, M::ROWS | 1, a.taps<0, 0>(), {a.means[plane], a.tables + gains_offset()},
                                    a.output(), a.element(plane, 0), thread);
    });
    if (MAX_ORDER == 0) return;
    transform_rows<0, M::ROWS>(threads, a, map);
    transform_lines<Lines<M::HALF, M::PITCH, 1>, M::ROWS, false>(threads, map, a.roots(M::ROWS));
    threads.each([=](int thread) {
        Complex* const to = a.spectra + (long long)plane * M::ROWS * M::HALF;
        copy_lines<M::ROWS>(map, M::PITCH, to, M::HALF, M::HALF, thread);
    });
}

// ---- scale J1, where its map fits in shared memory: one block per plane and theta1 ----
// Shared memory: the map, which becomes its own spectrum, the maps of order 2, and the averaged rows of either.
template <int J1, class Threads>
SCATCACHE_DEVICE void scatter_body(Threads& threads, const Arguments& a, float* shared, int block) {
    using M = Map<J1>;
    const int plane = block / L, theta1 = block % L;
    Complex* const map = reinterpret_cast<Complex*>(shared);
    float* const averaged = shared + 2 * (M::AREA + (has_second_order(J1) ? second_area(J1) : 0));
    threads.each([=](int thread) {
        multiply<0, J1, 1, M::COLUMNS, M::PITCH, M::AREA>(image_spectrum(a, plane), a.psi(0, J1, theta1), a.ramps(0, J1), 0, map,
                                                          thread);
    });
    threads.sync();
    finish_maps<J1, 1>(threads, a, map, averaged, plane, 1 + J1 * L + theta1);
    if constexpr (has_second_order(J1)) {
        transform_rows<J1, M::ROWS>(threads, a, map);
        transform_lines<Lines<M::HALF, M::PITCH, 1>, M::ROWS, false>(threads, map, a.roots(M::ROWS));
        second_orders<J1, J1 + 1>(threads, a, Spectrum<J1>{map, M::PITCH}, map + M::AREA, averaged, plane, theta1);
    }
}

// ---- larger images: tiles of rows and of columns, one block each ----
// Shared memory: ROW_TILE rows or COLUMN_TILE columns of a map.
template <class Threads>
SCATCACHE_DEVICE void image_rows_body(Threads& threads, const Arguments& a, float* shared, int block) {
    using M = Map<0>;
    const int plane = block / (M::ROWS / ROW_TILE), first = block % (M::ROWS / ROW_TILE) * ROW_TILE;
    Complex* const rows = reinterpret_cast<Complex*>(shared);
    threads.each([=](int thread) { load_rows<ROW_TILE>(a, plane, first, rows, thread); });
    threads.sync();
    threads.each([=](int thread) {
        float* const averaged = a.averages + (long long)plane * CELLS_WIDE * M::ROWS + first;
        average_rows<ROW_TILE, M::PITCH>(rows, a.taps<1, 0>(), averaged, M::ROWS, thread);
    });
    if (MAX_ORDER == 0) return;
    threads.sync();
    transform_rows<0, ROW_TILE>(threads, a, rows);
    threads.each([=](int thread) {
        Complex* const to = a.spectra + ((long long)plane * M::ROWS + first) * M::HALF;
        copy_lines<ROW_TILE>(rows, M::PITCH, to, M::HALF, M::HALF, thread);
    });
}

template <class Threads>
SCATCACHE_DEVICE void image_averages_body(Threads& threads, const Arguments& a, float*, int plane) {
    threads.each([=](int thread) {
        average_columns<1, Map<0>::ROWS>(a.averages + (long long)plane * CELLS_WIDE * Map<0>::ROWS, Map<0>::ROWS, a.taps<0, 0>(),
                                         {a.means[plane], a.tables + gains_offset()}, a.output(), a.element(plane, 0), thread);
    });
}

// The forward FFT along columns of half-spectra: n maps of rows pitch apart.
template <class Threads>
SCATCACHE_DEVICE void transform_columns(Threads& threads, const Arguments& a, Complex* maps, int pitch, float* shared, int block) {
    using M = Map<0>;
    constexpr int N_TILES = (M::HALF + COLUMN_TILE - 1) / COLUMN_TILE;
    Complex* const map = maps + (long long)(block / N_TILES) * M::ROWS * pitch;
    Complex* const tile = reinterpret_cast<Complex*>(shared);
    const int first = block % N_TILES * COLUMN_TILE;
    threads.each([=](int thread) { copy_tile<false>(map, pitch, M::HALF, first, tile, thread); });
    threads.sync();
    transform_lines<Lines<COLUMN_TILE, COLUMN_TILE | 1, 1>, M::ROWS, false>(threads, tile, a.roots(M::ROWS));
    threads.each([=](int thread) { copy_tile<true>(map, pitch, M::HALF, first, tile, thread); });
}

template <class Threads>
SCATCACHE_DEVICE void image_columns_body(Threads& threads, const Arguments& a, float* shared, int block) {
    transform_columns(threads, a, a.spectra, Map<0>::HALF, shared, block);
}

template <class Threads>
SCATCACHE_DEVICE void first_columns_body(Threads& threads, const Arguments& a, float* shared, int block) {
    using M = Map<0>;
    constexpr int N_TILES = (M::COLUMNS + COLUMN_TILE - 1) / COLUMN_TILE, PITCH = COLUMN_TILE | 1;
    const int map = block / N_TILES, plane = map / L, first = block % N_TILES * COLUMN_TILE;
    Complex* const tile = reinterpret_cast<Complex*>(shared);
    threads.each([=](int thread) {
        multiply<0, 0, 1, COLUMN_TILE, PITCH, 0>(image_spectrum(a, plane), a.psi(0, 0, map % L), nullptr, first, tile, thread);
    });
    threads.sync();
    transform_lines<Lines<COLUMN_TILE, PITCH, 1>, M::ROWS, true>(threads, tile, a.roots(M::ROWS));
    threads.each([=](int thread) {
        copy_tile<true>(a.maps + (long long)map * M::ROWS * M::COLUMNS, M::COLUMNS, M::COLUMNS, first, tile, thread);
    });
}

template <class Threads>
SCATCACHE_DEVICE void first_rows_body(Threads& threads, const Arguments& a, float* shared, int block) {
    using M = Map<0>;
    const int map = block / (M::ROWS / ROW_TILE), first = block % (M::ROWS / ROW_TILE) * ROW_TILE;
    Complex* const rows = reinterpret_cast<Complex*>(shared);
    Complex* const global = a.maps + ((long long)map * M::ROWS + first) * M::COLUMNS;
    threads.each([=](int thread) { copy_lines<ROW_TILE>(global, M::COLUMNS, rows, M::PITCH, M::COLUMNS, thread); });
    threads.sync();
    transform_lines<Lines<ROW_TILE, 1, M::PITCH>, M::COLUMNS, true>(threads, rows, a.roots(M::COLUMNS));
    threads.each([=](int thread) { take_moduli<ROW_TILE, M::COLUMNS, M::PITCH>(rows, thread); });
    threads.sync();
    threads.each([=](int thread) {
        float* const averaged = a.averages + (long long)map * CELLS_WIDE * M::ROWS + first;
        average_rows<ROW_TILE, M::PITCH>(rows, a.taps<1, 0>(), averaged, M::ROWS, thread);
    });
    if (!has_second_order(0)) return;
    threads.sync();
    transform_rows<0, ROW_TILE>(threads, a, rows);
    threads.each([=](int thread) { copy_lines<ROW_TILE>(rows, M::PITCH, global, M::COLUMNS, M::HALF, thread); });
}

template <class Threads>
SCATCACHE_DEVICE void first_averages_body(Threads& threads, const Arguments& a, float*, int map) {
    threads.each([=](int thread) {
        average_columns<1, Map<0>::ROWS>(a.averages + (long long)map * CELLS_WIDE * Map<0>::ROWS, Map<0>::ROWS, a.taps<0, 0>(),
                                         {0.0f, nullptr}, a.output(), a.element(map / L, 1 + map % L), thread);
    });
}

template <class Threads>
SCATCACHE_DEVICE void first_spectra_body(Threads& threads, const Arguments& a, float* shared, int block) {
    transform_columns(threads, a, a.maps, Map<0>::COLUMNS, shared, block);
}

// Order 2 above j1 = 0, from spectra in global memory: one block per plane and theta1.
// Shared memory: the maps of order 2, and their averaged rows.
template <class Threads>
SCATCACHE_DEVICE void second_body(Threads& threads, const Arguments& a, float* shared, int map) {
    const Spectrum<0> spectrum{a.maps + (long long)map * Map<0>::ROWS * Map<0>::COLUMNS, Map<0>::COLUMNS};
    second_orders<0, 1>(threads, a, spectrum, reinterpret_cast<Complex*>(shared), shared + 2 * second_area(0), map / L, map % L);
}

// ---- the kernels ----

#if defined(__CUDACC__)
struct BlockThreads {
    template <class Phase>
    SCATCACHE_DEVICE void each(const Phase& phase) {
        phase(int(threadIdx.x));
    }
    SCATCACHE_DEVICE void sync() { __syncthreads(); }
};

#define SCATCACHE_KERNEL(NAME, BODY)                                                             \
    extern "C" __global__ void __launch_bounds__(N_THREADS) NAME(const __grid_constant__ Arguments a) { \
        extern __shared__ float4 shared[];                                                       \
        BlockThreads threads;                                                                    \
        BODY(threads, a, reinterpret_cast<float*>(shared), int(blockIdx.x));                     \
    }
SCATCACHE_KERNELS(SCATCACHE_KERNEL)
#endif
