/* SPDX-License-Identifier: Apache-2.0 */
/* forced.c - see forced.h. */
#include "support/forced.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/choice/select.h"

/* Does a row of this name run on this machine? */
static bool runs_here(const char *name)
{
    for (int isa = GQA_ISA_SCALAR; isa <= GQA_ISA_NEON; isa++) {
        if (strcmp(gqa__isa_name((gqa_isa)isa), name) == 0) {
            return gqa_isa_available((gqa_isa)isa) != 0;
        }
    }
    return false;
}

bool forced_row_refuses(gqa_numerics numerics)
{
    const char *env = getenv("GQA_ISA");
    const struct gqa__kernels *kernels;

    if (env == NULL || !runs_here(env) ||
        gqa__select(&kernels, GQA_ISA_AUTO, env, numerics, NULL) != GQA_ERR_UNSUPPORTED) {
        return false;
    }
    printf("skipped: GQA_ISA=%s does not serve numerics %s\n", env,
           numerics == GQA_NUMERICS_BF16 ? "bf16" : "f32");
    fflush(stdout);
    return true;
}

void skip_refused_numerics(gqa_numerics numerics)
{
    if (forced_row_refuses(numerics)) {
        skip();
    }
}

void skip_refused(const gqa_config *config)
{
    if (config->isa == GQA_ISA_AUTO) {
        skip_refused_numerics(config->numerics);
    }
}
