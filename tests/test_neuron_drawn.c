/* SPDX-License-Identifier: Apache-2.0 */
/* test_neuron_drawn.c - flash_fwd and cte of drawn sizes, odd ones of every kind, against a plain
 * twin: results and the states after each large tile or section bit by bit, traced or not and for
 * any threads; with sums in f32 within the bound of exact attention. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "support/fewer_cases.h"
#include "support/kernel_twin.h"
#include "support/neuron_rig.h"
#include "support/parallel.h"
#include "support/program.h"
#include "support/random.h"

#define FLASH GQA_NEURON_FLASH_FWD
#define CTE   GQA_NEURON_CTE

struct drawn {
    int number; /* of the case */
    gqa_neuron_profile profile;
    struct kernel_twin twin;
    struct neuron_rig rig;
    struct kernel_row *rows; /* [batch][hq][tokens] */
    int64_t compared;        /* states that a trace has told of */
};

/* --- drawing -----------------------------------------------------------------------------------
 */

static int between(uint64_t *random, int low, int high)
{
    return random_between(random, low, high);
}

static void draw_sizes(struct drawn *c, uint64_t *random)
{
    struct kernel_twin *const twin = &c->twin;

    twin->batch = between(random, 1, 2);
    twin->tokens = between(random, 1, between(random, 0, 3) == 0 ? 600 : 150);
    twin->keys = twin->tokens;
    twin->hkv = between(random, 1, 2);
    twin->hq = twin->hkv * between(random, 1, 3);
    twin->d = between(random, 1, between(random, 0, 3) == 0 ? KERNEL_DIM : 20);
    twin->f32 = between(random, 0, 2) == 0;
    twin->scale = between(random, 0, 3) == 0 ? 0.3f : 0.0f;
}

/* Kinds in turn: causal, a window of 1 and whole tiles, a window, windowed context encoding, other
 * keys. */
static void draw_flash(struct drawn *c, uint64_t *random)
{
    struct kernel_twin *const twin = &c->twin;
    const int kind = c->number % 5;

    draw_sizes(c, random);
    twin->seq_tile = 512 * between(random, 0, 3);
    if (kind == 1) { /* so that a large tile may end right before the window of a query tile */
        twin->window = 1 + 128 * between(random, 0, 2);
        twin->tokens = twin->keys = between(random, 600, 900);
        twin->batch = 1;
        twin->seq_tile = 512;
    } else if (kind == 2) {
        twin->window = between(random, 2, 2 * twin->tokens + 2);
    } else if (kind == 3) {
        twin->wcte = 1;
        twin->window = 128 * between(random, 1, 3);
        twin->keys = twin->window + twin->tokens;
    } else if (kind == 4) {
        twin->keys = between(random, 1, 2 * twin->tokens);
        twin->window = between(random, 0, 300);
    }
}

static void draw_bounds(struct drawn *c, uint64_t *random)
{
    struct kernel_twin *const twin = &c->twin;
    int *const min = neuron_rig_memory(&c->rig, twin->tokens, sizeof *min);
    int *const max = neuron_rig_memory(&c->rig, twin->tokens, sizeof *max);

    for (int t = 0; t < twin->tokens; t++) {
        min[t] = between(random, 0, 3) == 0 ? between(random, 0, twin->keys) : 0;
        max[t] = between(random, 0, twin->keys);
    }
    twin->bound_min = min;
    twin->bound_max = max;
}

static void draw_ranks(struct kernel_twin *twin, bool strided, uint64_t *random)
{
    twin->cp_degree = between(random, 1, 5);
    twin->cp_strided = strided;
    if (strided) {
        twin->cp_offset = between(random, 0, twin->cp_degree - 1);
        twin->keys = twin->tokens * twin->cp_degree;
    } else {
        twin->cp_offset = between(random, 0, 900);
        twin->keys = twin->cp_offset + twin->tokens + between(random, 0, 200);
    }
}

/* Kinds in turn: causal or with a window, the same behind a prefix, both ways, packed, ranks in
 * pieces and in strides, other keys, and sections. */
static void draw_cte(struct drawn *c, uint64_t *random)
{
    struct kernel_twin *const twin = &c->twin;
    const int kind = c->number % 8;

    draw_sizes(c, random);
    twin->divisor_f32 = between(random, 0, 3) == 0;
    if (kind != 2 && between(random, 0, 1) == 0) {
        twin->window = between(random, 1, between(random, 0, 1) == 0 ? 20 : 400);
    }
    if (kind == 1) {
        twin->prior = between(random, 1, 700);
        twin->used = between(random, 0, twin->prior);
    } else if (kind == 2) {
        twin->bidirectional = 1;
        twin->keys = between(random, 1, 1200);
    } else if (kind == 3) {
        draw_bounds(c, random);
    } else if (kind == 4 || kind == 5) {
        draw_ranks(twin, kind == 5, random);
    } else if (kind == 6) {
        twin->keys = between(random, 1, 2 * twin->tokens);
    } else if (kind == 7) {
        twin->batch = twin->hq = twin->hkv = 1;
        twin->d = between(random, 1, 3);
        twin->tokens = between(random, 1, 140);
        twin->keys = twin->tokens;
        twin->prior = between(random, 10241, 19000);
        twin->used = between(random, 1, twin->prior);
    }
}

