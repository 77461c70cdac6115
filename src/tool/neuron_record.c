/* SPDX-License-Identifier: Apache-2.0 */
/* neuron_record.c - see neuron_record.h. */
#include "tool/neuron_record.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "tool/meta.h"

/* --- values ------------------------------------------------------------------------------------
 */

struct tool_neuron_value *tool_neuron_value_of(const struct tool_neuron_record *record,
                                               const char *name)
{
    for (size_t i = 0; i < record->count; i++) {
        if (strcmp(record->values[i].expected->name, name) == 0) {
            return &record->values[i];
        }
    }
    return NULL;
}

int64_t tool_neuron_extent(const struct tool_neuron_record *record, const char *name, int i)
{
    const struct tool_neuron_value *const value = tool_neuron_value_of(record, name);

    return value == NULL || i >= value->expected->rank ? 0 : value->expected->shape[i];
}

int32_t tool_neuron_probe(const struct tool_neuron_record *record, const char *key)
{
    const char *const text = tool_file_text(record->c->file, "probe_tile");
    const char *const found = text == NULL ? NULL : strstr(text, key);

    return found == NULL ? -1 : (int32_t)strtol(found + strlen(key) + 1, NULL, 10);
}

static void put_one(struct tool_neuron_value *value, int64_t at, float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    if (value->expected->dtype == TOOL_BF16) {
        ((uint16_t *)value->data)[at] = (uint16_t)(bits >> 16);
        value->lossy |= (bits & 0xffffu) != 0;
    } else if (value->expected->dtype == TOOL_F32) {
        ((float *)value->data)[at] = x;
    } else {
        value->lossy = true;
    }
}

void tool_neuron_put(struct tool_neuron_record *record, const char *name, int64_t at,
                     const float *from, int64_t n)
{
    struct tool_neuron_value *const value = tool_neuron_value_of(record, name);

    if (value == NULL) {
        return;
    }
    if (at < 0 || n < 0 || at > value->expected->count - n) { /* the run has more than the file */
        value->lossy = true;
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        put_one(value, at + i, from[i]);
    }
    value->filled += n;
}

void tool_neuron_put_int(struct tool_neuron_record *record, const char *name, int64_t at,
                         int32_t number)
{
    struct tool_neuron_value *const value = tool_neuron_value_of(record, name);
    bool inside;

    if (value == NULL) {
        return;
    }
    inside = at >= 0 && at < value->expected->count;
    if (inside && value->expected->dtype == TOOL_U8) {
        ((uint8_t *)value->data)[at] = (uint8_t)number;
        value->filled++;
    } else if (inside && value->expected->dtype == TOOL_I32) {
        ((int32_t *)value->data)[at] = number;
        value->filled++;
    } else {
        value->lossy = true;
    }
}

/* --- a record ----------------------------------------------------------------------------------
 */

static bool wanted(const struct tool_tensor *tensor)
{
    return strncmp(tensor->name, "exp.", 4) == 0 || strncmp(tensor->name, "trace.", 6) == 0;
}

bool tool_neuron_record_open(struct tool_neuron_record *record, const struct tool_neuron_case *c,
                             struct tool_fault *fault)
{
    memset(record, 0, sizeof *record);
    record->c = c;
    record->values = calloc(c->file->count + 1, sizeof *record->values);
    if (record->values == NULL) {
        return tool_fault_set(fault, c->path, "no memory");
    }
    for (size_t i = 0; i < c->file->count; i++) {
        const struct tool_tensor *const tensor = &c->file->tensors[i];
        struct tool_neuron_value *const value = &record->values[record->count];

        if (!wanted(tensor)) {
            continue;
        }
        value->expected = tensor;
        value->data = calloc((size_t)tensor->count + 1, tool_dtype_size(tensor->dtype));
        if (value->data == NULL) {
            tool_neuron_record_close(record);
            return tool_fault_set(fault, c->path, "no memory for %.80s", tensor->name);
        }
        record->count++;
    }
    return true;
}

void tool_neuron_record_close(struct tool_neuron_record *record)
{
    for (size_t i = 0; i < record->count; i++) {
        free(record->values[i].data);
    }
    free(record->values);
    memset(record, 0, sizeof *record);
}

static void record_event(void *user, const gqa_neuron_tile *tile)
{
    struct tool_neuron_record *const record = user;

    switch (tile->profile) {
    case GQA_NEURON_FLASH_FWD:
        tool_neuron_record_flash(record, tile);
        break;
    case GQA_NEURON_CTE:
        tool_neuron_record_cte(record, tile);
        break;
    case GQA_NEURON_FLASH_DECODING:
        tool_neuron_record_decoding(record, tile);
        break;
    case GQA_NEURON_PAGED_SCHEDULE:
        tool_neuron_record_paged(record, tile);
        break;
    default:
        tool_neuron_record_native(record, tile);
        break;
    }
}

/* What stays where cte computes nothing. */
static void start_values(struct tool_neuron_record *record)
{
    static const char *const names[] = {"trace.tile_max", "trace.m"};

    for (size_t i = 0; record->c->call.profile == GQA_NEURON_CTE && i < 2; i++) {
        const struct tool_neuron_value *const value = tool_neuron_value_of(record, names[i]);
        for (int64_t e = 0;
             value != NULL && value->expected->dtype == TOOL_F32 && e < value->expected->count;
             e++) {
            ((float *)value->data)[e] = -FLT_MAX;
        }
    }
}

/* An output of the call that the file expects. */
static void want(struct tool_neuron_record *record, const char *name, gqa_tensor *view)
{
    struct tool_neuron_value *const value = tool_neuron_value_of(record, name);

    if (value != NULL && value->expected->rank <= 4) {
        view->data = value->data;
        view->dtype = value->expected->dtype == TOOL_BF16 ? GQA_BF16 : GQA_F32;
        view->rank = value->expected->rank;
        memcpy(view->shape, value->expected->shape, sizeof view->shape);
        value->filled = value->expected->count;
    }
}

bool tool_neuron_record_run(struct tool_neuron_record *record, gqa_neuron_accumulation accumulation,
                            gqa_neuron_output *output, struct tool_fault *fault)
{
    gqa_neuron_call call = record->c->call;
    gqa_error err;

    start_values(record);
    gqa_neuron_output_init(output);
    want(record, "exp.out", &output->out);
    want(record, "exp.q_scaled", &output->q_scaled);
    want(record, "exp.neg_max", &output->neg_max);
    want(record, "exp.recip", &output->recip);
    call.accumulation = accumulation;
    call.trace = record_event;
    call.trace_user = record;
    if (gqa_neuron_attention(&call, output, NULL, NULL, 0, &err) != GQA_OK) {
        return tool_fault_gqa(fault, record->c->path, "gqa_neuron_attention", &err);
    }
    return call.profile != GQA_NEURON_PAGED_SCHEDULE || tool_neuron_record_schedule(record, fault);
}
