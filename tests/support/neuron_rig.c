/* SPDX-License-Identifier: Apache-2.0 */
/* neuron_rig.c - see neuron_rig.h. */
#include "support/neuron_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/native_twin.h"
#include "support/random.h"

enum { GAP = 3 }; /* elements between the rows of a tensor */

void neuron_rig_open(struct neuron_rig *rig, gqa_neuron_profile profile, uint64_t seed)
{
    memset(rig, 0, sizeof *rig);
    gqa_neuron_call_init(&rig->call);
    gqa_neuron_output_init(&rig->output);
    rig->call.profile = profile;
    rig->state = seed;
}

void neuron_rig_close(struct neuron_rig *rig)
{
    for (int i = 0; i < rig->count; i++) {
        free(rig->blocks[i]);
    }
    rig->count = 0;
}

void *neuron_rig_memory(struct neuron_rig *rig, int64_t count, size_t size)
{
    void *const memory = calloc((size_t)count + (count == 0), size);
    assert_non_null(memory);
    assert_true(rig->count < NEURON_RIG_BLOCKS);
    rig->blocks[rig->count++] = memory;
    return memory;
}

int neuron_rig_number(struct neuron_rig *rig, int below)
{
    return random_between(&rig->state, 0, below - 1);
}

static int64_t elements(const struct neuron_shape *shape)
{
    return shape->b < 0 ? shape->a : (int64_t)shape->a * shape->b * shape->c * shape->d;
}

/* Memory for the tensor, its rows GAP elements further apart than they are long. */
static void lay_out(struct neuron_rig *rig, gqa_tensor *tensor, const struct neuron_shape *shape,
                    size_t size, int gap)
{
    const bool vector = shape->b < 0;
    const int64_t row = vector ? shape->a : shape->d;
    const int64_t rows = vector ? 1 : (int64_t)shape->a * shape->b * shape->c;

    memset(tensor, 0, sizeof *tensor);
    tensor->dtype = shape->dtype;
    tensor->rank = vector ? 1 : 4;
    tensor->shape[0] = shape->a;
    tensor->stride[0] = 1;
    if (!vector) {
        tensor->shape[1] = shape->b;
        tensor->shape[2] = shape->c;
        tensor->shape[3] = shape->d;
        tensor->stride[3] = 1;
        tensor->stride[2] = row + gap;
        tensor->stride[1] = tensor->stride[2] * shape->c;
        tensor->stride[0] = tensor->stride[1] * shape->b;
    }
    tensor->data = neuron_rig_memory(rig, rows * (row + gap), size);
}

static int64_t place(const gqa_tensor *tensor, int64_t i)
{
    if (tensor->rank == 1) {
        return i;
    }
    return i / tensor->shape[3] * tensor->stride[2] + i % tensor->shape[3];
}

static float read_one(const gqa_tensor *tensor, int64_t i)
{
    const int64_t at = place(tensor, i);
    uint32_t bits;
    float x;
    if (tensor->dtype == GQA_F32) {
        return ((const float *)tensor->data)[at];
    }
    bits = (uint32_t)((const uint16_t *)tensor->data)[at] << 16;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void write_one(const gqa_tensor *tensor, int64_t i, float x)
{
    const int64_t at = place(tensor, i);
    uint32_t bits;
    if (tensor->dtype == GQA_F32) {
        ((float *)tensor->data)[at] = x;
        return;
    }
    memcpy(&bits, &x, sizeof bits);
    ((uint16_t *)tensor->data)[at] = (uint16_t)(bits >> 16);
}

float *neuron_rig_fill(struct neuron_rig *rig, gqa_tensor *tensor, const struct neuron_shape *shape,
                       float scale)
{
    const bool bf16 = shape->dtype == GQA_BF16;
    const int64_t n = elements(shape);
    float *const values = neuron_rig_memory(rig, n, sizeof *values);

    lay_out(rig, tensor, shape, bf16 ? 2 : 4, GAP);
    for (int64_t i = 0; i < n; i++) {
        const double x = (double)random_float(&rig->state) * (double)scale;
        values[i] = native_twin_round(x, bf16);
        write_one(tensor, i, values[i]);
    }
    return values;
}

void neuron_rig_remask(gqa_tensor *tensor, const uint8_t *bytes)
{
    const int64_t n = tensor->shape[0] * tensor->shape[1] * tensor->shape[2] * tensor->shape[3];

    for (int64_t i = 0; i < n; i++) {
        const int64_t at = place(tensor, i);
        uint8_t *const byte = (uint8_t *)tensor->data + (tensor->dtype == GQA_U8 ? at : at / 8);
        if (tensor->dtype == GQA_U8) {
            *byte = bytes[i];
        } else {
            *byte = (uint8_t)((*byte & ~(1u << at % 8)) | (unsigned)bytes[i] << at % 8);
        }
    }
}

uint8_t *neuron_rig_mask(struct neuron_rig *rig, gqa_tensor *tensor,
                         const struct neuron_shape *shape, const struct neuron_odds *odds)
{
    const int64_t n = elements(shape);
    uint8_t *const bytes = neuron_rig_memory(rig, n, 1);

    lay_out(rig, tensor, shape, 1, shape->dtype == GQA_U8 ? GAP : 8 - shape->d % 8);
    for (int64_t i = 0; i < n; i++) {
        bytes[i] = neuron_rig_number(rig, odds->of) < odds->seen;
    }
    neuron_rig_remask(tensor, bytes);
    return bytes;
}

float *neuron_rig_run(struct neuron_rig *rig, const gqa_runtime *runtime)
{
    const gqa_tensor *const q = &rig->call.q;
    const struct neuron_shape shape = {q->dtype, (int)q->shape[0], (int)q->shape[1],
                                       (int)q->shape[2], (int)q->shape[3]};
    float *const values = neuron_rig_memory(rig, elements(&shape), sizeof *values);
    gqa_error err = {GQA_OK, "", ""};

    lay_out(rig, &rig->output.out, &shape, q->dtype == GQA_BF16 ? 2 : 4, GAP);
    if (gqa_neuron_attention(&rig->call, &rig->output, runtime, NULL, 0, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
    for (int64_t i = 0; i < elements(&shape); i++) {
        values[i] = read_one(&rig->output.out, i);
    }
    return values;
}

void neuron_rig_refused(struct neuron_rig *rig, gqa_status status, const char *field,
                        const char *words)
{
    gqa_error err = {GQA_OK, "", ""};

    if (rig->output.out.data == NULL) {
        rig->output.out = rig->call.q;
        rig->output.out.data =
            neuron_rig_memory(rig, rig->call.q.shape[0] * rig->call.q.stride[0], sizeof(float));
    }
    assert_int_equal(gqa_neuron_attention(&rig->call, &rig->output, NULL, NULL, 0, &err), status);
    assert_string_equal(err.field, field);
    if (strstr(err.message, words) == NULL) {
        fail_msg("'%s' does not say '%s'", err.message, words);
    }
}

int neuron_rig_warnings(const struct neuron_rig *rig, gqa_neuron_warning_code code)
{
    int n = 0;

    for (int32_t i = 0; i < rig->output.warning_count; i++) {
        n += rig->output.warnings[i].code == code;
    }
    return n;
}
