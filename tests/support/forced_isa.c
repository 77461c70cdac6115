/* SPDX-License-Identifier: Apache-2.0 */
/* forced_isa.c - see forced_isa.h. */
#include "support/forced_isa.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "kernel/choice/select.h"

bool forced_isa_refuses(gqa_numerics numerics)
{
    gqa_isa isa = GQA_ISA_AUTO;
    const struct gqa__kernels *kernels;

    if (gqa_isa_from_environment(&isa, NULL) != GQA_OK || !gqa_isa_available(isa) ||
        gqa__select(&kernels, isa, GQA_ISA_AUTO, numerics, NULL) != GQA_ERR_UNSUPPORTED) {
        return false;
    }
    printf("skipped: GQA_ISA=%s does not serve numerics %s\n", gqa_isa_name(isa),
           numerics == GQA_NUMERICS_BF16 ? "bf16" : "f32");
    fflush(stdout);
    return true;
}

void skip_refused_numerics(gqa_numerics numerics)
{
    if (forced_isa_refuses(numerics)) {
        skip();
    }
}

void skip_refused(const gqa_config *config)
{
    if (config->isa == GQA_ISA_AUTO) {
        skip_refused_numerics(config->numerics);
    }
}
