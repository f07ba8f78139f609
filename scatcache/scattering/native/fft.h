// Forward complex FFT of any length, one transform in every lane.
//
// X[k] = sum_n x[n] exp(-2 pi i n k / N). Stockham's autosorting passes: for N = R m, pass by pass,
//     y[q + s (R p + k)] = exp(-2 pi i p k / (R m)) sum_j x[q + s (p + m j)] exp(-2 pi i j k / R),   q < s, p < m,
// then N becomes m and s becomes R s. Radices 8, 4, 5, 3 and 2 have code of their own, other primes a direct sum that
// uses the symmetry of cosine and sine; large ones stand last, where no twiddles are left. An inverse FFT is this one with real and
// imaginary parts exchanged before and after. Cost per point: about 7 operations a pass of radix 5 or 8, p of a prime p.

#pragma once

#include <cmath>
#include <vector>

#include "buffer.h"

namespace SCATCACHE_CORE {

constexpr double TWO_PI = 6.283185307179586476925286766559;

// Lines transformed in one call, and the bytes that they may take.
constexpr int MOST_LINES = 4;
constexpr std::size_t LINES_BYTES = 10 << 10;

// Outputs of a prime's direct sum that are computed together: each has 4 sums in registers.
constexpr int PRIME_BLOCK = MANY_REGISTERS ? 6 : 3;
// Primes from here on are split where they can be; 13 is no faster for it.
constexpr int LEAST_SPLIT_PRIME = 17;
// As PRIME_BLOCK, for the split sum, with 8 sums each.
constexpr int SPLIT_BLOCK = MANY_REGISTERS ? 2 : 1;

// Multiples 0..7 of a distance in bytes, by addressing modes and four registers. Left to itself GCC keeps a pointer for each
// multiple and, with sixteen registers, moves them to and from the stack all the time.
class Steps {
  public:
    explicit Steps(std::ptrdiff_t bytes) : one_(bytes), three_(3 * bytes), five_(5 * bytes), seven_(7 * bytes) {
        asm("" : "+r"(one_), "+r"(three_), "+r"(five_), "+r"(seven_));  // Hides from the optimiser that they are multiples.
    }
    SCATCACHE_INLINE std::ptrdiff_t operator()(int j) const {
        switch (j) {
            case 0: return 0;
            case 3: return three_;
            case 5: return five_;
            case 6: return 2 * three_;
            case 7: return seven_;
            default: return j * one_;
        }
    }

