/* SPDX-License-Identifier: Apache-2.0 */
/* differential_form.c - the same call once more in another form, which must give the same bits.
 *
 * The plain form of a call has a tap and shows every stage as packed f32. The other form is drawn:
 * mostly no tap, a trace in half of the cases; inputs of the same values with other strides, and
 * 16-bit ones now and then as f32; each output there or not, in f32, bf16 or f16, with strides of
 * its own, or on an input. What an output holds is the plain form's number, rounded to its format:
 * no shortcut that the library takes where nobody looks may change it.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "layer/layer.h"
#include "support/differential.h"

typedef enum arrangement {
    PACKED,
    ZERO,    /* strides 0, which stand for packed */
    ROWS,    /* a gap behind each token, its heads side by side */
    GAPS,    /* gaps everywhere, and not aligned to more than an element */
    SWAPPED, /* the two dimensions before the last lie the other way round in memory */
    ARRANGEMENTS
} arrangement;

static size_t element_size(gqa_dtype dtype)
{
    return dtype == GQA_F32 ? 4 : 2;
}

gqa_tensor form_tensor(random_case *c, gqa_dtype dtype, int rank, const int64_t *shape, int inner)
{
    arrangement how = (arrangement)random_below(c, ARRANGEMENTS);
    gqa_tensor t = {.dtype = dtype, .rank = rank};
    int order[4] = {0, 1, 2, 3};
    int64_t step = 1;
    if (how == SWAPPED && rank >= 3) {
        order[rank - 3] = rank - 2;
        order[rank - 2] = rank - 3;
    }
    for (int i = rank - 1; i >= 0; i--) {
        int d = order[i];
        t.shape[d] = shape[d];
        t.stride[d] = step;
        step = step * shape[d] + (how == GAPS || (how == ROWS && rank - i == inner) ? 5 : 0);
    }
    size_t size = (size_t)(step + 2) * element_size(dtype);
    unsigned char *memory = random_memory(c, size, 1);
    memset(memory, 0xff, size);
    t.data = memory + (how == GAPS ? element_size(dtype) : 0);
    if (how == ZERO) {
        memset(t.stride, 0, sizeof t.stride);
    }
    return t;
}

/* Element `index` of t in row-major order: its index per dimension. */
static void unfold(const gqa_tensor *t, int64_t element, int64_t *index)
{
    for (int i = t->rank - 1; i >= 0; i--) {
        index[i] = element % t->shape[i];
        element /= t->shape[i];
    }
}

static int64_t count_of(const gqa_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) {
        n *= t->shape[i];
    }
    return n;
}

static double value_at(const gqa_tensor *t, const int64_t *index)
{
    int64_t at[4] = {0};
    for (int i = 0; i < t->rank; i++) {
        at[4 - t->rank + i] = index[i];
    }
    return oracle_at(t, at[0], at[1], at[2], at[3]);
}

void form_input(random_case *c, gqa_tensor *t, int inner)
{
    int64_t index[4] = {0};
    if (t->data == NULL) {
        return;
    }
    gqa_dtype dtype = random_below(c, 2) != 0 ? GQA_F32 : t->dtype;
    gqa_tensor other = form_tensor(c, dtype, t->rank, t->shape, inner);
    for (int64_t i = 0; i < count_of(t); i++) {
        unfold(t, i, index);
        random_set(&other, index, value_at(t, index));
    }
    *t = other;
}

void form_compare(const differential_place *place, const char *what, const gqa_tensor *got,
                  const float *want, bool heads_first)
{
    int64_t index[4] = {0};
    int64_t n = count_of(got);
    for (int64_t i = 0; i < n; i++) {
        unfold(got, i, index);
        int64_t at = i;
        if (heads_first) { /* got [B, H, T, D], want [B][T][H][D] */
            at =
                ((index[0] * got->shape[2] + index[2]) * got->shape[1] + index[1]) * got->shape[3] +
                index[3];
        }
        double x = value_at(got, index);
        double y = oracle_round((double)want[at], got->dtype);
        if ((x == y && signbit(x) == signbit(y)) || (isnan(x) && isnan(y))) {
            continue;
        }
        fprintf(stderr,
                "%s, call %d, in another form: element %lld is %.9g; in the plain form %.9g\n",
                what, place->call, (long long)i, x, y);
        if (place->stats->failures++ == 0) {
            random_print(stderr, place->c);
        }
        return;
    }
}

