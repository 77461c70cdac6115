/* SPDX-License-Identifier: Apache-2.0 */
/* attend_kernels.c - see attend_kernels.h. */
#include "support/attend_kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fold.h"
#include "base/number.h"
#include "support/guarded_buffer.h"
#include "support/random.h"
#include "support/score_changes.h"

static int32_t up(int32_t n, int32_t step)
{
    return (n + step - 1) / step * step;
}

/* Rows [base, base + map.count) of the problem on one tile. */
struct tile {
    const struct gqa__kernels *kernels;
    const struct problem *p;
    struct variant variant;
    struct answer *answer;
    struct gqa__row_map map;
    int32_t base, ld;
    size_t operand; /* bytes */
    struct guarded_buffer q, scratch;
    struct guarded_buffer m[2], l[2], o[2]; /* per block */
    bool merged, ended;                     /* block 1 into block 0; into answer->out and lse */
    bool whole;                             /* no guard byte was written */
};

static void release(struct tile *t, struct guarded_buffer *buffer)
{
    t->whole = guarded_free(buffer) && t->whole;
}

/* The keys of one block as pages would hold them. */
struct page {
    struct guarded_buffer k, v;
    struct guarded_buffer k_scale, v_scale; /* [keys], for FEATURE_SCALES */
    int64_t k_stride, v_stride;
    int32_t first, keys; /* keys: a multiple of panel_keys */
    bool special;
    uint8_t mark[GQA__FOLD_BLOCK]; /* V of the key is finite and 2^64 or more */
};

/* The first half of the n tokens, then the rest; true if a value of V is special. */
static bool append_twice(const struct gqa__kernels *kernels, bool v, struct gqa__append_args args)
{
    struct gqa__append_args rest = args;
    bool special = false;

    args.n = args.n / 2;
    rest.slot = args.n;
    rest.n -= args.n;
    rest.src += args.n * args.src_stride;
    if (v) {
        special = kernels->append_v(&args);
        return kernels->append_v(&rest) || special;
    }
    kernels->append_k(&args);
    kernels->append_k(&rest);
    return false;
}

static struct page load_page(struct tile *t, int32_t first, int32_t n)
{
    const struct gqa__kernels *kernels = t->kernels;
    const struct problem *p = t->p;
    struct page page = {.first = first, .keys = up(n, kernels->panel_keys)};
    const int32_t wide = up(p->dv, kernels->value_step);
    struct guarded_buffer k = guarded_new((size_t)n * (size_t)p->dk * 4);
    struct guarded_buffer v = guarded_new((size_t)n * (size_t)p->dv * 4);

    memcpy(k.data, p->k + (int64_t)first * p->dk, k.size);
    memcpy(v.data, p->v + (int64_t)first * p->dv, v.size);
    page.k_stride = up(p->dk, kernels->depth_step);
    page.v_stride = kernels->v_transposed ? page.keys : wide;
    page.k = guarded_new((size_t)page.keys * (size_t)page.k_stride * t->operand);
    page.v = guarded_new((size_t)page.keys * (size_t)wide * t->operand);
    page.k_scale = guarded_new((size_t)page.keys * 4);
    page.v_scale = guarded_new((size_t)page.keys * 4);
    memset(page.k_scale.data, 0, page.k_scale.size);
    memset(page.v_scale.data, 0, page.v_scale.size);
    memcpy(page.k_scale.data, p->k_scale + first, (size_t)n * 4);
    memcpy(page.v_scale.data, p->v_scale + first, (size_t)n * 4);
    memset(page.k.data, 0, page.k.size);
    memset(page.v.data, 0, page.v.size);
    append_twice(kernels, false,
                 (struct gqa__append_args){.page = page.k.data,
                                           .stride = page.k_stride,
                                           .n = n,
                                           .src = k.data,
                                           .src_stride = p->dk,
                                           .dim = p->dk,
                                           .storage = kernels->operand});
    page.special = append_twice(kernels, true,
                                (struct gqa__append_args){.page = page.v.data,
                                                          .stride = page.v_stride,
                                                          .n = n,
                                                          .src = v.data,
                                                          .src_stride = p->dv,
                                                          .dim = p->dv,
                                                          .storage = kernels->operand});
    for (int32_t i = 0; i < n * p->dv && kernels->operand == GQA_BF16; i++) {
        const float size = fabsf(gqa__round_bf16(((float *)v.data)[i]));
        page.mark[i / p->dv] |= size >= 0x1p64f && isfinite(size);
    }
    release(t, &k);
    release(t, &v);
    return page;
}

