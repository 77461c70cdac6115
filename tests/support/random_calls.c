/* SPDX-License-Identifier: Apache-2.0 */
/* random_calls.c - the calls of a case: who is padded, where tokens stand, who may attend. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "random_case.h"

enum { LINES = 8, COLUMNS = 4096 };

/* What the generator remembers of each sequence between calls. */
typedef struct line {
    int length, columns, last;
    bool poisoned[COLUMNS]; /* the token of this column holds NaN that nobody may see */
} line;

/* One call in the making. */
typedef struct draft {
    random_case *c;
    random_call *call;
    line *lines;
    int T, columns; /* columns: of mask and bias */
    int hq, hkv, dk, dv, hidden;
    bool borrow;
    int ids[3], first[3], n[3], start[3]; /* per batch row; start: column of call column 0 */
} draft;

static bool is_valid(const draft *d, int b, int t)
{
    return d->ids[b] >= 0 && t >= d->first[b] && t < d->first[b] + d->n[b];
}

static int32_t *ints(const draft *d, int n)
{
    return random_memory(d->c, (size_t)n, sizeof(int32_t));
}

/* [B, T, a, b] (rank 4) or [B, T, a]; for a batch of one B is dropped now and then. */
static gqa_tensor activation(const draft *d, int rank, int a, int b, double scale)
{
    random_case *c = d->c;
    int64_t shape[4] = {c->batch, d->T, a, b};
    bool drop = c->batch == 1 && random_below(c, 2) != 0;
    random_fill fill = {.dtype = random_type(c, OPT_ACTIVATION_TYPE),
                        .gaps = c->choice[OPT_STRIDES] == 1,
                        .scale = scale};
    return random_tensor(c, drop ? rank - 1 : rank, drop ? shape + 1 : shape, fill);
}

/* Set all values of token (b, t) of an activation, or of every third one. */
static void set_token(const draft *d, const gqa_tensor *t, int rank, int b, int token, double value)
{
    int64_t index[4] = {0};
    int lead = t->rank == rank ? 1 : 0;
    if (t->data == NULL) {
        return;
    }
    index[0] = lead == 1 ? b : token;
    index[lead] = token;
    int64_t count = 1;
    for (int i = lead + 1; i < t->rank; i++) {
        count *= t->shape[i];
    }
    int step = 1 + random_below(d->c, 3);
    for (int64_t i = 0; i < count; i += step) {
        int64_t rest = i;
        for (int k = t->rank - 1; k > lead; k--) {
            index[k] = rest % t->shape[k];
            rest /= t->shape[k];
        }
        random_set(t, index, value);
    }
}

/* --- which tokens ------------------------------------------------------------------------------
 */

static void choose_rows(draft *d)
{
    random_case *c = d->c;
    gqa_inputs *in = &d->call->inputs;
    int mode = c->choice[OPT_SEQUENCES];
    int idle = mode == 3 ? random_below(c, c->batch) : -1;
    int32_t *ids = ints(d, c->batch);
    for (int b = 0; b < c->batch; b++) {
        int id = mode == 2 ? c->sequences - 1 - b : b;
        d->ids[b] = b == idle ? -1 : id;
        ids[b] = d->ids[b];
    }
    in->sequences = mode == 0 ? NULL : ids;
}

static void choose_padding(draft *d)
{
    random_case *c = d->c;
    gqa_inputs *in = &d->call->inputs;
    int mode = d->borrow ? 0 : c->choice[OPT_PADDING];
    int32_t *first = ints(d, c->batch);
    int32_t *lengths = ints(d, c->batch);
    for (int b = 0; b < c->batch; b++) {
        int left = mode >= 2 ? random_below(c, d->T < 5 ? d->T + 1 : 5) : 0;
        int right =
            mode == 1 || mode == 3 ? random_below(c, d->T - left < 5 ? d->T - left + 1 : 5) : 0;
        d->first[b] = left;
        d->n[b] = d->T - left - right;
        if (d->ids[b] >= 0 && d->borrow && d->lines[d->ids[b]].length < d->n[b]) {
            d->n[b] = d->lines[d->ids[b]].length;
        }
        first[b] = d->ids[b] < 0 ? -9 : d->first[b]; /* not read for an inactive row */
        lengths[b] = d->ids[b] < 0 ? 77 : d->n[b];
        d->start[b] = d->ids[b] >= 0 ? d->lines[d->ids[b]].columns : 0;
    }
    in->first_valid = mode >= 2 ? first : NULL;
    in->lengths = mode == 1 || mode == 3 || d->borrow ? lengths : NULL;
}