void form_margins(const differential_place *place, const char *what, const gqa_tensor *t)
{
    size_t size = element_size(t->dtype);
    unsigned char *bytes = t->data;
    bool packed = t->stride[t->rank - 1] == 0;
    int64_t last = packed ? count_of(t) - 1 : 0;
    int64_t index[4] = {0};
    for (int64_t i = 0; i < count_of(t); i++) { /* paint the elements over */
        int64_t at = packed ? i : 0;
        unfold(t, i, index);
        for (int d = 0; d < t->rank; d++) {
            at += index[d] * t->stride[d];
        }
        memset(bytes + (size_t)at * size, 0xff, size);
        last = at > last ? at : last;
    }
    for (size_t i = 0; i < (size_t)(last + 2) * size; i++) {
        if (bytes[i] != 0xff) {
            fprintf(stderr, "%s, call %d, in another form: written between its elements\n", what,
                    place->call);
            if (place->stats->failures++ == 0) {
                random_print(stderr, place->c);
            }
            return;
        }
    }
}

/* --- gqa_forward ------------------------------------------------------------------------------ */

static void ignore_tap(void *user, gqa_stage stage, int32_t b, int32_t first,
                       const gqa_tensor *tensor)
{
    (void)user, (void)stage, (void)b, (void)first, (void)tensor;
}

static void ignore_tile(void *user, const gqa_tile *tile)
{
    (void)user, (void)tile;
}

/* One output: what it must hold. */
struct sheet {
    gqa_tensor *tensor;
    const char *what;
    const float *want; /* [B][T][heads][dim] */
    int heads, dim;    /* heads 0: [B, T, dim] */
    bool heads_first;  /* [B, heads, T, dim] */
    bool f32;          /* has no other format */
};

enum { SHEETS = 8 };

static int list_sheets(const random_case *c, const differential_plain *plain,
                       const random_call *call, gqa_output *out, struct sheet *sheets)
{
    const gqa_config *g = &c->config;
    int hq = g->num_attention_heads;
    int hkv = g->num_key_value_heads;
    int dv = g->v_head_dim > 0 ? g->v_head_dim : g->head_dim;
    int pairs = (g->rotary_dim > 0 ? g->rotary_dim : g->head_dim) / 2;
    const float *const *stage = (const float *const *)plain->stage;
    const float *attn = g->gate != GQA_GATE_NONE ? stage[GQA_STAGE_GATED] : stage[GQA_STAGE_ATTN];
    int n = 0;
    bool sum = call->inputs.hidden_states.data != NULL && stage[GQA_STAGE_RESIDUAL] != NULL;
    if (c->choice[OPT_STOP] != 2) {
        sheets[n++] = (struct sheet){
            &out->hidden_states, "out", stage[GQA_STAGE_OUT], 0, g->hidden_size, false, false};
    }
    sheets[n++] = (struct sheet){&out->attn, "attn", attn, hq, dv, false, false};
    if (sum) {
        sheets[n++] = (struct sheet){
            &out->residual, "residual", stage[GQA_STAGE_RESIDUAL], 0, g->hidden_size, false, false};
    }
    if (call->appends) {
        sheets[n++] = (struct sheet){&out->present_key_value.k,
                                     "present k",
                                     stage[GQA_STAGE_K],
                                     hkv,
                                     g->head_dim,
                                     true,
                                     false};
        sheets[n++] = (struct sheet){
            &out->present_key_value.v, "present v", stage[GQA_STAGE_V], hkv, dv, true, false};
    }
    if (g->rope != GQA_ROPE_NONE) {
        sheets[n++] = (struct sheet){&out->cos_cache, "cos", plain->cos, 0, pairs, false, true};
        sheets[n++] = (struct sheet){&out->sin_cache, "sin", plain->sin, 0, pairs, false, true};
    }
    sheets[n++] = (struct sheet){&out->lse, "lse", plain->lse, 0, hq, false, true};
    return n;
}

static void give(random_case *c, int tokens, struct sheet *sheet)
{
    int64_t flat[3] = {c->batch, tokens, sheet->dim};
    int64_t heads[4] = {c->batch, tokens, sheet->heads, sheet->dim};
    gqa_dtype dtype = sheet->f32 ? GQA_F32 : (gqa_dtype)random_below(c, 3);
    if (sheet->heads_first) {
        heads[1] = sheet->heads;
        heads[2] = tokens;
    }
    if (sheet->heads == 0) {
        *sheet->tensor = form_tensor(c, dtype, 3, flat, 1);
    } else {
        *sheet->tensor = form_tensor(c, dtype, 4, heads, sheet->heads_first ? 1 : 2);
    }
}

