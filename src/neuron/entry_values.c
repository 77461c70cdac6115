/* SPDX-License-Identifier: Apache-2.0 */
/* entry_values.c - see entry_values.h. */
#include "neuron/entry_values.h"

#include <string.h>

#include "base/tensor.h"
#include "neuron/stages.h"

gqa_tensor gqa__neuron_heads_at(const void *data, gqa_dtype io, int64_t first,
                                const int64_t shape[3])
{
    const size_t at = (size_t)(first * shape[1] * shape[2]) * gqa__dtype_size(io);

    return gqa_tensor_4d((const unsigned char *)data + at, io, 1, shape[0], shape[1], shape[2]);
}

void gqa__neuron_to_io(gqa_dtype io, const float *from, int64_t n, void *to, int64_t at)
{
    for (int64_t i = 0; i < n; i++) {
        if (io == GQA_BF16) {
            ((uint16_t *)to)[at + i] = gqa__f32_to_bf16(from[i]);
        } else {
            ((float *)to)[at + i] = gqa__canonical(from[i]);
        }
    }
}

void gqa__neuron_load_key(const struct gqa__neuron_key *key, void *k, void *v, int64_t at)
{
    gqa__view_load(key->view, key->head, key->index, key->row, NULL);
    gqa__neuron_to_io(key->io, key->row, key->view->dk, k, at);
    gqa__view_load(key->view, key->head, key->index, NULL, key->row);
    gqa__neuron_to_io(key->io, key->row, key->view->dk, v, at);
}

void gqa__neuron_widen(const struct gqa__params *params, const void *from, int64_t row,
                       const struct gqa__segment *segment)
{
    const gqa_dtype io = gqa__neuron_io(params);
    const int64_t width = (int64_t)params->shape.hq * params->shape.dk;

    for (int64_t t = 0; t < segment->n && segment->out != NULL; t++) {
        float *const to = (float *)segment->out + t * segment->out_stride;
        const int64_t at = (row + t) * width;
        for (int64_t i = 0; i < width; i++) {
            to[i] = io == GQA_BF16 ? gqa__bf16_to_f32(((const uint16_t *)from)[at + i])
                                   : ((const float *)from)[at + i];
        }
    }
}

static bool reported(const gqa_neuron_report *report, const gqa_neuron_warning *warning)
{
    for (int32_t i = 0; i < report->warning_count; i++) {
        if (report->warnings[i].code == warning->code &&
            strcmp(report->warnings[i].text, warning->text) == 0) {
            return true;
        }
    }
    return false;
}

void gqa__neuron_add_report(gqa_neuron_report *report, const gqa_neuron_output *out)
{
    report->tiles += out->tiles;
    report->tiles_skipped += out->tiles_skipped;
    report->hbm_bytes += out->hbm_bytes;
    report->madds += out->madds;
    for (int32_t i = 0; i < out->warning_count; i++) {
        if (report->warning_count < GQA_NEURON_WARNINGS_MAX &&
            !reported(report, &out->warnings[i])) {
            report->warnings[report->warning_count++] = out->warnings[i];
        }
    }
}