static void choose_positions(draft *d)
{
    random_case *c = d->c;
    int mode = d->borrow ? 0 : c->choice[OPT_POSITIONS];
    int32_t *p = ints(d, c->batch * d->T);
    for (int b = 0; b < c->batch; b++) {
        line *l = d->ids[b] >= 0 ? &d->lines[d->ids[b]] : NULL;
        for (int t = 0; t < d->T; t++) {
            int32_t *cell = &p[b * d->T + t];
            *cell = random_below(c, 2) != 0 ? -77 : 1 << 30; /* padding entries are ignored */
            if (!is_valid(d, b, t)) {
                continue;
            }
            if (mode == 3 && c->seed % 8 < 4) { /* ties alone */
                *cell = (l->length == 0 ? 5 : l->last) + random_below(c, 2);
            } else if (mode == 3) {
                *cell = random_below(c, 12 + l->length);
            } else if (mode == 2) {
                *cell = l->length == 0 ? 100000 + random_below(c, 31000)
                                       : l->last + 1 + random_below(c, 3);
            } else {
                *cell = l->length == 0 ? 0 : l->last + 1;
            }
            if (!d->borrow) {
                l->last = *cell;
                l->length++;
            }
        }
        if (l != NULL && !d->borrow) {
            l->columns += d->T;
        }
        if (l != NULL && l->columns > d->columns) {
            d->columns = l->columns;
        }
    }
    d->call->inputs.position_ids = mode == 0 ? NULL : p;
}

static void choose_rotation(draft *d)
{
    random_case *c = d->c;
    const gqa_config *g = &c->config;
    gqa_inputs *in = &d->call->inputs;
    int axes = g->mrope == GQA_MROPE_NONE ? 1 : g->mrope_sections[3] > 0 ? 4 : 3;
    int pairs = (g->rotary_dim > 0 ? g->rotary_dim : g->head_dim) / 2;
    if (c->choice[OPT_ROTARY_POSITIONS] != 0) {
        int32_t *p = ints(d, axes * c->batch * d->T);
        for (int i = 0; i < axes * c->batch * d->T; i++) {
            p[i] = random_below(c, 5000);
        }
        in->rotary_position_ids = p;
    }
    if (c->choice[OPT_ROPE_LENGTH] != 0) {
        in->rope_length = random_below(c, 2) != 0 ? 3 : 5000;
    }
    if (c->choice[OPT_TABLES] != 0) {
        int64_t shape[3] = {c->batch, d->T, pairs};
        random_fill fill = {.gaps = c->choice[OPT_STRIDES] == 1, .scale = 0.7};
        in->cos_cache = random_tensor(c, 3, shape, fill);
        in->sin_cache = random_tensor(c, 3, shape, fill);
    }
    in->phase = (gqa_phase)c->choice[OPT_PHASE];
}

/* --- who may attend ----------------------------------------------------------------------------
 */

/* No row of the batch may see this column. */
static bool poisoned(const draft *d, int64_t column)
{
    for (int b = 0; b < d->c->batch; b++) {
        if (d->ids[b] >= 0 && d->lines[d->ids[b]].poisoned[column]) {
            return true;
        }
    }
    return false;
}