/* Outputs on inputs: hidden_states and residual of either side, each at most once. */
static void share(random_case *c, gqa_inputs *in, gqa_output *out, differential_stats *stats)
{
    gqa_tensor *from[2] = {&in->hidden_states, &in->residual};
    gqa_tensor *to[2] = {&out->hidden_states, &out->residual};
    int first = random_below(c, 2);
    for (int i = 0; i < 2; i++) {
        const gqa_tensor *place = from[(first + i) % 2];
        if (to[i]->data != NULL && place->data != NULL && random_below(c, 2) != 0) {
            *to[i] = *place;
            stats->shared++;
        }
    }
}

static int valid_tokens(const differential_plain *plain, int b)
{
    int n = 0;
    for (int t = 0; t < plain->tokens; t++) {
        n += plain->valid[b * plain->tokens + t] ? 1 : 0;
    }
    return n;
}

/* The phase that gqa_path documents: TKG when every active row has a past. */
static gqa_phase phase_of(const random_case *c, const gqa_cache *cache, const random_call *call,
                          const differential_plain *plain)
{
    const gqa_inputs *in = &call->inputs;
    bool any = false;
    bool all = true;
    for (int b = 0; b < c->batch; b++) {
        int id = in->sequences != NULL ? in->sequences[b] : b;
        int length = cache != NULL && id >= 0 ? gqa_cache_length(cache, id) : 0;
        int past = call->appends ? length : length - valid_tokens(plain, b);
        bool tkg = in->phase == GQA_PHASE_AUTO ? past > 0 : in->phase == GQA_PHASE_TKG;
        any = any || id >= 0;
        all = all && (id < 0 || tkg);
    }
    return any && all ? GQA_PHASE_TKG : GQA_PHASE_CTE;
}

void form_path(const differential_place *place, const gqa_layer *layer, const gqa_path *path,
               gqa_phase phase, gqa_view view)
{
    static const char *const isas[] = {"auto", "scalar", "avx2", "avx512", "amx", "neon"};
    char name[32];
    const gqa_config *g = &place->c->config;
    gqa_path_kind kind = g->attention_chunk_size > 0 ? GQA_PATH_CHUNKED
                         : g->sliding_window > 0     ? GQA_PATH_SLIDING_WINDOW
                                                     : GQA_PATH_STANDARD;
    snprintf(name, sizeof name, "%s/%s", isas[gqa_layer_isa(layer)],
             g->numerics == GQA_NUMERICS_BF16 ? "bf16" : "f32");
    bool alone = place->backend == GQA_BACKEND_REFERENCE || place->c->choice[OPT_THREADS] < 2;
    if (path->kind == kind && path->phase == phase && path->view == view &&
        path->backend == place->backend && path->isa == gqa_layer_isa(layer) &&
        strcmp(path->kernels, name) == 0 && (!alone || path->cut == GQA_CUT_ROWS)) {
        return;
    }
    fprintf(stderr, "path, call %d: kind %d phase %d cut %d view %d backend %d isa %d %s\n",
            place->call, (int)path->kind, (int)path->phase, (int)path->cut, (int)path->view,
            (int)path->backend, (int)path->isa, path->kernels);
    if (place->stats->failures++ == 0) {
        random_print(stderr, place->c);
    }
}

/* Draw what the other form has, from the plain form's inputs. Returns the number of outputs. */
static int draw_form(random_case *c, const random_call *call, const differential_plain *plain,
                     gqa_inputs *in, gqa_output *out, struct sheet *sheets,
                     differential_stats *stats)
{
    int n = list_sheets(c, plain, call, out, sheets);
    int flat = call->inputs.q_proj.data == NULL ? 0 : 1;
    int watch;
    for (int i = 0; i < n; i++) {
        if (random_below(c, 2) != 0) {
            give(c, plain->tokens, &sheets[i]);
        }
    }
    if (out->hidden_states.data == NULL && out->attn.data == NULL) {
        give(c, plain->tokens, &sheets[0]);
    }
    watch = random_below(c, 4);
    in->tap = watch == 0 ? ignore_tap : NULL;
    in->trace = watch < 2 && c->config.backend == GQA_BACKEND_CPU ? ignore_tile : NULL;
    if (flat == 1 && out->residual.data == NULL &&
        (out->hidden_states.data == NULL || c->config.add_residual == 0)) {
        memset(&in->hidden_states, 0, sizeof in->hidden_states);
        memset(&in->residual, 0, sizeof in->residual);
    }
    form_input(c, &in->hidden_states, 1);
    form_input(c, &in->residual, 1);
    form_input(c, &in->q_proj, 2);
    form_input(c, &in->k_proj, 2);
    form_input(c, &in->v_proj, 2);
    form_input(c, &in->gate_proj, 2);
    form_input(c, &in->cos_cache, 1);
    form_input(c, &in->sin_cache, 1);
    share(c, in, out, stats);
    return n;
}

