/* info.c - what this library is and what this machine runs. */
#include "gqa/info.h"

#include "base/fold.h"
#include "base/import.h"
#include "kernel/choice/cpu.h"
#include "kernel/choice/select.h"
#include "linear/linear.h"

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define COMPILER "gcc " __VERSION__
#else
#define COMPILER "unknown"
#endif

void gqa_build_info_sized(gqa_build_info *info, size_t size)
{
    gqa_build_info own;
    gqa__init_struct(&own, sizeof own);
    own.version = gqa_version();
    own.kernels_built = gqa__kernels_built();
    own.kernels_available = gqa__kernels_available();
    own.fold_block = GQA__FOLD_BLOCK;
    own.compiler = COMPILER;
    own.blas = gqa__blas_config();
    own.blas_core = gqa__blas_core();
    own.blas_poor = gqa__blas_poor(own.blas_core) ? 1 : 0;
    gqa__init_struct(info, size);
    gqa__export(info, &own, sizeof own);
}

uint32_t gqa_version(void)
{
    return GQA_VERSION;
}

uint32_t gqa_api_version(void)
{
    return GQA_API_VERSION;
}

uint32_t gqa_cpu_features(void)
{
    struct gqa__cpu cpu;

    gqa__cpu_detect(&cpu);
    return (cpu.avx2_fma ? (uint32_t)GQA_CPU_AVX2 : 0) |
           (cpu.avx512 ? (uint32_t)GQA_CPU_AVX512 : 0) |
           (cpu.avx512_bf16 ? (uint32_t)GQA_CPU_AVX512_BF16 : 0) |
           (cpu.amx_bf16 ? (uint32_t)GQA_CPU_AMX_BF16 : 0) |
           (cpu.neon ? (uint32_t)GQA_CPU_NEON : 0);
}

int gqa_isa_available(gqa_isa isa)
{
    if (isa == GQA_ISA_AUTO) {
        return 1;
    }
    if ((int)isa < (int)GQA_ISA_SCALAR || (int)isa > (int)GQA_ISA_NEON) {
        return 0;
    }
    return (gqa__kernels_available() >> (unsigned)isa & 1u) != 0 ? 1 : 0;
}

const char *gqa_isa_name(gqa_isa isa)
{
    static const char *const names[] = {"auto", "scalar", "avx2", "avx512", "amx", "neon"};
    return (int)isa >= 0 && (int)isa <= (int)GQA_ISA_NEON ? names[isa] : "unknown";
}
