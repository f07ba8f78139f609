#define SCATCACHE_CORE scatcache_avx512
#define SCATCACHE_LANES 16
#include "core.h"
