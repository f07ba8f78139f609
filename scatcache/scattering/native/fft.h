// Forward complex FFT of any length, one transform in every lane.
//
// X[k] = sum_n x[n] exp(-2 pi i n k / N). Stockham's autosorting passes: for N = R m, pass by pass,
//     y[q + s (R p + k)] = exp(-2 pi i p k / (R m)) sum_j x[q + s (p + m j)] exp(-2 pi i j k / R),   q < s, p < m,
// then N becomes m and s becomes R s. Radices 8, 4, 5, 3 and 2 have code of their own, other primes a direct sum that
// uses the symmetry of cosine and sine; large ones stand last, where no twiddles are left. An inverse FFT is this one with real and
// imaginary parts exchanged before and after. Cost per point: about 7 operations a pass of radix 5 or 8, p of a prime p.

#pragma once

#include "lines.h"
#include "primes.h"

namespace SCATCACHE_CORE {

// Lines transformed in one call, and the bytes that they may take.
constexpr int MOST_LINES = 4;
constexpr std::size_t LINES_BYTES = 10 << 10;

struct Pass {
    int radix, m, s;
    std::vector<float> twiddles;  // [p][k - 1][re, im] for k = 1..radix - 1
    Prime prime;                  // empty where the radix has a butterfly
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

// P: the prime, where the compiler is to know it, or 0.
template <int P, class Source, class Sink>
void run_prime_pass(const Pass& pass, const Source& source, const Sink& sink, Complex* terms) {
    const std::ptrdiff_t m = pass.m, s = pass.s, radix = P ? P : pass.radix;
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
            pass.prime.run<P>(load, emit, terms);
        }
    }
}

class Fft {
  public:
    explicit Fft(int size);

    // Lines that run() is best called with: few enough to stay in the first-level cache.
    int n_lines() const { return n_lines_; }
    // Complex numbers of scratch memory that run() needs for MOST_LINES lines.
    std::size_t scratch_size() const { return 2 * MOST_LINES * std::size_t(size_) + prime_scratch_; }

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
            default: return run_prime(pass, source, sink, n_lines, terms);
        }
    }

    template <class Source, class Sink>
    static void run_prime(const Pass& pass, const Source& source, const Sink& sink, int n_lines, Complex* terms) {
        const auto run = [&](auto prime) {
            for (int i = 0; i < n_lines; ++i)
                run_prime_pass<decltype(prime)::value>(pass, source.line(i), sink.line(i), terms);
        };
        if constexpr (std::is_same_v<Source, Line>) {  // of scratch memory: a prime that comes first is left to the loop
            switch (pass.radix) {
                case 7: return run(std::integral_constant<int, 7>());
                case 11: return run(std::integral_constant<int, 11>());
                case 13: return run(std::integral_constant<int, 13>());
                case 17: return run(std::integral_constant<int, 17>());
                case 19: return run(std::integral_constant<int, 19>());
                case 23: return run(std::integral_constant<int, 23>());
                case 29: return run(std::integral_constant<int, 29>());
                default: break;
            }
        }
        run(std::integral_constant<int, 0>());
    }

    int size_, n_lines_;
    std::size_t prime_scratch_ = 0;
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
        if (radix > 5 && radix != 8) pass.prime = Prime(radix);
        prime_scratch_ = std::max(prime_scratch_, pass.prime.scratch_size());
        passes_.push_back(std::move(pass));
        n /= radix;
        s *= radix;
    }
}

}  // namespace SCATCACHE_CORE