/* --- a case ------------------------------------------------------------------------------------
 */

static void fill_operands(struct drawn *c, uint64_t *random)
{
    struct kernel_twin *const twin = &c->twin;
    gqa_neuron_call *const in = &c->rig.call;
    const gqa_dtype io = twin->f32 ? GQA_F32 : GQA_BF16;
    const struct neuron_shape q = {io, twin->batch, twin->tokens, twin->hq, twin->d};
    const struct neuron_shape k = {io, twin->batch, twin->keys, twin->hkv, twin->d};
    const struct neuron_shape prior = {io, twin->batch, twin->prior, twin->hkv, twin->d};
    const struct neuron_shape sinks = {GQA_BF16, twin->hq, -1, 0, 0};

    twin->q = neuron_rig_fill(&c->rig, &in->q, &q, 2.0f);
    twin->k = neuron_rig_fill(&c->rig, &in->k, &k, 2.0f);
    twin->v = neuron_rig_fill(&c->rig, &in->v, &k, 1.0f);
    if (twin->prior > 0) {
        twin->k_prior = neuron_rig_fill(&c->rig, &in->k_prior, &prior, 2.0f);
        twin->v_prior = neuron_rig_fill(&c->rig, &in->v_prior, &prior, 1.0f);
    }
    if (c->profile == CTE && between(random, 0, 1) == 0) {
        twin->sinks = neuron_rig_fill(&c->rig, &in->sinks, &sinks, 3.0f);
    }
}

static void open_case(struct drawn *c, gqa_neuron_profile profile, int number, uint64_t *random)
{
    struct kernel_twin *const twin = &c->twin;
    gqa_neuron_call *const in = &c->rig.call;

    memset(c, 0, sizeof *c);
    c->number = number;
    c->profile = profile;
    neuron_rig_open(&c->rig, profile, 700 + (uint64_t)number);
    (profile == FLASH ? draw_flash : draw_cte)(c, random);
    fill_operands(c, random);
    in->lift_limits = 1;
    in->window = twin->window;
    in->bidirectional = twin->bidirectional;
    in->scale = twin->scale;
    in->divisor = twin->divisor_f32 ? GQA_NEURON_SQRT_D_F32 : GQA_NEURON_SQRT_D_ROUNDED;
    in->seq_tile = twin->seq_tile;
    in->attn_core_tile = profile == FLASH ? between(random, 0, 2) : 0;
    in->windowed_context_encoding = twin->wcte;
    in->prior_used = twin->used;
    in->cp_degree = twin->cp_degree;
    in->cp_offset = twin->cp_offset;
    in->cp_strided = twin->cp_strided;
    in->bound_min = twin->bound_min;
    in->bound_max = twin->bound_max;
}

static void expect(const struct drawn *c, bool good, const char *what, int64_t at)
{
    const struct kernel_twin *const t = &c->twin;

    if (!good) {
        fail_msg("%s %d, %s at %lld: B %d T %d K %d heads %d/%d d %d f32 %d window %d wcte %d tile "
                 "%d prior %d used %d cp %d offset %d strided %d both ways %d packed %d scale %g",
                 c->profile == FLASH ? "flash_fwd" : "cte", c->number, what, (long long)at,
                 t->batch, t->tokens, t->keys, t->hq, t->hkv, t->d, t->f32, t->window, t->wcte,
                 t->seq_tile, t->prior, t->used, t->cp_degree, t->cp_offset, t->cp_strided,
                 t->bidirectional, t->bound_min != NULL, (double)t->scale);
    }
}

static const struct kernel_row *row_of(const struct drawn *c, int b, int h, int t)
{
    return &c->rows[((int64_t)b * c->twin.hq + h) * c->twin.tokens + t];
}

/* --- what a trace tells ------------------------------------------------------------------------
 */

static bool same_vector(const float *a, const float *b, int n)
{
    return memcmp(a, b, (size_t)n * sizeof *a) == 0;
}

