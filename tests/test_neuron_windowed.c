/* SPDX-License-Identifier: Apache-2.0 */
/* test_neuron_windowed.c - windowed context encoding: a prompt in windows, each after the one
 * before it, against one prefill.
 *
 * flash_fwd takes windows of W tokens of a layer with window W, with the keys of the window before
 * (2.27). attention_cte takes them behind a prefix: all keys before. The same keys are seen either
 * way. Where the keys of a window begin at a multiple of seq_tile, or of the 512 that cte pads its
 * prefix to, the tiles are those of the prefill, and so are all bits, whatever the sums. Elsewhere
 * tiles are cut otherwise: scores and so the last m are the same bits, sums are grouped otherwise,
 * and both results lie within the bound of exact attention. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "support/fewer_cases.h"
#include "support/kernel_twin.h"
#include "support/neuron_operands.h"
#include "support/program.h"

enum { HQ = 3, HKV = 1, D_MOST = 24, S_MOST = 2400 };

#define FLASH GQA_NEURON_FLASH_FWD
#define CTE   GQA_NEURON_CTE

struct prompt {
    gqa_neuron_profile profile;
    int window;   /* tokens of a window, but for the last one */
    int seq_tile; /* flash_fwd */
    int sliding;  /* keys that a row sees; flash_fwd: window */
    int tokens, d;
    gqa_dtype io;
    int lift_limits; /* 0: NxDI makes such calls */
};

static const struct prompt prompts[] = {
    {FLASH, 256, 512, 256, 1024, 16, GQA_BF16, 0}, /* windows 1 and 3 begin whole tiles, 2 not */
    {FLASH, 512, 512, 512, 2048, 8, GQA_BF16, 0},  /* all do */
    {FLASH, 256, 0, 256, 2048, 8, GQA_BF16, 0},    /* as NxDI tiles: 2048 keys, windows 512 */
    {FLASH, 1024, 1024, 1024, 2048, 4, GQA_F32, 0},
    {FLASH, 128, 512, 128, 700, 24, GQA_BF16, 1}, /* a last window of 60 tokens */
    {FLASH, 384, 512, 384, 1333, 7, GQA_F32, 1},
    {FLASH, 640, 512, 640, 2001, 3, GQA_BF16, 1},
    {FLASH, 128, 1024, 128, 1500, 5, GQA_BF16, 1},
    {FLASH, 512, 512, 512, 513, 9, GQA_F32, 1}, /* of one token */
    {FLASH, 256, 1536, 256, 2305, 3, GQA_BF16, 1},
    {CTE, 512, 0, 0, 2048, 8, GQA_BF16, 0},
    {CTE, 256, 0, 256, 1024, 16, GQA_BF16, 0},
    {CTE, 1024, 0, 300, 2301, 5, GQA_F32, 0},
    {CTE, 100, 0, 7, 640, 24, GQA_BF16, 0},
    {CTE, 333, 0, 0, 1000, 11, GQA_F32, 0},
};

/* What is compared of each row and head. */
struct rows {
    int first; /* row of the prompt that row 0 of the call is */
    float m[S_MOST * HQ], l[S_MOST * HQ];
    float out[S_MOST * HQ * D_MOST];
};

static void listen(void *user, const gqa_neuron_tile *tile)
{
    struct rows *const rows = user;

    for (int32_t r = 0; tile->event == GQA_NEURON_ROWS && r < tile->rows; r++) {
        const int64_t at = (int64_t)(rows->first + tile->query + r) * HQ + tile->head;
        rows->m[at] = tile->m[r];
        rows->l[at] = tile->l[r];
        memcpy(rows->out + at * tile->dim, tile->o + (int64_t)r * tile->dim,
               (size_t)tile->dim * sizeof(float));
    }
}

/* Tokens [first, first + n) of a tensor [1, S, heads, D]. */
static gqa_tensor slice(const gqa_tensor *whole, int first, int n)
{
    const size_t size = whole->dtype == GQA_BF16 ? 2 : 4;
    gqa_tensor part = *whole;

    part.data = (unsigned char *)part.data + (size_t)(first * part.stride[1]) * size;
    part.shape[1] = n;
    return part;
}

/* What the window is told of the keys before it. */
static void set_keys(const struct neuron_rig *rig, const struct prompt *prompt, int first, int n,
                     gqa_neuron_call *call)
{
    const bool windowed = first > 0 && prompt->profile == FLASH;
    const int before = windowed ? prompt->window : 0;

    call->windowed_context_encoding = windowed;
    call->k = slice(&rig->call.k, first - before, before + n);
    call->v = slice(&rig->call.v, first - before, before + n);
    if (first > 0 && prompt->profile == CTE) {
        call->k_prior = slice(&rig->call.k, 0, first);
        call->v_prior = slice(&rig->call.v, 0, first);
        call->prior_used = first;
    }
}

static void encode(const struct neuron_rig *rig, const struct prompt *prompt, int first, int n,
                   struct rows *rows)
{
    static float out[S_MOST * HQ * D_MOST];
    gqa_neuron_call call = rig->call;
    gqa_neuron_output output;
    gqa_error err;

