#define SCATCACHE_CORE scatcache_portable
#define SCATCACHE_LANES 4
#include "core.h"
