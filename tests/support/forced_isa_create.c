/* SPDX-License-Identifier: Apache-2.0 */
/* forced_isa_create.c - gqa_create of the test programs, which minds GQA_ISA (see forced_isa.h).
 * The linker puts it in the place of the library's where it has --wrap; else GQA_ISA has no effect
 * on them. */
#include "support/forced_isa.h"

#ifdef TEST_WRAPS_CREATE

gqa_status __real_gqa_create(gqa_layer **out, const gqa_config *config, const gqa_weights *weights,
                             const gqa_runtime *runtime, gqa_error *err);
gqa_status __wrap_gqa_create(gqa_layer **out, const gqa_config *config, const gqa_weights *weights,
                             const gqa_runtime *runtime, gqa_error *err);

/* Configs of another size, and those that name or bound their kernel set, are left alone. */
gqa_status __wrap_gqa_create(gqa_layer **out, const gqa_config *config, const gqa_weights *weights,
                             const gqa_runtime *runtime, gqa_error *err)
{
    gqa_config forced;
    gqa_isa isa = GQA_ISA_AUTO;

    if (config == NULL || config->struct_size != sizeof forced || config->isa != GQA_ISA_AUTO ||
        config->max_isa != GQA_ISA_AUTO) {
        return __real_gqa_create(out, config, weights, runtime, err);
    }
    if (gqa_isa_from_environment(&isa, err) != GQA_OK) {
        if (out != NULL) {
            *out = NULL;
        }
        return GQA_ERR_ARG;
    }
    forced = *config;
    forced.isa = isa;
    return __real_gqa_create(out, &forced, weights, runtime, err);
}

gqa_status create_unforced(gqa_layer **out, const gqa_config *config, const gqa_weights *weights,
                           const gqa_runtime *runtime, gqa_error *err)
{
    return __real_gqa_create(out, config, weights, runtime, err);
}

bool create_is_replaced(void)
{
    return true;
}

#else

bool create_is_replaced(void)
{
    return false;
}

gqa_status create_unforced(gqa_layer **out, const gqa_config *config, const gqa_weights *weights,
                           const gqa_runtime *runtime, gqa_error *err)
{
    return gqa_create(out, config, weights, runtime, err);
}

#endif