  private:
    std::ptrdiff_t one_, three_, five_, seven_;
};

template <class T>
SCATCACHE_INLINE T* advance(T* from, std::ptrdiff_t bytes) {
    using Byte = std::conditional_t<std::is_const_v<T>, const char, char>;
    return reinterpret_cast<T*>(reinterpret_cast<Byte*>(from) + bytes);
}

// Where a pass reads and writes: lines of elements, line(i) the i-th of them. steps(n) is the way from an element to the n-th
// after it; load(n, steps, j) gives element n + j steps, store(n, steps, k, z) sets element n + k steps.
struct Line {
    Complex* z;
    std::ptrdiff_t line_stride;
    Line line(std::ptrdiff_t i) const { return {z + i * line_stride, line_stride}; }
    Steps steps(std::ptrdiff_t n) const { return Steps(n * std::ptrdiff_t(sizeof(Complex))); }
    SCATCACHE_INLINE Complex load(std::ptrdiff_t n, const Steps& steps, int j) const {
        return read(advance(z + n, steps(j)));
    }
    SCATCACHE_INLINE void store(std::ptrdiff_t n, const Steps& steps, int k, Complex value) const {
        write(advance(z + n, steps(k)), value);
    }
};

struct Strided {
    Complex* z;
    std::ptrdiff_t stride, line_stride;
    Strided line(std::ptrdiff_t i) const { return {z + i * line_stride, stride, line_stride}; }
    Steps steps(std::ptrdiff_t n) const { return Steps(n * stride * std::ptrdiff_t(sizeof(Complex))); }
    SCATCACHE_INLINE Complex load(std::ptrdiff_t n, const Steps& steps, int j) const {
        return read(advance(z + n * stride, steps(j)));
    }
    SCATCACHE_INLINE void store(std::ptrdiff_t n, const Steps& steps, int k, Complex value) const {
        write(advance(z + n * stride, steps(k)), value);
    }
};

// Two real lines as one complex line.
struct RealPair {
    const Lanes* first;
    const Lanes* second;
    std::ptrdiff_t line_stride;
    RealPair line(std::ptrdiff_t i) const { return {first + i * line_stride, second + i * line_stride, line_stride}; }
    Steps steps(std::ptrdiff_t n) const { return Steps(n * std::ptrdiff_t(sizeof(Lanes))); }
    SCATCACHE_INLINE Complex load(std::ptrdiff_t n, const Steps& steps, int j) const {
        return {*advance(first + n, steps(j)), *advance(second + n, steps(j))};
    }
};

// |z| into a real line.
struct Modulus {
    Lanes* real;
    std::ptrdiff_t line_stride;
    Modulus line(std::ptrdiff_t i) const { return {real + i * line_stride, line_stride}; }
    Steps steps(std::ptrdiff_t n) const { return Steps(n * std::ptrdiff_t(sizeof(Lanes))); }
    SCATCACHE_INLINE void store(std::ptrdiff_t n, const Steps& steps, int k, Complex z) const {
        *advance(real + n, steps(k)) = modulus(z.re, z.im);
    }
};

// The elements of a single line by index: at(n) gives element n.
template <class At>
struct Gather {
    At at;
    Gather line(std::ptrdiff_t) const { return *this; }
    std::ptrdiff_t steps(std::ptrdiff_t n) const { return n; }
    SCATCACHE_INLINE Complex load(std::ptrdiff_t n, std::ptrdiff_t step, int j) const { return at(n + step * j); }
};

// DFT of R elements: load(j) gives the inputs, store(k, z) takes the outputs. Each loads and stores as late and as early as
// it can: on 16 registers, and one store a cycle, what spills costs more than the arithmetic.
template <int R>
struct Butterfly;

template <>
struct Butterfly<2> {
    template <class Load, class Store>
    SCATCACHE_INLINE static void run(const Load& load, const Store& store) {
        const Complex a = load(0), b = load(1);
        store(0, a + b);
        store(1, a - b);
    }
};

template <>
struct Butterfly<3> {
    template <class Load, class Store>
    SCATCACHE_INLINE static void run(const Load& load, const Store& store) {
        const Lanes half = fill(0.5f), sine = fill(0.866025403784438646763723f);
        const Complex a = load(1), b = load(2), t = a + b, u = a - b, x = load(0);
        store(0, x + t);
        const Complex c = {x.re - half * t.re, x.im - half * t.im};
        store(1, Complex{c.re + sine * u.im, c.im - sine * u.re});
        store(2, Complex{c.re - sine * u.im, c.im + sine * u.re});
    }
};

template <>
struct Butterfly<4> {
    template <class Load, class Store>
    SCATCACHE_INLINE static void run(const Load& load, const Store& store) {
        const Complex a = load(0), c = load(2), p = a + c, m = a - c;
        const Complex b = load(1), d = load(3), q = b + d, n = b - d;
        store(0, p + q);
        store(2, p - q);
        store(1, Complex{m.re + n.im, m.im - n.re});
        store(3, Complex{m.re - n.im, m.im + n.re});
    }
};

template <>
struct Butterfly<5> {
    template <class Load, class Store>
    SCATCACHE_INLINE static void run(const Load& load, const Store& store) {
        const Lanes c1 = fill(0.309016994374947424102293f), c2 = fill(-0.809016994374947424102293f);
        const Lanes s1 = fill(0.951056516295153572116439f), s2 = fill(0.587785252292473129168706f);
        const Complex a1 = load(1), a4 = load(4), t1 = a1 + a4, u1 = a1 - a4;
        const Complex a2 = load(2), a3 = load(3), t2 = a2 + a3, u2 = a2 - a3, x = load(0);
        store(0, x + t1 + t2);
        const Complex p1 = {x.re + c1 * t1.re + c2 * t2.re, x.im + c1 * t1.im + c2 * t2.im};
        const Complex q1 = {s1 * u1.im + s2 * u2.im, s1 * u1.re + s2 * u2.re};
        store(1, Complex{p1.re + q1.re, p1.im - q1.im});
        store(4, Complex{p1.re - q1.re, p1.im + q1.im});
        const Complex p2 = {x.re + c2 * t1.re + c1 * t2.re, x.im + c2 * t1.im + c1 * t2.im};
        const Complex q2 = {s2 * u1.im - s1 * u2.im, s2 * u1.re - s1 * u2.re};
        store(2, Complex{p2.re + q2.re, p2.im - q2.im});
        store(3, Complex{p2.re - q2.re, p2.im + q2.im});
    }
};

template <>
struct Butterfly<8> {
    template <class Load, class Store>
    SCATCACHE_INLINE static void run(const Load& load, const Store& store) {
        const Lanes r = fill(0.707106781186547524400844f);
        Complex even[4], odd[4];
        Butterfly<4>::run([&](int j) __attribute__((always_inline)) { return load(2 * j); },
                          [&](int k, Complex z) __attribute__((always_inline)) { even[k] = z; });
        Butterfly<4>::run([&](int j) __attribute__((always_inline)) { return load(2 * j + 1); },
                          [&](int k, Complex z) __attribute__((always_inline)) { odd[k] = z; });
        store(0, even[0] + odd[0]);
        store(4, even[0] - odd[0]);
        store(2, Complex{even[2].re + odd[2].im, even[2].im - odd[2].re});
        store(6, Complex{even[2].re - odd[2].im, even[2].im + odd[2].re});
        const Lanes s1 = odd[1].re + odd[1].im, d1 = odd[1].im - odd[1].re;
        store(1, Complex{even[1].re + r * s1, even[1].im + r * d1});
        store(5, Complex{even[1].re - r * s1, even[1].im - r * d1});
        const Lanes s3 = odd[3].re + odd[3].im, d3 = odd[3].im - odd[3].re;
        store(3, Complex{even[3].re + r * d3, even[3].im - r * s3});
        store(7, Complex{even[3].re - r * d3, even[3].im + r * s3});
    }
};

SCATCACHE_INLINE Complex rotate(Complex z, const float* twiddle) {
    const Lanes c = fill(twiddle[0]), s = fill(twiddle[1]);
    return {z.re * c - z.im * s, z.re * s + z.im * c};
}

struct Pass {
    int radix, m, s;
    std::vector<float> twiddles;      // [p][k - 1][re, im] for k = 1..radix - 1
    std::vector<float> trigonometry;  // of a prime, in the order in which sum_block or split_block reads it
    std::vector<int> powers;          // of a generator, for primes that are split: g^0, g^1, ..., g^((radix - 3) / 2)
};

template <int R, class Source, class Sink>
void run_pass(const Pass& pass, const Source& sources, const Sink& sinks, int n_lines) {
    const std::ptrdiff_t m = pass.m, s = pass.s;
    const auto in = sources.steps(s * m);
    const auto out = sinks.steps(s);
    const auto plain = [&](const Source& source, const Sink& sink, std::ptrdiff_t q) __attribute__((always_inline)) {
        Butterfly<R>::run([&](int j) __attribute__((always_inline)) { return source.load(q, in, j); },
                          [&](int k, Complex z) __attribute__((always_inline)) { sink.store(q, out, k, z); });
    };
    const auto turned = [&](const Source& source, const Sink& sink, std::ptrdiff_t from, std::ptrdiff_t to,
                            const float* twiddles) __attribute__((always_inline)) {
        Butterfly<R>::run([&](int j) __attribute__((always_inline)) { return source.load(from, in, j); },
                          [&](int k, Complex z) __attribute__((always_inline)) {
                              sink.store(to, out, k, k == 0 ? z : rotate(z, twiddles + 2 * (k - 1)));
                          });
    };
    const float* const twiddles = pass.twiddles.data();
    if (s == 1) {
        // Innermost the lines: they share the twiddles, and short transforms leave long loops.
        for (int i = 0; i < n_lines; ++i) plain(sources.line(i), sinks.line(i), 0);
        for (std::ptrdiff_t p = 1; p < m; ++p)
            for (int i = 0; i < n_lines; ++i)
                turned(sources.line(i), sinks.line(i), p, R * p, twiddles + 2 * (R - 1) * p);
        return;
    }
    for (int i = 0; i < n_lines; ++i) {
        const Source source = sources.line(i);
        const Sink sink = sinks.line(i);
        for (std::ptrdiff_t q = 0; q < s; ++q) plain(source, sink, q);
        for (std::ptrdiff_t p = 1; p < m; ++p)
            for (std::ptrdiff_t q = 0; q < s; ++q)
                turned(source, sink, q + s * p, q + s * R * p, twiddles + 2 * (R - 1) * p);
    }
}

// Outputs first + 1..first + K and their mirror images of a prime's direct sum, from the sums and differences of inputs.
template <int K, class Emit>
SCATCACHE_INLINE const float* sum_block(Complex x0, const Complex* sums, int half, const float* trigonometry,
                                        int first, int radix, const Emit& emit) {
    Complex even[K], odd[K];
    unroll<K>([&](auto k) {
        even[k] = x0;
        odd[k] = {Lanes{}, Lanes{}};
    });
    for (int j = 0; j < half; ++j, trigonometry += 2 * K) {
        const Complex t = read(sums + 2 * j), u = read(sums + 2 * j + 1);
        unroll<K>([&](auto k) {
            const Lanes c = fill(trigonometry[2 * k]), s = fill(trigonometry[2 * k + 1]);
            even[k].re += c * t.re;
            even[k].im += c * t.im;
            odd[k].re += s * u.im;
            odd[k].im += s * u.re;
        });
    }
    unroll<K>([&](auto k) {
        emit(first + k + 1, {even[k].re + odd[k].re, even[k].im - odd[k].im});
        emit(radix - 1 - first - k, {even[k].re - odd[k].re, even[k].im + odd[k].im});
    });
    return trigonometry;
}

// For primes p = 1 mod 4. Ordered by powers r_i = g^i of a generator, cos(2 pi r_k r_i / p) depends on k + i alone and has
// period h = (p - 1) / 2, so on sums and differences of inputs half a period apart it falls into two sums of half the
// length; and as g^h = -1, sin(2 pi r_k r_i / p) takes the same two values A, B in [[A, B], [B, -A]] for k, k + h/2 and i, i + h/2.
// K values of k and k + h/2; terms: [i][sum, difference of the even parts; odd parts of i and i + h/2].
template <int K, class Emit>
SCATCACHE_INLINE void split_block(Complex x0, const Complex* terms, int quarter, const float* trigonometry,
                                  const int* powers, int radix, const Emit& emit) {
    Complex even[K], odd[K], sine[K], other_sine[K];
    unroll<K>([&](auto k) {
        even[k] = x0;
        odd[k] = sine[k] = other_sine[k] = Complex{};
    });
    for (int i = 0; i < quarter; ++i, terms += 4, trigonometry += 4 * K) {
        const Complex t = read(terms), d = read(terms + 1), u = read(terms + 2), v = read(terms + 3);
        unroll<K>([&](auto k) {
            const Lanes c = fill(trigonometry[4 * k]), e = fill(trigonometry[4 * k + 1]);
            even[k].re += c * t.re;
            even[k].im += c * t.im;
            odd[k].re += e * d.re;
            odd[k].im += e * d.im;
            const Lanes a = fill(trigonometry[4 * k + 2]), b = fill(trigonometry[4 * k + 3]);
            sine[k].re += a * u.im;
            sine[k].im += a * u.re;
            other_sine[k].re += b * u.im;
            other_sine[k].im += b * u.re;
            sine[k].re += b * v.im;
            sine[k].im += b * v.re;
            other_sine[k].re -= a * v.im;
            other_sine[k].im -= a * v.re;
        });
    }
    unroll<K>([&](auto k) {
        const Complex c = even[k] + odd[k], d = even[k] - odd[k];
        emit(powers[k], {c.re + sine[k].re, c.im - sine[k].im});
        emit(radix - powers[k], {c.re - sine[k].re, c.im + sine[k].im});
        emit(powers[quarter + k], {d.re + other_sine[k].re, d.im - other_sine[k].im});
        emit(radix - powers[quarter + k], {d.re - other_sine[k].re, d.im + other_sine[k].im});
    });
}

// One DFT of prime length: load(j) gives the inputs, emit(k, z) takes the outputs.
template <class Load, class Emit>
SCATCACHE_INLINE void transform_prime(const Pass& pass, const Load& load, const Emit& emit, Complex* terms) {
    const int radix = pass.radix, half = (radix - 1) / 2;
    const float* trigonometry = pass.trigonometry.data();
    const Complex x0 = load(0);
    Complex total = x0;
    if (!pass.powers.empty()) {
        const int quarter = half / 2;
        const int* powers = pass.powers.data();
        for (int i = 0; i < quarter; ++i) {
            const int j = powers[i], l = powers[quarter + i];
            const Complex a = load(j), b = load(radix - j), c = load(l), d = load(radix - l);
            const Complex first = a + b, second = c + d, sum = first + second;
            write(terms + 4 * i, sum);
            write(terms + 4 * i + 1, first - second);
            write(terms + 4 * i + 2, a - b);
            write(terms + 4 * i + 3, c - d);
            total = total + sum;
        }
        emit(0, total);
        int k = 0;
        for (; k + SPLIT_BLOCK <= quarter; k += SPLIT_BLOCK, trigonometry += 4 * SPLIT_BLOCK * quarter)
            split_block<SPLIT_BLOCK>(x0, terms, quarter, trigonometry, powers + k, radix, emit);
        if (k < quarter) split_block<1>(x0, terms, quarter, trigonometry, powers + k, radix, emit);
        return;
    }
    for (int j = 1; j <= half; ++j) {
        const Complex a = load(j), b = load(radix - j), sum = a + b;
        write(terms + 2 * j - 2, sum);
        write(terms + 2 * j - 1, a - b);
        total = total + sum;
    }
    emit(0, total);
    int first = 0;
    for (; first + PRIME_BLOCK <= half; first += PRIME_BLOCK)
        trigonometry = sum_block<PRIME_BLOCK>(x0, terms, half, trigonometry, first, radix, emit);
    for (; first + 3 <= half; first += 3)
        trigonometry = sum_block<3>(x0, terms, half, trigonometry, first, radix, emit);
    if (half - first == 2) sum_block<2>(x0, terms, half, trigonometry, first, radix, emit);
    if (half - first == 1) sum_block<1>(x0, terms, half, trigonometry, first, radix, emit);
}

template <class Source, class Sink>
void run_prime_pass(const Pass& pass, const Source& source, const Sink& sink, Complex* terms) {
    const std::ptrdiff_t m = pass.m, s = pass.s, radix = pass.radix;
    const auto none_in = source.steps(0);
    const auto none_out = sink.steps(0);
    for (std::ptrdiff_t p = 0; p < m; ++p) {
        const float* twiddles = pass.twiddles.data() + p * 2 * (radix - 1);
        for (std::ptrdiff_t q = 0; q < s; ++q) {
            const auto load = [&](int j) __attribute__((always_inline)) {
                return source.load(q + s * (p + m * j), none_in, 0);
            };
            const auto emit = [&](int k, Complex z) __attribute__((always_inline)) {
                if (p != 0 && k != 0) z = rotate(z, twiddles + 2 * (k - 1));
                sink.store(q + s * (radix * p + k), none_out, 0, z);
            };
            transform_prime(pass, load, emit, terms);
        }
    }
}

class Fft {
  public:
    explicit Fft(int size);

