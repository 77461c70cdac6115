/* SPDX-License-Identifier: Apache-2.0 */
/* info.c - what this library is and what this machine runs. */
#include "gqa/info.h"

#include "base/fold.h"
#include "base/import.h"
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
