// Stands behind the kernels' source: each kernel as a function that runs its blocks one after the other, and in a block every
// thread from barrier to barrier before the next thread. What one thread does before a barrier must not depend on what
// another does before it, so results that differ between orders show a barrier that is missing.

class SimulatedThreads {
  public:
    explicit SimulatedThreads(int order) : threads_(N_THREADS) {
        std::iota(threads_.begin(), threads_.end(), 0);
        if (order == 1) threads_ = {threads_.rbegin(), threads_.rend()};
        if (order == 2)
            for (unsigned i = N_THREADS - 1, state = 1; i > 0; --i) {
                state = state * 1664525u + 1013904223u;
                std::swap(threads_[i], threads_[(state >> 8) % (i + 1)]);
            }
    }
    template <class Phase>
    void each(const Phase& phase) {
        waiting_.emplace_back(phase);
    }
    void sync() {
        for (const int thread : threads_)
            for (const auto& phase : waiting_) phase(thread);
        waiting_.clear();
    }

  private:
    std::vector<int> threads_;
    std::vector<std::function<void(int)>> waiting_;
};

// Returns 1 where a block wrote beyond its shared memory, else 0.
template <class Body>
int simulate(const Body& body, long long n_blocks, long long shared_bytes, int order) {
    constexpr int GUARD = 64;
    const float nan = std::numeric_limits<float>::quiet_NaN(), guard = 12345.0f;
    for (long long block = 0; block < n_blocks; ++block) {
        const std::size_t n = std::size_t(shared_bytes) / sizeof(float);
        std::vector<float> shared(n + GUARD, nan);
        std::fill(shared.begin() + std::ptrdiff_t(n), shared.end(), guard);
        SimulatedThreads threads(order);
        body(threads, shared.data(), int(block));
        threads.sync();
        for (std::size_t i = n; i < shared.size(); ++i)
            if (shared[i] != guard) return 1;
    }
    return 0;
}

#define SIMULATE(NAME, BODY)                                                                                        \
    extern "C" int NAME(const Arguments* a, long long n_blocks, long long shared_bytes, int order) {                \
        return simulate([a](SimulatedThreads& threads, float* shared, int block) { BODY(threads, *a, shared, block); }, \
                        n_blocks, shared_bytes, order);                                                             \
    }
SCATCACHE_KERNELS(SIMULATE)

extern "C" int arguments_bytes() { return int(sizeof(Arguments)); }
