/* SPDX-License-Identifier: Apache-2.0 */
/* phase.c - which sinks and matrices a phase uses: context encoding (CTE) or token generation
 * (TKG). */
#include "stage/stage.h"

const float *gqa__stage_sinks(const struct gqa__params *params, bool tkg)
{
    return tkg && params->tkg_sinks != NULL ? params->tkg_sinks : params->sinks;
}

const struct gqa__linear *gqa__stage_qkv_matrix(const struct gqa__params *params, bool tkg)
{
    return tkg && params->tkg_qkv.out > 0 ? &params->tkg_qkv : &params->qkv;
}

const struct gqa__linear *gqa__stage_o_matrix(const struct gqa__params *params, bool tkg)
{
    return tkg && params->tkg_o.out > 0 ? &params->tkg_o : &params->o;
}

bool gqa__stage_two_phases(const struct gqa__params *params)
{
    return params->tkg_qkv.out > 0 || params->tkg_o.out > 0;
}
