// The C interface of one core; a .cpp file defines SCATCACHE_CORE and SCATCACHE_LANES and includes this.

#pragma once

#include <atomic>
#include <exception>
#include <mutex>
#include <thread>

#include "preparation.h"
#include "quantise.h"
#include "sums.h"

namespace SCATCACHE_CORE {

class Plan {
  public:
    explicit Plan(const scatcache_settings& settings) {
        int angles = 1;
        while (angles < LANES && angles < settings.L) angles *= 2;
        switch (LANES / angles) {
            case 1: transform_ = std::make_unique<Cascade<1>>(settings); break;
            case 2: transform_ = std::make_unique<Cascade<2>>(settings); break;
            case 4: transform_ = std::make_unique<Cascade<4>>(settings); break;
            default: transform_ = std::make_unique<Cascade<LANES <= 8 ? LANES : 8>>(settings); break;
        }
    }

    // Chunks of planes are handed to n_threads threads as these ask for them.
    void run(const scatcache_images& images, const Output& out, int n_threads) {
        const std::int64_t chunk = chunk_size(images.n_planes, n_threads);
        std::atomic<std::int64_t> next{0};
        const auto work_through = [&](Workspace work) {
            for (;;) {
                const std::int64_t first = next.fetch_add(chunk);
                if (first >= images.n_planes) break;
                transform_->run(images, first, int(std::min(chunk, images.n_planes - first)), out, work);
            }
            give_workspace(std::move(work));
        };
        Workspace own = take_workspace();
        std::vector<std::thread> threads;
        try {
            for (int i = 1; i < n_threads && i * chunk < images.n_planes; ++i)
                threads.emplace_back(work_through, take_workspace());
        } catch (const std::exception&) {
            // No memory or no thread: those that could be started do the work.
        }
        work_through(std::move(own));
        for (std::thread& thread : threads) thread.join();
    }

  private:
    // At most LANES planes, whole registers of them, so few that every thread gets as many chunks.
    std::int64_t chunk_size(std::int64_t n_planes, int n_threads) const {
        const auto divide_up = [](std::int64_t a, std::int64_t b) { return (a + b - 1) / b; };
        const std::int64_t slots = transform_->n_slots(), chunks_each = divide_up(n_planes, LANES * n_threads);
        return divide_up(divide_up(n_planes, chunks_each * n_threads), slots) * slots;
    }

    Workspace take_workspace() {
        {
            const std::lock_guard<std::mutex> guard(mutex_);
            if (!idle_.empty()) {
                Workspace work = std::move(idle_.back());
                idle_.pop_back();
                return work;
            }
        }
        return transform_->make_workspace();
    }

    void give_workspace(Workspace work) noexcept {
        const std::lock_guard<std::mutex> guard(mutex_);
        try {
            idle_.push_back(std::move(work));
        } catch (...) {
            // Then it is not kept.
        }
    }

    std::unique_ptr<Transform> transform_;
    std::mutex mutex_;
    std::vector<Workspace> idle_;
};

}  // namespace SCATCACHE_CORE

#define SCATCACHE_EXPORT extern "C" __attribute__((visibility("default")))

// Which settings.h this library was built with.
SCATCACHE_EXPORT std::int32_t scatcache_interface() { return SCATCACHE_INTERFACE; }

// A plan, or null where there is no memory for it.
SCATCACHE_EXPORT void* scatcache_make_plan(const scatcache_settings* settings) {
    try {
        return new SCATCACHE_CORE::Plan(*settings);
    } catch (...) {
        return nullptr;
    }
}

SCATCACHE_EXPORT void scatcache_free_plan(void* plan) { delete static_cast<SCATCACHE_CORE::Plan*>(plan); }

// Coefficients (n_planes, n_paths, h, w) into out, float32, or float16 where is_half is 1. Safe from several threads.
// Returns 0, or 1 where there is no memory.
SCATCACHE_EXPORT int scatcache_run(void* plan, const scatcache_images* images, void* out, std::int32_t is_half,
                                   std::int32_t n_threads) {
    try {
        static_cast<SCATCACHE_CORE::Plan*>(plan)->run(*images, {out, is_half != 0}, n_threads);
        return 0;
    } catch (...) {
        return 1;
    }
}

// Adds each channel's sum and sum of squares of values (n_channels, n_cells), float32, or float16 where is_half is 1.
SCATCACHE_EXPORT void scatcache_add_sums(const void* values, std::int32_t is_half, std::int64_t n_channels,
                                         std::int64_t n_cells, double* sums, double* squares) {
    if (is_half)
        SCATCACHE_CORE::add_channel_sums(static_cast<const std::uint16_t*>(values), n_channels, n_cells, sums, squares);
    else
        SCATCACHE_CORE::add_channel_sums(static_cast<const float*>(values), n_channels, n_cells, sums, squares);
}

// Integers (n_cells, n_channels) of values (n_channels, n_cells), int8, or int16 where is_wide is 1, and the sums of
// each channel's integers and of their squares. Returns 1 where all of them fit, else 0.
SCATCACHE_EXPORT int scatcache_quantise(const float* values, std::int64_t n_channels, std::int64_t n_cells,
                                        const float* steps, void* out, std::int32_t is_wide, std::int64_t* sums,
                                        std::int64_t* squares) {
    if (is_wide)
        return SCATCACHE_CORE::quantise(values, n_channels, n_cells, steps, static_cast<std::int16_t*>(out), sums, squares);
    return SCATCACHE_CORE::quantise(values, n_channels, n_cells, steps, static_cast<std::int8_t*>(out), sums, squares);
}

// Values (n_rows, n_channels, n_cells) of integers (n_rows, n_cells, n_channels), int8, or int16 where is_wide is 1.
SCATCACHE_EXPORT void scatcache_restore(const void* stored, std::int32_t is_wide, std::int64_t n_rows,
                                        std::int64_t n_channels, std::int64_t n_cells, const float* steps, float* out) {
    for (std::int64_t row = 0; row < n_rows; ++row) {
        const std::int64_t at = row * n_channels * n_cells;
        if (is_wide)
            SCATCACHE_CORE::restore(static_cast<const std::int16_t*>(stored) + at, n_channels, n_cells, steps, out + at);
        else
            SCATCACHE_CORE::restore(static_cast<const std::int8_t*>(stored) + at, n_channels, n_cells, steps, out + at);
    }
}