static gqa_tensor pair_tensor(const draft *d, bool shared, gqa_dtype dtype)
{
    random_case *c = d->c;
    int64_t shape[4] = {shared ? 1 : c->batch, shared ? 1 : d->hq, d->T,
                        d->columns + random_below(c, 3)};
    if (!shared && random_below(c, 3) == 0) { /* one of the two shared */
        shape[random_below(c, 2)] = 1;
    }
    random_fill fill = {.dtype = dtype, .gaps = c->choice[OPT_STRIDES] == 1, .scale = 1.0};
    return random_tensor(c, 4, shape, fill);
}

static void choose_mask(draft *d)
{
    random_case *c = d->c;
    int mode = c->choice[OPT_MASK];
    if (mode == 0) {
        return;
    }
    gqa_tensor *m = &d->call->inputs.mask;
    *m = pair_tensor(d, mode == 2 || mode == 4, mode <= 2 ? GQA_U8 : GQA_BITS);
    int64_t i[4];
    for (i[0] = 0; i[0] < m->shape[0]; i[0]++) {
        for (i[1] = 0; i[1] < m->shape[1]; i[1]++) {
            for (i[2] = 0; i[2] < m->shape[2]; i[2]++) {
                bool blind = random_below(c, 8) == 0;
                for (i[3] = 0; i[3] < m->shape[3]; i[3]++) {
                    bool hidden = blind || random_below(c, 4) == 0 || poisoned(d, i[3]);
                    random_set(m, i, hidden ? 0.0 : 1.0);
                }
            }
        }
    }
}

static void choose_bias(draft *d)
{
    random_case *c = d->c;
    int mode = c->choice[OPT_BIAS];
    if (mode == 0) {
        return;
    }
    gqa_tensor *t = &d->call->inputs.bias;
    *t = pair_tensor(d, mode == 2, random_type(c, OPT_ACTIVATION_TYPE));
    int64_t i[4];
    for (i[0] = 0; mode == 3 && i[0] < t->shape[0]; i[0]++) {
        for (i[1] = 0; i[1] < t->shape[1]; i[1]++) {
            for (i[2] = 0; i[2] < t->shape[2]; i[2]++) {
                bool blind = random_below(c, 8) == 0;
                for (i[3] = 0; i[3] < t->shape[3]; i[3]++) {
                    if (blind || random_below(c, 5) == 0) {
                        random_set(t, i, -(double)INFINITY);
                    }
                }
            }
        }
    }
}

static void choose_active_mask(draft *d)
{
    random_case *c = d->c;
    int mode = c->choice[OPT_ACTIVE_MASK];
    /* With padding between them a borrowing call's queries are no neighbours in columns. */
    if (mode == 0 || (d->borrow && c->choice[OPT_PADDING] != 0)) {
        return;
    }
    int64_t shape[3] = {mode == 3 ? 1 : c->batch, d->T, d->T};
    random_fill fill = {.dtype = mode == 2 ? GQA_BITS : GQA_U8,
                        .gaps = c->choice[OPT_STRIDES] == 1};
    gqa_tensor *t = &d->call->inputs.active_mask;
    *t = random_tensor(c, 3, shape, fill);
    int64_t i[3];
    for (i[0] = 0; i[0] < shape[0]; i[0]++) {
        for (i[1] = 0; i[1] < shape[1]; i[1]++) {
            for (i[2] = 0; i[2] < shape[2]; i[2]++) {
                random_set(t, i, random_below(c, 4) != 0 ? 1.0 : 0.0);
            }
        }
    }
}

static void choose_bounds(draft *d)
{
    random_case *c = d->c;
    if (c->choice[OPT_BOUNDS] == 0) {
        return;
    }
    int32_t *begin = ints(d, c->batch * d->T);
    int32_t *end = ints(d, c->batch * d->T);
    for (int i = 0; i < c->batch * d->T; i++) {
        begin[i] = random_below(c, d->columns + 1) / 2;
        end[i] = begin[i] + random_below(c, d->columns + 1);
        if (random_below(c, 4) == 0) {
            begin[i] = -5;
            end[i] = random_below(c, 2) != 0 ? INT32_MAX : d->columns;
        }
    }
    d->call->inputs.key_begin = begin;
    d->call->inputs.key_end = end;
}

