/* SPDX-License-Identifier: Apache-2.0 */
/* weight_source.h - where the rows of a layer's matrices lie in the caller's weights. */
#ifndef GQA__WEIGHT_SOURCE_H
#define GQA__WEIGHT_SOURCE_H

#include "layer/layer.h"

/* Where a row comes from: row `row` of weight (and of scale and bias, if present). The `rows` rows
 * from it on follow one another there as they do here. */
struct gqa__weight_source {
    const char *field; /* of weight */
    const gqa_tensor *weight, *scale, *bias;
    int64_t row, rows;
};

/* linear: &params->qkv or tkg_qkv (rows [q | k | v] from whatever layout the caller has), gate, o
 * or tkg_o. */
struct gqa__weight_source gqa__weight_source_of(const struct gqa__params *params,
                                                const gqa_weights *weights,
                                                const struct gqa__linear *linear, int64_t row);

#endif