/* First key of the block to compute: a multiple of panel_keys. */
static int32_t first_key(const struct tile *t, const struct page *page)
{
    for (int32_t key = 0; key < page->keys && t->variant.skip; key++) {
        for (int32_t r = 0; r < t->map.count; r++) {
            if (problem_sees(t->p, t->base + r, page->first + key)) {
                return key / t->kernels->panel_keys * t->kernels->panel_keys;
            }
        }
    }
    return t->variant.skip ? page->keys : 0;
}

/* The scales from a key on, or NULL. */
static const float *scales_from(const struct tile *t, const struct guarded_buffer *scale,
                                int32_t key)
{
    return t->p->features & FEATURE_SCALES ? (const float *)scale->data + key : NULL;
}

static int32_t piece(const struct tile *t, const struct page *page, int32_t key)
{
    return t->variant.cut ? t->kernels->panel_keys : page->keys - key;
}

static void scores(struct tile *t, const struct page *page, int32_t from, float *s)
{
    for (int32_t key = from; key < page->keys; key += piece(t, page, key)) {
        const unsigned char *k =
            (unsigned char *)page->k.data + (size_t)(key * page->k_stride) * t->operand;
        const struct gqa__score_args args = {.s = s + (int64_t)(key - from) * t->ld,
                                             .q = t->q.data,
                                             .k = k,
                                             .k_stride = page->k_stride,
                                             .keys = piece(t, page, key),
                                             .ld = t->ld,
                                             .dk = t->p->dk,
                                             .scale = scales_from(t, &page->k_scale, key),
                                             .scratch = t->scratch.data};
        t->kernels->score(&args);
    }
}

/* [key][ld] lanes to the answer's [key][rows]. */
static void keep_scores(const struct tile *t, const struct page *page, int32_t from, const float *s,
                        float *to)
{
    for (int32_t key = from; key < page->keys && page->first + key < t->p->keys; key++) {
        for (int32_t r = 0; r < t->map.count; r++) {
            to[(int64_t)(page->first + key) * t->p->rows + t->base + r] =
                gqa__canonical(s[(int64_t)(key - from) * t->ld + r]);
        }
    }
}

static void keep_state(const struct tile *t, int32_t which, int32_t block)
{
    const struct problem *p = t->p;

    for (int32_t r = 0; r < t->map.count; r++) {
        const int64_t at = (int64_t)which * p->rows + t->base + r;
        t->answer->m[at] = ((float *)t->m[block].data)[r];
        t->answer->l[at] = ((float *)t->l[block].data)[r];
        for (int32_t d = 0; d < p->dv; d++) {
            t->answer->o[at * p->dv + d] =
                gqa__canonical(((float *)t->o[block].data)[(int64_t)d * t->ld + r]);
        }
    }
}

/* The entries one after the other, in pieces. */
static void run_entries(struct tile *t, const struct page *page, int32_t from,
                        const struct gqa__score_rules *rules, int32_t block)
{
    const struct gqa__kernels *kernels = t->kernels;
    const int32_t keys = page->keys - from;
    const int marked = page->special ? GQA__ACC_MARKED : 0;
    struct guarded_buffer s = guarded_new((size_t)keys * (size_t)t->ld * 4);
    struct guarded_buffer weights = guarded_new((size_t)keys * (size_t)t->ld * t->operand);

    scores(t, page, from, s.data);
    keep_scores(t, page, from, s.data, t->answer->product);
    kernels->apply_rules(s.data, rules);
    keep_scores(t, page, from, s.data, t->answer->score);
    kernels->softmax(&(struct gqa__softmax_args){.p = weights.data,
                                                 .m = t->m[block].data,
                                                 .l = t->l[block].data,
                                                 .s = s.data,
                                                 .mark = page->special ? page->mark + from : NULL,
                                                 .scale = scales_from(t, &page->v_scale, from),
                                                 .keys = keys,
                                                 .ld = t->ld});
    for (int32_t key = from; key < page->keys; key += piece(t, page, key)) {
        const int32_t n = piece(t, page, key);
        const int first_flag = key == from ? GQA__ACC_FIRST : 0;
        const int64_t offset = kernels->v_transposed ? key : key * page->v_stride;
        const struct gqa__accumulate_args args = {
            .o = t->o[block].data,
            .p = (unsigned char *)weights.data + (size_t)(key - from) * (size_t)t->ld * t->operand,
            .v = (unsigned char *)page->v.data + (size_t)offset * t->operand,
            .v_stride = page->v_stride,
            .keys = n,
            .ld = t->ld,
            .dv = t->p->dv,
            .flags = first_flag | marked,
            .scratch = t->scratch.data};
        kernels->accumulate(&args);
    }
    if (keys == 0) {
        memset(t->o[block].data, 0, t->o[block].size);
    }
    release(t, &s);
    release(t, &weights);
}