/* After a large tile of flash_fwd, or a section of cte. */
static void compare_state(struct drawn *c, const gqa_neuron_tile *tile, int32_t r)
{
    const bool flash = c->profile == FLASH;
    const struct kernel_row *const row = row_of(c, tile->batch, tile->head, tile->query + r);
    const struct kernel_state *const want = &row->step[flash ? tile->large : tile->section];
    const int64_t at = tile->query + r;

    expect(c, want->ran == (tile->fate == GQA_NEURON_WHOLE), "fate", at);
    expect(c, same_vector(&tile->m[r], &want->m, 1), "m", at);
    expect(c, same_vector(&tile->l[r], &want->l, 1), "l", at);
    expect(c, same_vector(&tile->alpha[r], &want->alpha, 1), "alpha", at);
    expect(c, !flash || same_vector(&tile->row_sum[r], &want->row_sum, 1), "row sum", at);
    expect(c, tile->o == NULL || same_vector(tile->o + (int64_t)r * tile->dim, want->o, tile->dim),
           "o", at);
    c->compared++;
}

static void listen(void *user, const gqa_neuron_tile *tile)
{
    struct drawn *const c = user;
    const bool flash = c->profile == FLASH;
    const bool step = tile->event == (flash ? GQA_NEURON_LARGE : GQA_NEURON_SECTION);

    for (int32_t r = 0; step && tile->m != NULL && r < tile->rows; r++) {
        compare_state(c, tile, r);
    }
}

/* Every step of every row has been told of. */
static int64_t steps_of(const struct drawn *c)
{
    int64_t steps = 0;

    for (int64_t i = 0; i < (int64_t)c->twin.batch * c->twin.hq * c->twin.tokens; i++) {
        steps += c->rows[i].steps;
    }
    return steps;
}

/* --- comparing ---------------------------------------------------------------------------------
 */

static void run_twin(struct drawn *c)
{
    const struct kernel_twin *const twin = &c->twin;
    struct kernel_row *row;

    c->rows =
        neuron_rig_memory(&c->rig, (int64_t)twin->batch * twin->hq * twin->tokens, sizeof *c->rows);
    row = c->rows;
    for (int b = 0; b < twin->batch; b++) {
        for (int h = 0; h < twin->hq; h++) {
            for (int t = 0; t < twin->tokens; t++) {
                (c->profile == FLASH ? flash_twin_row : cte_twin_row)(twin, b, h, t, row++);
            }
        }
    }
}

static void compare_rows(const struct drawn *c, const float *exact, const float *narrow)
{
    const struct kernel_twin *const twin = &c->twin;
    double want[KERNEL_DIM], bound;

    for (int i = 0; i < twin->batch * twin->hq * twin->tokens; i++) {
        const int b = i / (twin->hq * twin->tokens), h = i / twin->tokens % twin->hq;
        const int t = i % twin->tokens;
        const int at[5] = {b, t, twin->tokens, h, twin->hq};
        const float *const got = kernel_vector(twin, exact, at);
        const float *const other = kernel_vector(twin, narrow, at);
        expect(c, same_vector(got, c->rows[i].out, twin->d), "out", t);
        if (twin->bound_min != NULL || !kernel_exact_row(twin, b, h, t, want, &bound)) {
            continue; /* the kernel's own idea of packed rows, and of rows without keys */
        }
        for (int d = 0; d < twin->d; d++) {
            expect(c, fabs((double)got[d] - want[d]) <= bound, "exact sums", t);
            expect(c, fabs((double)other[d] - want[d]) <= bound, "float32 sums", t);
        }
    }
}

static void check_case(struct drawn *c)
{
    const struct kernel_twin *const twin = &c->twin;
    const int64_t values = (int64_t)twin->batch * twin->tokens * twin->hq * twin->d;
    gqa_runtime runtime;
    float *traced, *exact, *many, *narrow;

    run_twin(c);
    c->rig.call.trace = listen;
    c->rig.call.trace_user = c;
    traced = neuron_rig_run(&c->rig, NULL);
    expect(c, c->compared == steps_of(c), "steps", c->compared);
    c->rig.call.trace = NULL;
    exact = neuron_rig_run(&c->rig, NULL);
    gqa_runtime_init(&runtime);
    runtime.num_threads = 3;
    runtime.parallel_for = parallel_reversed;
    many = neuron_rig_run(&c->rig, &runtime);
    expect(c, memcmp(traced, exact, (size_t)values * sizeof *exact) == 0, "traced", 0);
    expect(c, memcmp(many, exact, (size_t)values * sizeof *exact) == 0, "threads", 0);
    c->rig.call.accumulation = GQA_NEURON_FLOAT32;
    narrow = neuron_rig_run(&c->rig, NULL);
    compare_rows(c, exact, narrow);
}

static void draw_cases(gqa_neuron_profile profile, int cases)
{
    static struct drawn c;
    uint64_t random = 31;

    for (int i = 0; i < fewer_cases(cases); i++) {
        open_case(&c, profile, i, &random);
        check_case(&c);
        neuron_rig_close(&c.rig);
    }
}

static void flash_fwd(void **state)
{
    (void)state;
    draw_cases(FLASH, 30);
}

static void cte(void **state)
{
    (void)state;
    draw_cases(CTE, 48);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flash_fwd),
        cmocka_unit_test(cte),
    };
    return RUN_TESTS(argc, argv, tests);
}
