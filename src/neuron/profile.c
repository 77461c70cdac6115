/* SPDX-License-Identifier: Apache-2.0 */
/* profile.c - the table of profiles. */
#include "neuron/neuron.h"

const struct gqa__neuron_path *gqa__neuron_path(gqa_neuron_profile profile)
{
    static const struct gqa__neuron_path *const paths[] = {
        &gqa__neuron_flash_fwd,     &gqa__neuron_cte,        &gqa__neuron_native_prefill,
        &gqa__neuron_native_prefix, &gqa__neuron_native_tkg, &gqa__neuron_flash_decoding,
        &gqa__neuron_paged_schedule};

    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        if (paths[i]->profile == profile) {
            return paths[i];
        }
    }
    return NULL;
}