/* Every key is seen by every lane, with the score that the product gave. */
static bool unchanged(const struct tile *t, const struct page *page)
{
    return (t->p->features & ~FEATURE_SINK) == 0 && page->first + page->keys <= t->p->keys;
}

/* The kernels' entry for a whole block, from a piece of one panel and one of the rest; left and
 * finish as in struct gqa__block. */
static void run_fused(struct tile *t, const struct page *page, int32_t from,
                      const struct gqa__score_rules *rules, int32_t block,
                      const struct gqa__state *merge_into, int32_t merges,
                      const struct gqa__finish *finish)
{
    const struct gqa__kernels *kernels = t->kernels;
    const size_t scratch = (size_t)GQA__FOLD_BLOCK * (size_t)kernels->tile_rows * 4;
    struct guarded_buffer s = guarded_new(scratch), p = guarded_new(scratch);
    struct gqa__key_run pieces[2];
    struct gqa__block b = {.q = t->q.data,
                           .ld = t->ld,
                           .dk = t->p->dk,
                           .dv = t->p->dv,
                           .rows = t->map.count,
                           .keys = page->keys - from,
                           .run = pieces,
                           .k_type = kernels->operand,
                           .v_type = kernels->operand,
                           .k_scale = scales_from(t, &page->k_scale, from),
                           .v_scale = scales_from(t, &page->v_scale, from),
                           .rules = unchanged(t, page) ? NULL : rules,
                           .s = s.data,
                           .p = p.data,
                           .scratch = t->scratch.data,
                           .state = {t->m[block].data, t->l[block].data, t->o[block].data},
                           .merge_into = merge_into,
                           .merges = merges,
                           .finish = finish};

    for (int32_t key = from; key < page->keys; b.runs++) {
        const int64_t at = kernels->v_transposed ? key : key * page->v_stride;
        struct gqa__key_run *to = &pieces[b.runs];
        to->k = (unsigned char *)page->k.data + (size_t)(key * page->k_stride) * t->operand;
        to->v = (unsigned char *)page->v.data + (size_t)at * t->operand;
        to->k_stride = page->k_stride;
        to->v_stride = page->v_stride;
        to->keys = b.runs == 0 ? kernels->panel_keys : page->keys - key;
        key += to->keys;
    }
    kernels->block(&b);
    release(t, &s);
    release(t, &p);
}

/* Outputs of the tile's rows in guarded buffers, and the arguments that lead there. */
struct ending {
    struct guarded_buffer out, lse, sink;
    struct gqa__finish finish;
};

static void ending_begin(const struct tile *t, struct ending *e)
{
    const struct problem *p = t->p;
    const int64_t tensor_rows = (int64_t)p->tokens * p->group;

    e->out = guarded_new((size_t)(tensor_rows * p->dv) * 4);
    e->lse = guarded_new((size_t)tensor_rows * 4);
    e->sink = guarded_new((size_t)t->ld * 4);
    for (int32_t r = 0; r < t->ld; r++) {
        ((float *)e->sink.data)[r] = r < t->map.count ? p->sink[t->base + r] : -INFINITY;
    }
    e->finish = (struct gqa__finish){.ld = t->ld,
                                     .dv = p->dv,
                                     .sink = p->features & FEATURE_SINK ? e->sink.data : NULL,
                                     .out = e->out.data,
                                     .out_map = t->map,
                                     .stream = t->variant.fused,
                                     .lse = e->lse.data,
                                     .lse_map = t->map};
    e->finish.out_map.token_stride = (int64_t)p->group * p->dv;
    e->finish.out_map.head_stride = p->dv;
    e->finish.lse_map.token_stride = p->group;
    e->finish.lse_map.head_stride = 1;
}

