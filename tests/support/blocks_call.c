/* SPDX-License-Identifier: Apache-2.0 */
/* blocks_call.c - see blocks_call.h. */
#include "support/blocks_call.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/program.h"
#include "support/small_layer.h"

static gqa_layer *layer, *reference_layer;
static gqa_cache *cache;
static float k[BLOCKS * HKV * SIZE * DK], v[BLOCKS * HKV * SIZE * DV],
    k_before[BLOCKS * HKV * SIZE * DK];
static float k_scale[BLOCKS * HKV * SIZE], v_scale[BLOCKS * HKV * SIZE],
    scale_before[BLOCKS * HKV * SIZE];
static float x[B * T * HQ * DK], out[B * T * HQ * DV];

int blocks_calls_open(void **state)
{
    gqa_config config = attention_config(HQ, HKV, DK, DV);
    gqa_cache_options options;
    (void)state;

    layer = attention_layer(&config, NULL);
    config.backend = GQA_BACKEND_REFERENCE;
    if (gqa_create(&reference_layer, &config, NULL, NULL, NULL) != GQA_OK) {
        reference_layer = NULL; /* built without it */
    }
    gqa_cache_options_init(&options, layer);
    options.max_tokens = SIZE;
    options.max_sequences = B;
    assert_int_equal(gqa_cache_create(&cache, layer, &options, NULL), GQA_OK);
    for (size_t i = 0; i < COUNT(k); i++) {
        k[i] = (float)(i % 17) - 8.0f;
    }
    memcpy(k_before, k, sizeof k);
    return 0;
}

int blocks_calls_close(void **state)
{
    (void)state;
    gqa_cache_destroy(&cache);
    gqa_destroy(&layer);
    gqa_destroy(&reference_layer);
    return 0;
}

const gqa_layer *blocks_layer(bool reference)
{
    return reference ? reference_layer : layer;
}

gqa_cache *blocks_cache(void)
{
    return cache;
}

void blocks_good_call(struct blocks_call *c, bool attends, bool reads)
{
    static const int32_t good[B * WIDTH] = {4, 1, 0x7fffffff, 2, -1, -1};

    memset(c, 0, sizeof *c);
    c->layer = layer;
    c->attends = attends;
    c->reads = reads;
    memcpy(c->table, good, sizeof c->table);
    c->lengths[0] = 20;
    c->lengths[1] = 5;
    c->sequences[0] = 0;
    c->sequences[1] = 1;
    for (int32_t i = 0; i < B * T; i++) {
        const int32_t index = c->lengths[i / T] + i % T;
        c->slots[i] = (int64_t)good[i / T * WIDTH + index / SIZE] * SIZE + index % SIZE;
        c->ids[i] = index;
    }
    for (int32_t i = 0; i < B * WIDTH * SIZE; i++) {
        c->positions[i] = i % (WIDTH * SIZE);
    }
    gqa_block_kv_init(&c->kv);
    c->kv.key = gqa_blocks_of(k, GQA_F32, GQA_BLOCKS_HEADS, BLOCKS, HKV, SIZE, DK);
    c->kv.value = gqa_blocks_of(v, GQA_F32, GQA_BLOCKS_TOKENS, BLOCKS, HKV, SIZE, DV);
    c->kv.block_table = c->table;
    c->kv.max_blocks = WIDTH;
    c->kv.lengths = c->lengths;
    c->kv.slot_mapping = attends || reads ? NULL : c->slots;
    c->kv.position_ids = c->positions;
    gqa_inputs_init(&c->in);
    c->in.q_proj = gqa_tensor_4d(x, GQA_F32, B, T, HQ, DK);
    if (!reads) {
        c->in.k_proj = gqa_tensor_4d(x, GQA_F32, B, T, HKV, DK);
        c->in.v_proj = gqa_tensor_4d(x, GQA_F32, B, T, HKV, DV);
    }
    c->in.sequences = c->sequences;
    c->in.blocks = &c->kv;
    gqa_attend_inputs_init(&c->attend);
    c->attend.query = c->in.q_proj;
    c->attend.sequences = c->sequences;
    c->attend.blocks = &c->kv;
}

gqa_status blocks_run(struct blocks_call *c, gqa_error *err)
{
    if (c->attends) {
        gqa_attend_output output;
        gqa_attend_output_init(&output);
        output.output = gqa_tensor_4d(out, GQA_F32, B, T, HQ, DV);
        return gqa_attend(c->layer, c->cache, &c->attend, &output, NULL, 0, err);
    }
    gqa_output output;
    gqa_output_init(&output);
    output.attn = gqa_tensor_4d(out, GQA_F32, B, T, HQ, DV);
    return gqa_forward(c->layer, c->cache, &c->in, &output, NULL, 0, err);
}

void blocks_int8(struct blocks_call *c)
{
    c->kv.key.dtype = c->kv.value.dtype = GQA_I8;
    c->kv.key_scale = gqa_tensor_3d(k_scale, GQA_F32, BLOCKS, HKV, SIZE);
    c->kv.value_scale = gqa_tensor_3d(v_scale, GQA_F32, BLOCKS, HKV, SIZE);
}

static void refuse_on(const gqa_layer *which, const struct blocks_fault *fault, bool attends,
                      bool reads)
{
    struct blocks_call c;
    gqa_error err = {GQA_OK, NULL, ""};
    gqa_status got;

    blocks_good_call(&c, attends, reads);
    c.layer = which;
    fault->spoil(&c);
    got = blocks_run(&c, &err);
    if (got != fault->status || err.field == NULL || strcmp(err.field, fault->field) != 0 ||
        strstr(err.message, fault->field) == NULL) {
        fail_msg("%s: %d for %s (\"%s\"), not %d for %s", fault->what, (int)got,
                 err.field != NULL ? err.field : "nothing", err.message, (int)fault->status,
                 fault->field);
    }
    if (memcmp(k, k_before, sizeof k) != 0 || memcmp(k_scale, scale_before, sizeof k_scale) != 0 ||
        memcmp(v_scale, scale_before, sizeof v_scale) != 0) {
        fail_msg("%s: blocks were written", fault->what);
    }
}

void blocks_refuse(const struct blocks_fault *fault, bool attends, bool reads)
{
    struct blocks_call c;

    refuse_on(layer, fault, attends, reads);
    blocks_good_call(&c, attends, reads);
    fault->spoil(&c);
    if (reference_layer != NULL && c.cache == NULL) { /* the cache has the other's kernel set */
        refuse_on(reference_layer, fault, attends, reads);
    }
}

bool blocks_named(const struct blocks_fault *list, size_t n, const char *field)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(list[i].field, field) == 0) {
            return true;
        }
    }
    return false;
}

void blocks_message(void (*spoil)(struct blocks_call *c), const char *says)
{
    struct blocks_call c;
    gqa_error err = {GQA_OK, NULL, ""};

    blocks_good_call(&c, false, false);
    spoil(&c);
    assert_int_not_equal(blocks_run(&c, &err), GQA_OK);
    if (strstr(err.message, says) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", err.message, says);
    }
}