bool form_forward(random_case *c, const differential_place *place, gqa_layer *layer,
                  gqa_cache *cache, const gqa_inputs *inputs, const differential_plain *plain)
{
    static const int32_t blocks[] = {0, 0, 3, 7};
    const random_call *call = &c->call[place->call];
    int32_t block = layer->params.knobs.token_block;
    gqa_phase phase = phase_of(c, cache, call, plain);
    struct sheet sheets[SHEETS];
    uint64_t state = c->state;
    gqa_inputs in = *inputs;
    gqa_output out;
    gqa_error err = {0};
    gqa_output_init(&out);
    c->state = c->seed * 31u + (uint64_t)(8 * place->call + (int)place->backend);
    int n = draw_form(c, call, plain, &in, &out, sheets, place->stats);
    if (place->backend == GQA_BACKEND_CPU) { /* the other one's products go by the block's shape */
        layer->params.knobs.token_block = blocks[random_below(c, 4)];
    }
    gqa_status status = gqa_forward(layer, cache, &in, &out, NULL, 0, &err);
    layer->params.knobs.token_block = block;
    c->state = state;
    if (status != GQA_OK) {
        fprintf(stderr, "gqa_forward in another form: %s\n", err.message);
        if (place->stats->failures++ == 0) {
            random_print(stderr, c);
        }
        return false;
    }
    place->stats->forms++;
    form_path(place, layer, &out.path, phase, cache != NULL ? GQA_VIEW_PAGED : GQA_VIEW_CALL);
    for (int i = 0; i < n; i++) {
        if (sheets[i].tensor->data != NULL) {
            form_compare(place, sheets[i].what, sheets[i].tensor, sheets[i].want,
                         sheets[i].heads_first);
            form_margins(place, sheets[i].what, sheets[i].tensor);
        }
    }
    return true;
}

/* --- gqa_attend ------------------------------------------------------------------------------- */

/* A cache that holds the plain keys; NULL if this backend's draw goes without. */
static gqa_cache *cache_of(random_case *c, const gqa_layer *layer, const gqa_attend_inputs *in,
                           int batch, int keys)
{
    static const int32_t pages[] = {16, 32, 64, 128, 256, 512};
    gqa_cache *cache = NULL;
    gqa_cache_options options;
    gqa_cache_options_init(&options, layer);
    options.max_sequences = batch;
    options.max_tokens = keys;
    options.page_size = pages[random_below(c, 6)];
    bool good = gqa_cache_create(&cache, layer, &options, NULL) == GQA_OK;
    for (int b = 0; good && b < batch; b++) {
        const gqa_tensor *from[2] = {&in->key, &in->value};
        gqa_tensor part[2];
        int64_t n = in->key_lengths != NULL ? in->key_lengths[b] : keys;
        for (int i = 0; i < 2; i++) { /* [n, heads, dim] of this row, as f32 */
            int lead = from[i]->rank - 3;
            int64_t shape[3] = {n, from[i]->shape[lead + 1], from[i]->shape[lead + 2]};
            int64_t index[3];
            part[i] = form_tensor(c, GQA_F32, 3, shape, 2);
            for (int64_t e = 0; e < n * shape[1] * shape[2]; e++) {
                unfold(&part[i], e, index);
                random_set(&part[i], index, oracle_at(from[i], b, index[0], index[1], index[2]));
            }
        }
        const int32_t *ids =
            in->key_position_ids != NULL ? in->key_position_ids + (int64_t)b * keys : NULL;
        good = n == 0 || gqa_cache_append(cache, b, &part[0], &part[1], ids, NULL) == GQA_OK;
    }
    if (!good) {
        gqa_cache_destroy(&cache);
    }
    return cache;
}

