/* SPDX-License-Identifier: Apache-2.0 */
/* temperature.c - the factor on queries that grows with the position. */
#include "stage/stage.h"

#include "base/mathd.h"

#include <math.h>

/* Formed in double and rounded once. position >= 0. */
static float temperature(const gqa_config *config, int32_t position)
{
    const double first = config->query_temperature == GQA_QUERY_TEMPERATURE_LLAMA4 ? 1.0 : 0.0;
    const double steps =
        floor(((double)position + first) / (double)config->query_temperature_floor);
    return (float)(1.0 + (double)config->query_temperature_scale * gqa__log1p_int(steps));
}

void gqa__stage_temperature(const struct gqa__params *params, const int32_t *positions,
                            const struct gqa__heads *q, int32_t n)
{
    const int64_t width = (int64_t)params->shape.hq * params->shape.dk;
    if (params->config.query_temperature == GQA_QUERY_TEMPERATURE_NONE) {
        return;
    }
    for (int32_t t = 0; t < n && q->x != NULL; t++) {
        float *const x = q->x + t * q->step; /* [hq][dk] */
        params->kernels->scale(x, x, temperature(&params->config, positions[t]), width);
    }
}
