/* blas_core.c - is the core that OpenBLAS chose a poor one for this CPU? */
#include <stdio.h>

#include "kernel/choice/cpu.h"
#include "linear/linear.h"

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

bool gqa__blas_poor(const char *core)
{
    struct gqa__cpu cpu;

    gqa__cpu_detect(&cpu);
    for (size_t i = 0; i < sizeof narrow_cores / sizeof narrow_cores[0]; i++) {
        if (same_name(core, narrow_cores[i])) {
            return cpu.avx2_fma;
        }
    }
    return false;
}

void gqa__blas_warn(const gqa_runtime *runtime, const char *core)
{
    char line[200];

    if (runtime->log == NULL || !gqa__blas_poor(core)) {
        return;
    }
    (void)snprintf(
        line, sizeof line,
        "backend reference: OpenBLAS took this CPU for \"%.40s\"; its products are slow. "
        "Set OPENBLAS_CORETYPE before the process starts",
        core);
    runtime->log(runtime->user, GQA_LOG_WARNING, line);
}