static gqa_phase attend_phase(const gqa_attend_inputs *in, int batch, int tokens, int keys)
{
    bool all = true;
    for (int b = 0; b < batch; b++) {
        int first = in->first_valid != NULL ? in->first_valid[b] : 0;
        int n = in->lengths != NULL ? in->lengths[b] : tokens - first;
        int length = in->key_lengths != NULL ? in->key_lengths[b] : keys;
        all = all && length > n;
    }
    return in->phase != GQA_PHASE_AUTO ? in->phase : all ? GQA_PHASE_TKG : GQA_PHASE_CTE;
}

/* The states of the plain form, finished. Not with padding: its states say that nothing was seen.
 */
static void form_finish(random_case *c, const differential_place *place, const gqa_layer *layer,
                        const gqa_attend_inputs *in, const gqa_attend_output *plain)
{
    gqa_tensor output = {0}, lse = {0};
    gqa_error err = {0};
    int wish = 1 + random_below(c, 3);
    if (place->backend == GQA_BACKEND_REFERENCE || plain->states.m.data == NULL ||
        in->first_valid != NULL || in->lengths != NULL) {
        return;
    }
    if ((wish & 1) != 0) {
        output = form_tensor(c, (gqa_dtype)random_below(c, 3), 4, plain->output.shape, 2);
    }
    if ((wish & 2) != 0) {
        lse = form_tensor(c, GQA_F32, 3, plain->lse.shape, 1);
    }
    if (gqa_finish_states(layer, &plain->states, in->phase, in->leave_out_sinks, &output, &lse,
                          &err) != GQA_OK) {
        fprintf(stderr, "gqa_finish_states: %s\n", err.message);
        place->stats->failures++;
        random_print(stderr, c);
        return;
    }
    if (output.data != NULL) {
        form_compare(place, "finished output", &output, plain->output.data, false);
        form_margins(place, "finished output", &output);
    }
    if (lse.data != NULL) {
        form_compare(place, "finished lse", &lse, plain->lse.data, false);
        form_margins(place, "finished lse", &lse);
    }
}

void form_attend(random_case *c, const differential_place *place, const gqa_layer *layer,
                 const gqa_attend_inputs *inputs, const gqa_attend_output *plain)
{
    int64_t batch = plain->output.shape[0], tokens = plain->output.shape[1];
    int64_t hq = plain->output.shape[2];
    int64_t rows[3] = {batch, tokens, hq};
    int keys = (int)inputs->key.shape[inputs->key.rank - 3];
    gqa_attend_inputs in = *inputs;
    gqa_attend_output out;
    gqa_error err = {0};
    gqa_cache *cache = NULL;
    gqa_phase phase = attend_phase(inputs, (int)batch, (int)tokens, keys);
    gqa_attend_output_init(&out);
    if (random_below(c, 2) != 0) {
        cache = cache_of(c, layer, &in, (int)batch, keys);
    }
    form_input(c, &in.query, 2);
    form_input(c, &in.key, 2);
    form_input(c, &in.value, 2);
    if (cache != NULL) {
        memset(&in.key, 0, sizeof in.key);
        memset(&in.value, 0, sizeof in.value);
        in.key_lengths = NULL;
        in.key_position_ids = NULL;
    }
    int wish = 1 + random_below(c, 3);
    if ((wish & 1) != 0) {
        out.output = form_tensor(c, (gqa_dtype)random_below(c, 3), 4, plain->output.shape, 2);
    }
    if ((wish & 2) != 0) {
        out.lse = form_tensor(c, GQA_F32, 3, rows, 1);
    }
    gqa_status status = gqa_attend(layer, cache, &in, &out, NULL, 0, &err);
    if (status != GQA_OK) {
        fprintf(stderr, "gqa_attend in another form: %s\n", err.message);
        place->stats->failures++;
        random_print(stderr, c);
    } else {
        place->stats->forms++;
        form_path(place, layer, &out.path, phase, cache != NULL ? GQA_VIEW_PAGED : GQA_VIEW_PLAIN);
    }
    if (status == GQA_OK && out.output.data != NULL) {
        form_compare(place, "attend output", &out.output, plain->output.data, false);
        form_margins(place, "attend output", &out.output);
    }
    if (status == GQA_OK && out.lse.data != NULL) {
        form_compare(place, "attend lse", &out.lse, plain->lse.data, false);
        form_margins(place, "attend lse", &out.lse);
    }
    form_finish(c, place, layer, inputs, plain);
    gqa_cache_destroy(&cache);
}