static void ending_keep(struct tile *t, struct ending *e)
{
    const int32_t dv = t->p->dv;

    for (int32_t r = 0; r < t->map.count; r++) {
        const float *from = (float *)e->out.data + gqa__row_offset(&e->finish.out_map, r);
        memcpy(t->answer->out + (int64_t)(t->base + r) * dv, from, (size_t)dv * 4);
        t->answer->lse[t->base + r] =
            ((float *)e->lse.data)[gqa__row_offset(&e->finish.lse_map, r)];
    }
    release(t, &e->out);
    release(t, &e->lse);
    release(t, &e->sink);
}

/* A copy of block 0's state. */
struct copied {
    struct guarded_buffer m, l, o;
    struct gqa__state state;
};

static struct copied copied_state(const struct tile *t)
{
    struct copied c = {guarded_new(t->m[0].size),
                       guarded_new(t->l[0].size),
                       guarded_new(t->o[0].size),
                       {NULL, NULL, NULL}};

    c.state = (struct gqa__state){c.m.data, c.l.data, c.o.data};
    memcpy(c.m.data, t->m[0].data, c.m.size);
    memcpy(c.l.data, t->l[0].data, c.l.size);
    memcpy(c.o.data, t->o[0].data, c.o.size);
    return c;
}

static void copied_free(struct tile *t, struct copied *c)
{
    release(t, &c->m);
    release(t, &c->l);
    release(t, &c->o);
}

/* The last block once more, finished by the entry itself. */
static void run_ending(struct tile *t, const struct page *page, int32_t from,
                       const struct gqa__score_rules *rules, int32_t block)
{
    struct copied left = copied_state(t);
    struct ending end;

    ending_begin(t, &end);
    run_fused(t, page, from, rules, block, &left.state, block, &end.finish);
    ending_keep(t, &end);
    t->ended = true;
    copied_free(t, &left);
}

/* Once more, merged by the entry itself into block 0 and that one into a neutral state. */
static void run_merging(struct tile *t, const struct page *page, int32_t from,
                        const struct gqa__score_rules *rules)
{
    struct copied copied = copied_state(t);
    const struct gqa__state left[2] = {copied.state, {t->m[0].data, t->l[0].data, t->o[0].data}};

    memset(left[1].l, 0, t->l[0].size);
    memset(left[1].o, 0, t->o[0].size);
    for (int32_t r = 0; r < t->ld; r++) {
        left[1].m[r] = -INFINITY;
    }
    run_fused(t, page, from, rules, 1, left, 2, NULL);
    t->merged = true;
    copied_free(t, &copied);
}

static void run_block(struct tile *t, int32_t block)
{
    const int32_t first = block * GQA__FOLD_BLOCK;
    const int32_t left = t->p->keys - first;
    struct page page = load_page(t, first, left < GQA__FOLD_BLOCK ? left : GQA__FOLD_BLOCK);
    const int32_t from = first_key(t, &page);
    const bool fused = t->variant.fused && !page.special && page.keys > from;
    const struct changed_rows rows = {t->p, t->base, t->map.count, t->ld};
    struct score_changes changes;

    score_changes_open(&changes, &rows, first + from, page.keys - from);
    if (fused && t->kernels->lane_bias) {
        score_changes_by_lane(&changes);
    }
    if (fused && t->kernels->block != NULL) {
        run_fused(t, &page, from, &changes.rules, block, NULL, 0, NULL);
    } else {
        run_entries(t, &page, from, &changes.rules, block);
    }
    keep_state(t, block, block);
    if (fused && t->kernels->block_ends) {
        if (left <= GQA__FOLD_BLOCK) {
            run_ending(t, &page, from, &changes.rules, block);
        }
        if (block == 1) {
            run_merging(t, &page, from, &changes.rules);
        }
    }
    t->whole = score_changes_close(&changes) && t->whole;
    release(t, &page.k);
    release(t, &page.v);
    release(t, &page.k_scale);
    release(t, &page.v_scale);
}

