#define SCATCACHE_CORE scatcache_avx2
#define SCATCACHE_LANES 8
#include "core.h"