/* --- values ------------------------------------------------------------------------------------
 */

static void choose_values(draft *d)
{
    random_case *c = d->c;
    const gqa_config *g = &c->config;
    gqa_inputs *in = &d->call->inputs;
    bool projections = c->choice[OPT_START] == 1 || (d->borrow && c->choice[OPT_BORROW] == 2);
    bool projects = c->choice[OPT_STOP] != 2;
    bool residual = c->choice[OPT_RESIDUAL] != 0;
    d->call->appends = !d->borrow;
    in->borrow_cache = d->borrow && c->choice[OPT_BORROW] == 1 ? 1 : 0;
    if (!projections || residual || (projects && g->add_residual != 0)) {
        in->hidden_states = activation(d, 3, d->hidden, 0, 1.0);
    }
    if (residual) {
        in->residual = activation(d, 3, d->hidden, 0, 1.0);
    }
    if (!projections) {
        return;
    }
    in->q_proj = activation(d, 4, d->hq, d->dk, 1.0);
    if (!d->borrow) {
        in->k_proj = activation(d, 4, d->hkv, d->dk, 1.0);
        if (g->k_eq_v == 0) {
            in->v_proj = activation(d, 4, d->hkv, d->dv, 1.0);
        }
    }
    if (g->gate != GQA_GATE_NONE) {
        in->gate_proj = activation(d, 4, d->hq, g->gate == GQA_GATE_HEAD ? 1 : d->dv, 1.5);
    }
}

/* The padding of hidden is zero; that of the batch is NaN or infinite. */
static void pad_values(draft *d)
{
    gqa_inputs *in = &d->call->inputs;
    const gqa_tensor *hidden[2] = {&in->hidden_states, &in->residual};
    const gqa_tensor *heads[4] = {&in->q_proj, &in->k_proj, &in->v_proj, &in->gate_proj};
    int unpadded = d->c->config.hidden_size_unpadded;
    for (int b = 0; b < d->c->batch; b++) {
        for (int t = 0; t < d->T; t++) {
            double x = random_below(d->c, 2) != 0 ? (double)NAN : (double)INFINITY;
            for (int i = 0; i < 2 && !is_valid(d, b, t); i++) {
                set_token(d, hidden[i], 3, b, t, x);
            }
            for (int i = 0; i < 4 && !is_valid(d, b, t); i++) {
                set_token(d, heads[i], 4, b, t, x);
            }
            for (int i = 0; i < 2 && unpadded > 0 && hidden[i]->data != NULL; i++) {
                int64_t index[3] = {b, t, 0};
                int drop = hidden[i]->rank == 2 ? 1 : 0;
                for (int e = unpadded; e < d->hidden; e++) {
                    index[2] = e;
                    random_set(hidden[i], index + drop, 0.0);
                }
            }
        }
    }
}

/* Plant NaN in a few valid tokens. Before the masks are drawn. */
static void plant_nan(draft *d)
{
    random_case *c = d->c;
    gqa_inputs *in = &d->call->inputs;
    bool hide = c->choice[OPT_NAN] == 1;
    if (c->choice[OPT_NAN] == 0 || d->borrow) {
        return;
    }
    for (int b = 0; b < c->batch; b++) {
        for (int t = 0; t < d->T; t++) {
            int part = random_below(c, 4);
            if (!is_valid(d, b, t) || random_below(c, hide ? 4 : 12) != 0) {
                continue;
            }
            if (hide) {
                d->lines[d->ids[b]].poisoned[d->start[b] + t] = true;
            }
            if (in->q_proj.data == NULL) {
                set_token(d, &in->hidden_states, 3, b, t, (double)NAN);
                continue;
            }
            if (part == 0) {
                set_token(d, &in->q_proj, 4, b, t, (double)NAN);
            }
            if (part != 3) {
                set_token(d, &in->v_proj, 4, b, t, (double)NAN);
            }
            if (part == 0 || part == 3) {
                set_token(d, &in->k_proj, 4, b, t, (double)NAN);
            }
        }
    }
}