static bool run_tile(struct tile *t)
{
    const struct gqa__kernels *kernels = t->kernels;
    const struct problem *p = t->p;
    const int32_t blocks = (p->keys + GQA__FOLD_BLOCK - 1) / GQA__FOLD_BLOCK;
    struct guarded_buffer q = guarded_new((size_t)p->tokens * (size_t)p->group * (size_t)p->dk * 4);
    struct ending end;

    memcpy(q.data, p->q, q.size);
    t->q = guarded_new(kernels->q_bytes(p->dk, t->ld));
    t->scratch = guarded_new(kernels->scratch_bytes);
    if (kernels->enter != NULL) {
        kernels->enter();
    }
    kernels->pack_q(&(struct gqa__pack_q_args){.dst = t->q.data,
                                               .q = q.data,
                                               .map = &t->map,
                                               .ld = t->ld,
                                               .dk = p->dk,
                                               .scale = p->scale});
    release(t, &q);
    for (int32_t i = 0; i < 2; i++) {
        t->m[i] = guarded_new((size_t)t->ld * 4);
        t->l[i] = guarded_new((size_t)t->ld * 4);
        t->o[i] = guarded_new((size_t)t->ld * (size_t)p->dv * 4);
    }
    for (int32_t block = 0; block < blocks; block++) {
        run_block(t, block);
    }
    if (blocks > 1 && !t->merged) {
        const struct gqa__state into = {t->m[0].data, t->l[0].data, t->o[0].data};
        const struct gqa__state other = {t->m[1].data, t->l[1].data, t->o[1].data};
        kernels->merge(&into, &other, p->dv, t->ld);
    }
    keep_state(t, 2, 0);
    if (!t->ended) {
        ending_begin(t, &end);
        end.finish.m = t->m[0].data;
        end.finish.l = t->l[0].data;
        end.finish.o = t->o[0].data;
        kernels->finish(&end.finish);
        ending_keep(t, &end);
    }
    if (kernels->leave != NULL) {
        kernels->leave();
    }
    for (int32_t i = 0; i < 2; i++) {
        release(t, &t->m[i]);
        release(t, &t->l[i]);
        release(t, &t->o[i]);
    }
    release(t, &t->q);
    release(t, &t->scratch);
    return t->whole;
}

bool attend(const struct gqa__kernels *kernels, const struct problem *p, struct variant variant,
            struct answer *answer)
{
    bool whole = true;

    for (int32_t base = 0; base < p->rows; base += kernels->tile_rows) {
        const int32_t left = p->rows - base;
        struct tile t = {
            .kernels = kernels, .p = p, .variant = variant, .answer = answer, .base = base};
        t.map.token_stride = (int64_t)p->group * p->dk;
        t.map.head_stride = p->dk;
        t.map.group = p->group;
        t.map.first = p->first + base;
        t.map.count = left < kernels->tile_rows ? left : kernels->tile_rows;
        t.ld = up(t.map.count, kernels->lanes);
        t.operand = kernels->operand == GQA_F32 ? 4 : 2;
        t.whole = true;
        whole = run_tile(&t) && whole;
    }
    return whole;
}

int same_answers(const struct problem *p, const struct answer *a, const struct answer *b,
                 bool with_scores)
{
    const int64_t block = (int64_t)p->rows * (p->keys > GQA__FOLD_BLOCK ? 2 : 1);
    const int64_t merged = 2 * (int64_t)p->rows, scored = (int64_t)p->keys * p->rows;

    return (!with_scores || (same_floats("product", a->product, b->product, scored) &&
                             same_floats("score", a->score, b->score, scored))) &&
           same_floats("m", a->m, b->m, block) && same_floats("l", a->l, b->l, block) &&
           same_floats("o", a->o, b->o, block * p->dv) &&
           same_floats("merged m", a->m + merged, b->m + merged, p->rows) &&
           same_floats("merged l", a->l + merged, b->l + merged, p->rows) &&
           same_floats("merged o", a->o + merged * p->dv, b->o + merged * p->dv,
                       (int64_t)p->rows * p->dv) &&
           same_floats("out", a->out, b->out, (int64_t)p->rows * p->dv) &&
           same_floats("lse", a->lse, b->lse, p->rows);
}