    int size() const { return size_; }
    // Lines that run() is best called with: few enough to stay in the first-level cache.
    int n_lines() const { return n_lines_; }
    // Complex numbers of scratch memory that run() needs for MOST_LINES lines.
    std::size_t scratch_size() const { return 2 * MOST_LINES * std::size_t(size_) + std::size_t(largest_radix_); }

    // Lines 0..n_lines - 1 of source to those of sink, elements 0..N - 1 of each.
    template <class Source, class Sink>
    void run(const Source& source, const Sink& sink, int n_lines, Complex* scratch) const {
        const Line lines[2] = {{scratch, size_}, {scratch + MOST_LINES * size_, size_}};
        Complex* terms = scratch + 2 * MOST_LINES * size_;
        const std::size_t last = passes_.size() - 1;
        if (last == 0) return run_any(passes_[0], source, sink, n_lines, terms);
        run_any(passes_[0], source, lines[0], n_lines, terms);
        for (std::size_t i = 1; i < last; ++i) run_any(passes_[i], lines[(i + 1) % 2], lines[i % 2], n_lines, terms);
        run_any(passes_[last], lines[(last + 1) % 2], sink, n_lines, terms);
    }

  private:
    template <class Source, class Sink>
    static void run_any(const Pass& pass, const Source& source, const Sink& sink, int n_lines, Complex* terms) {
        switch (pass.radix) {
            case 2: return run_pass<2>(pass, source, sink, n_lines);
            case 3: return run_pass<3>(pass, source, sink, n_lines);
            case 4: return run_pass<4>(pass, source, sink, n_lines);
            case 5: return run_pass<5>(pass, source, sink, n_lines);
            case 8: return run_pass<8>(pass, source, sink, n_lines);
            default:
                for (int i = 0; i < n_lines; ++i) run_prime_pass(pass, source.line(i), sink.line(i), terms);
        }
    }