static void make_call(random_case *c, line *lines, int T, bool borrow)
{
    const gqa_config *g = &c->config;
    draft d = {.c = c, .call = &c->call[c->calls++], .lines = lines, .T = T, .borrow = borrow};
    d.hq = g->num_attention_heads;
    d.hkv = g->num_key_value_heads;
    d.dk = g->head_dim;
    d.dv = g->v_head_dim > 0 ? g->v_head_dim : g->head_dim;
    d.hidden = g->hidden_size;
    gqa_inputs_init(&d.call->inputs);
    d.call->tokens = T;
    choose_rows(&d);
    choose_padding(&d);
    choose_values(&d);
    pad_values(&d);
    plant_nan(&d);
    choose_positions(&d);
    choose_rotation(&d);
    choose_mask(&d);
    choose_bias(&d);
    choose_active_mask(&d);
    choose_bounds(&d);
}

static void choose_cache(random_case *c)
{
    static const int pages[] = {0, 16, 32, 64, 128, 256, 512};
    static const gqa_dtype k_types[] = {GQA_F32, GQA_F32, GQA_BF16, GQA_BF16, GQA_F32,
                                        GQA_F16, GQA_F16, GQA_I8,   GQA_E4M3, GQA_I4,
                                        GQA_I4,  GQA_I8,  GQA_E4M3};
    static const gqa_dtype v_types[] = {GQA_F32, GQA_F32,  GQA_BF16, GQA_F32, GQA_BF16,
                                        GQA_F16, GQA_BF16, GQA_I8,   GQA_I4,  GQA_E4M3_240,
                                        GQA_I4,  GQA_E4M3, GQA_I8};
    bool bf16 = c->config.numerics == GQA_NUMERICS_BF16;
    int mode = c->choice[OPT_CACHE];
    c->has_cache = mode != 0;
    c->sequences = c->batch + (c->has_cache ? random_below(c, 2) : 0);
    memset(&c->cache, 0, sizeof c->cache);
    c->cache.struct_size = sizeof c->cache;
    c->cache.max_sequences = c->sequences;
    c->cache.page_size = pages[c->choice[OPT_PAGE]];
    c->cache.dtype_k = bf16 && mode < 7 ? GQA_BF16 : k_types[mode];
    c->cache.dtype_v = bf16 && mode < 7 ? GQA_BF16 : v_types[mode];
    c->cache.rotate_k = mode >= 10 ? 1 : 0;
    c->cache.rotate_v = mode == 10 || mode == 12 ? 1 : 0;
}

void random_calls(random_case *c)
{
    line *lines = calloc(LINES, sizeof *lines);
    if (lines == NULL) {
        exit(3);
    }
    c->batch = c->choice[OPT_BATCH] + 1;
    c->calls = 0;
    choose_cache(c);
    bool heavy = c->batch * c->config.num_attention_heads > 12;
    bool is_long = c->choice[OPT_LENGTH] == 2;
    int first = is_long                      ? 257 + random_below(c, heavy ? 8 : 40)
                : c->choice[OPT_LENGTH] == 1 ? 1
                                             : 3 + random_below(c, 9);
    int second[] = {0, is_long && !heavy ? 270 : 2 + random_below(c, 7), 1, 1,
                    2 + random_below(c, 3)};
    int mode = c->choice[OPT_CALLS];
    make_call(c, lines, first, false);
    if (mode > 0) {
        make_call(c, lines, second[mode], false);
    }
    if (mode >= 3) {
        make_call(c, lines, 1, false);
    }
    if (c->choice[OPT_BORROW] != 0) {
        make_call(c, lines, 1 + random_below(c, 3), true);
    }
    c->cache.max_tokens = first + 300;
    free(lines);
}
