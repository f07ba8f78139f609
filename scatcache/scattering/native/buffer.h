// Memory of a core: arrays side by side, aligned for its registers, in huge pages where the system has them.

#pragma once

#include <cstdlib>
#include <cstring>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "lanes.h"

namespace SCATCACHE_CORE {

// Strided passes touch a page per element: with 4 KiB pages the address translation misses at every step.
constexpr std::size_t HUGE_PAGE = std::size_t(2) << 20;
constexpr std::size_t CACHE_LINE = 64;

// Arrays in one allocation, their values undefined: add() each, then allocate() once, which sets the pointers.
class Buffer {
  public:
    Buffer() = default;
    ~Buffer() { std::free(data_); }
    Buffer(Buffer&& other) noexcept { *this = std::move(other); }
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(data_, other.data_);
        return *this;
    }

    template <class T>
    void add(T*& array, std::size_t size) {
        arrays_.push_back({&array, size_});
        size_ += (size * sizeof(T) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    }

    void allocate() {
        const std::size_t bytes = (size_ + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
        data_ = std::aligned_alloc(HUGE_PAGE, bytes ? bytes : HUGE_PAGE);
        if (data_ == nullptr) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
        madvise(data_, bytes, MADV_HUGEPAGE);
#endif
        for (const Array& array : arrays_) {
            void* const address = static_cast<char*>(data_) + array.offset;
            std::memcpy(array.pointer, &address, sizeof address);
        }
        arrays_.clear();
    }

  private:
    struct Array {
        void* pointer;  // to a T*
        std::size_t offset;
    };
    void* data_ = nullptr;
    std::size_t size_ = 0;
    std::vector<Array> arrays_;
};

}  // namespace SCATCACHE_CORE
