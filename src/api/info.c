/* info.c - what this library is and what this machine runs. */
#include "gqa/info.h"

#include <stdbool.h>

#include "base/fold.h"
#include "base/import.h"
#include "kernel/cpu.h"
#include "kernel/select.h"
#include "linear/linear.h"

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define COMPILER "gcc " __VERSION__
#else
#define COMPILER "unknown"
#endif

/* Cores of OpenBLAS whose products use SSE, or AVX without FMA: half of an AVX2 CPU or less. */
static const char *const narrow_cores[] = {
    "generic", "katmai",       "coppermine", "northwood",  "prescott", "banias",
    "atom",    "core2",        "penryn",     "dunnington", "nehalem",  "athlon",
    "opteron", "opteron_sse3", "barcelona",  "bobcat",     "nano",     "sandybridge",
};

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool same_name(const char *a, const char *b)
{
    while (*a != '\0' && lower(*a) == lower(*b)) {
        a++;
        b++;
    }
    return lower(*a) == lower(*b);
}

static int32_t is_poor(const char *core)
{
    struct gqa__cpu cpu;
    gqa__cpu_detect(&cpu);
    for (size_t i = 0; i < sizeof narrow_cores / sizeof narrow_cores[0]; i++) {
        if (same_name(core, narrow_cores[i])) {
            return cpu.avx2_fma ? 1 : 0;
        }
    }
    return 0;
}

void gqa_build_info_sized(gqa_build_info *info, size_t size)
{
    gqa_build_info own;
    gqa__init_struct(&own, sizeof own);
    own.version = gqa_version();
    own.rows_built = gqa__rows_built();
    own.rows_available = gqa__rows_available();
    own.fold_block = GQA__FOLD_BLOCK;
    own.compiler = COMPILER;
    own.blas = gqa__blas_config();
    own.blas_core = gqa__blas_core();
    own.blas_poor = is_poor(own.blas_core);
    gqa__init_struct(info, size);
    gqa__export(info, &own, sizeof own);
}

uint32_t gqa_version(void)
{
    return GQA_VERSION;
}

int gqa_isa_available(gqa_isa isa)
{
    if (isa == GQA_ISA_AUTO) {
        return 1;
    }
    if ((int)isa < (int)GQA_ISA_SCALAR || (int)isa > (int)GQA_ISA_AMX) {
        return 0;
    }
    return (gqa__rows_available() >> (unsigned)isa & 1u) != 0 ? 1 : 0;
}

const char *gqa_isa_name(gqa_isa isa)
{
    static const char *const names[] = {"auto", "scalar", "avx2", "avx512", "amx"};
    return (int)isa >= 0 && (int)isa <= (int)GQA_ISA_AMX ? names[isa] : "unknown";
}
