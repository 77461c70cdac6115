/* SPDX-License-Identifier: Apache-2.0 */
/* sink.c - which sinks a phase uses. */
#include "stage/stage.h"

const float *gqa__stage_sinks(const struct gqa__params *params, bool tkg)
{
    return tkg && params->tkg_sinks != NULL ? params->tkg_sinks : params->sinks;
}
