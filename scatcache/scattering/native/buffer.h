// Memory of a core: aligned for its registers, in huge pages where the system has them.

#pragma once

#include <cstdlib>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "lanes.h"

namespace SCATCACHE_CORE {

// Strided passes touch a page per element: with 4 KiB pages the address translation misses at every step.
constexpr std::size_t HUGE_PAGE = std::size_t(2) << 20;
constexpr std::size_t CACHE_LINE = 64;

template <class T>
Buffer<T>::Buffer(std::size_t size) {
    const std::size_t bytes = size * sizeof(T);
    const std::size_t alignment = bytes >= HUGE_PAGE ? HUGE_PAGE : CACHE_LINE;
    const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    data_ = static_cast<T*>(std::aligned_alloc(alignment, rounded ? rounded : alignment));
    if (data_ == nullptr) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
    if (bytes >= HUGE_PAGE) madvise(static_cast<void*>(data_), rounded, MADV_HUGEPAGE);
#endif
}

template <class T>
Buffer<T>::~Buffer() {
    std::free(data_);
}

}  // namespace SCATCACHE_CORE