    int size_, n_lines_, largest_radix_ = 1;
    std::vector<Pass> passes_;
};

inline std::vector<int> factorise(int size) {
    std::vector<int> radices;
    for (int radix : {8, 4, 2, 5, 3}) {
        for (; size % radix == 0; size /= radix) radices.push_back(radix);
    }
    for (int prime = 7; size > 1; prime += 2) {
        for (; size % prime == 0; size /= prime) radices.push_back(prime);
    }
    if (radices.empty()) radices.push_back(1);
    return radices;
}

// cos and sin of 2 pi j k / radix, in the order in which sum_block reads them.
inline std::vector<float> tabulate_trigonometry(int radix) {
    std::vector<float> table;
    const int half = (radix - 1) / 2;
    int first = 0;
    while (first < half) {
        const int left = half - first;
        const int block = left >= PRIME_BLOCK ? PRIME_BLOCK : left >= 3 ? 3 : left;
        for (int j = 1; j <= half; ++j) {
            for (int k = first + 1; k <= first + block; ++k) {
                const double angle = TWO_PI * ((std::int64_t(j) * k) % radix) / radix;
                table.push_back(float(std::cos(angle)));
                table.push_back(float(std::sin(angle)));
            }
        }
        first += block;
    }
    return table;
}

// g^0, ..., g^((p - 3) / 2) mod p for the smallest generator g of the units modulo p.
inline std::vector<int> find_powers(int p) {
    for (int g = 2;; ++g) {
        std::vector<int> powers(1, 1);
        while (true) {
            const int next = int(std::int64_t(powers.back()) * g % p);
            if (next == 1) break;
            powers.push_back(next);
        }
        if (int(powers.size()) != p - 1) continue;
        powers.resize(std::size_t(p - 1) / 2);
        return powers;
    }
}

inline std::vector<float> tabulate_split_trigonometry(int p, const std::vector<int>& powers) {
    std::vector<float> table;
    const int quarter = (p - 1) / 4;
    const auto angle = [&](int k, int i) {
        return TWO_PI * double(std::int64_t(powers[std::size_t(k)]) * powers[std::size_t(i)] % p) / p;
    };
    for (int first = 0; first < quarter;) {
        const int block = quarter - first >= SPLIT_BLOCK ? SPLIT_BLOCK : 1;
        for (int i = 0; i < quarter; ++i)
            for (int k = first; k < first + block; ++k) {
                const double near = std::cos(angle(k, i)), far = std::cos(angle(k, i + quarter));
                table.push_back(float((near + far) / 2));
                table.push_back(float((near - far) / 2));
                table.push_back(float(std::sin(angle(k, i))));
                table.push_back(float(std::sin(angle(k, i + quarter))));
            }
        first += block;
    }
    return table;
}

inline Fft::Fft(int size) : size_(size) {
    n_lines_ = MOST_LINES;
    while (n_lines_ > 1 && std::size_t(n_lines_) * std::size_t(size) * sizeof(Complex) > LINES_BYTES) n_lines_ /= 2;
    int n = size, s = 1;
    for (int radix : factorise(size)) {
        Pass pass{radix, n / radix, s, {}, {}};
        for (int p = 0; p < pass.m; ++p) {
            for (int k = 1; k < radix; ++k) {
                const double angle = -TWO_PI * ((std::int64_t(p) * k) % n) / n;
                pass.twiddles.push_back(float(std::cos(angle)));
                pass.twiddles.push_back(float(std::sin(angle)));
            }
        }
        if (radix >= LEAST_SPLIT_PRIME && radix % 4 == 1) {
            pass.powers = find_powers(radix);
            pass.trigonometry = tabulate_split_trigonometry(radix, pass.powers);
        } else if (radix > 5 && radix != 8) {
            pass.trigonometry = tabulate_trigonometry(radix);
        }
        if (radix > largest_radix_) largest_radix_ = radix;
        passes_.push_back(std::move(pass));
        n /= radix;
        s *= radix;
    }
}

}  // namespace SCATCACHE_CORE