    gqa_neuron_output_init(&output);
    set_keys(rig, prompt, first, n, &call);
    call.lift_limits = call.lift_limits != 0 || (first == 0 && n < 512); /* NxDI: no kernel */
    call.q = slice(&rig->call.q, first, n);
    call.trace = listen;
    call.trace_user = rows;
    output.out = gqa_tensor_4d(out, GQA_F32, 1, n, HQ, prompt->d);
    rows->first = first;
    if (gqa_neuron_attention(&call, &output, NULL, NULL, 0, &err) != GQA_OK) {
        fail_msg("window %d of %d tokens: %s", prompt->window, n, err.message);
    }
}

struct comparison {
    const struct prompt *prompt;
    struct kernel_twin twin; /* the prefill, for exact attention */
    struct rows whole, cut;
    int same, other; /* windows whose tiles are those of the prefill, or others */
    bool differ;     /* have others had other bits? */
};

static void within_bound(const struct comparison *c, int t, int h)
{
    const int64_t at = ((int64_t)t * HQ + h) * c->prompt->d;
    double want[KERNEL_DIM], bound;

    assert_true(kernel_exact_row(&c->twin, 0, h, t, want, &bound));
    for (int d = 0; d < c->prompt->d; d++) {
        const double got[2] = {(double)c->whole.out[at + d], (double)c->cut.out[at + d]};
        if (!(fabs(got[0] - want[d]) <= bound && fabs(got[1] - want[d]) <= bound)) {
            fail_msg("window %d, row %d of %d: %g and %g, exact %g, bound %g", c->prompt->window, t,
                     c->prompt->tokens, got[0], got[1], want[d], bound);
        }
    }
}

static void compare_window(struct comparison *c, int first, int n, bool same)
{
    const int64_t at = (int64_t)first * HQ, values = (int64_t)n * HQ, d = c->prompt->d;
    const size_t bytes = (size_t)values * sizeof(float);
    const bool l = memcmp(c->whole.l + at, c->cut.l + at, bytes) == 0;
    const bool out = memcmp(c->whole.out + at * d, c->cut.out + at * d, bytes * (size_t)d) == 0;

    assert_memory_equal(c->whole.m + at, c->cut.m + at, bytes);
    if (same && !(l && out)) {
        fail_msg("window %d of %d tokens, from %d on: not the bits of the prefill",
                 c->prompt->window, c->prompt->tokens, first);
    }
    c->same += same;
    c->other += !same;
    c->differ = c->differ || !(l && out);
    for (int t = first; t < first + n && !same; t += 13) {
        within_bound(c, t, t % HQ);
    }
}

/* Are the tiles of a window's keys those of the prefill? */
static bool same_tiles(const struct prompt *p, int first)
{
    if (p->profile == CTE) {
        return first % 512 == 0;
    }
    return p->seq_tile != 0 && (first == 0 || (first - p->window) % p->seq_tile == 0);
}

static void run_prompt(struct comparison *c, gqa_neuron_accumulation accumulation)
{
    const struct prompt *const p = c->prompt;
    const struct neuron_sizes sizes = {1, p->tokens, p->tokens, HQ, HKV, p->d, p->io};
    struct neuron_operands values;
    struct neuron_rig rig;

    neuron_rig_open(&rig, p->profile, 90 + (uint64_t)p->window);
    values = neuron_operands_fill(&rig, &sizes);
    rig.call.window = p->sliding;
    rig.call.seq_tile = p->seq_tile;
    rig.call.lift_limits = p->lift_limits;
    rig.call.accumulation = accumulation;
    c->twin = (struct kernel_twin){.batch = 1,
                                   .tokens = p->tokens,
                                   .keys = p->tokens,
                                   .hq = HQ,
                                   .hkv = HKV,
                                   .d = p->d,
                                   .f32 = p->io == GQA_F32,
                                   .q = values.q,
                                   .k = values.k,
                                   .v = values.v,
                                   .window = p->sliding};
    encode(&rig, p, 0, p->tokens, &c->whole);
    for (int first = 0; first < p->tokens; first += p->window) {
        const int n = p->tokens - first < p->window ? p->tokens - first : p->window;
        encode(&rig, p, first, n, &c->cut);
        compare_window(c, first, n, same_tiles(p, first));
    }
    neuron_rig_close(&rig);
}

static void as_one_prefill(gqa_neuron_accumulation accumulation)
{
    static struct comparison c;
    const int n = (int)(sizeof prompts / sizeof prompts[0]);
    int same = 0, other = 0;
    bool differ = false;

    for (int i = 0; i < fewer_cases(n); i++) {
        memset(&c, 0, sizeof c);
        c.prompt = &prompts[i];
        run_prompt(&c, accumulation);
        same += c.same;
        other += c.other;
        differ = differ || c.differ;
    }
    assert_true(fewer_cases(n) < n || (same > 10 && other > 10 && differ));
}

static void exact_sums(void **state)
{
    (void)state;
    as_one_prefill(GQA_NEURON_EXACT);
}

static void float32_sums(void **state)
{
    (void)state;
    as_one_prefill(GQA_NEURON_FLOAT32);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_sums),
        cmocka_unit_test(float32_sums),
    };
    return RUN_TESTS(argc, argv, tests);
}
