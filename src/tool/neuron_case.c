/* SPDX-License-Identifier: Apache-2.0 */
/* neuron_case.c - see neuron_case.h. */
#include "tool/neuron_case.h"

#include <string.h>

#include "tool/meta.h"

bool tool_neuron_is_case(const struct tool_file *file)
{
    const char *const schema = tool_file_text(file, "schema");

    return schema != NULL && strcmp(schema, TOOL_NEURON_SCHEMA) == 0;
}

/* --- tensors -----------------------------------------------------------------------------------
 */

/* An input of the call: floats or bytes of a mask; absent if the file has none. */
struct view_rule {
    const char *name;
    gqa_tensor *view;
    bool mask;
};

static bool read_view(const struct tool_neuron_case *c, const struct view_rule *rule,
                      struct tool_fault *fault)
{
    const struct tool_tensor *const tensor = tool_file_find(c->file, rule->name);
    gqa_tensor *const view = rule->view;

    if (tensor == NULL) {
        return true;
    }
    if (tensor->rank < 1 || tensor->rank > 4) {
        return tool_fault_set(fault, c->path, "tensor %.80s has %d dimensions; at most 4",
                              rule->name, (int)tensor->rank);
    }
    if (rule->mask ? tensor->dtype != TOOL_U8
                   : tensor->dtype != TOOL_F32 && tensor->dtype != TOOL_BF16) {
        return tool_fault_set(fault, c->path, "tensor %.80s is %s; it must be %s", rule->name,
                              tool_dtype_name(tensor->dtype), rule->mask ? "U8" : "F32 or BF16");
    }
    view->data = (void *)(uintptr_t)tensor->data;
    view->dtype = rule->mask ? GQA_U8 : tensor->dtype == TOOL_BF16 ? GQA_BF16 : GQA_F32;
    view->rank = tensor->rank;
    memcpy(view->shape, tensor->shape, sizeof view->shape);
    return true;
}

/* Integers of a tensor of n elements; NULL if the file has none. */
static const int32_t *read_ints(const struct tool_neuron_case *c, const char *name, int64_t n,
                                struct tool_fault *fault)
{
    const struct tool_tensor *const tensor = tool_file_find(c->file, name);

    if (tensor == NULL) {
        return NULL;
    }
    if (tensor->dtype != TOOL_I32 || tensor->count != n) {
        tool_fault_set(fault, c->path,
                       "tensor %.80s has %lld elements of %s; it must have %lld of I32", name,
                       (long long)tensor->count, tool_dtype_name(tensor->dtype), (long long)n);
        return NULL;
    }
    return tensor->data;
}

static bool read_views(struct tool_neuron_case *c, struct tool_fault *fault)
{
    gqa_neuron_call *const call = &c->call;
    const bool new_keys = tool_file_find(c->file, "k_new") != NULL;
    const struct view_rule rules[] = {
        {"q", &call->q, false},
        {new_keys ? "k_new" : "k", &call->k, false},
        {new_keys ? "v_new" : "v", &call->v, false},
        {"k_prior", &call->k_prior, false},
        {"v_prior", &call->v_prior, false},
        {"k_cache", &call->k_cache, false},
        {"v_cache", &call->v_cache, false},
        {"sinks", &call->sinks, false},
        {"mask", &call->mask, true},
        {"prior_mask", &call->prior_mask, true},
        {"active_mask", &call->active_mask, true},
    };

    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if (!read_view(c, &rules[i], fault)) {
            return false;
        }
    }
    return true;
}

/* --- what is expected --------------------------------------------------------------------------
 */

/* What the judge reads beside a tensor has as many elements as it must. */
static bool check_beside(const struct tool_neuron_case *c, const char *name, enum tool_dtype dtype,
                         int64_t count, struct tool_fault *fault)
{
    const struct tool_tensor *const tensor = tool_file_find(c->file, name);

    if (tensor != NULL && (tensor->dtype != dtype || tensor->count != count)) {
        return tool_fault_set(fault, c->path,
                              "tensor %.80s has %lld elements of %s; it must have %lld of %s", name,
                              (long long)tensor->count, tool_dtype_name(tensor->dtype),
                              (long long)count, tool_dtype_name(dtype));
    }
    return true;
}

/* exp.out is there, floats of the shape of q; bounds, units and the exact result fit it. */
static bool check_neuron_expected(const struct tool_neuron_case *c, struct tool_fault *fault)
{
    const struct tool_tensor *const out = tool_file_find(c->file, "exp.out");
    const struct tool_tensor *const q = tool_file_find(c->file, "q");
    int64_t dim;

    if (out == NULL || q == NULL) {
        return tool_fault_set(fault, c->path, "there is no tensor %s", q == NULL ? "q" : "exp.out");
    }
    if (out->rank != q->rank || memcmp(out->shape, q->shape, (size_t)q->rank * 8) != 0 ||
        (out->dtype != TOOL_F32 && out->dtype != TOOL_BF16)) {
        return tool_fault_set(fault, c->path,
                              "tensor exp.out must have the shape of q, as F32 or BF16");
    }
    dim = out->shape[out->rank - 1];
    return check_beside(c, "ulps.out", TOOL_U8, out->count, fault) &&
           check_beside(c, "bound.out", TOOL_F32, dim > 0 ? out->count / dim : 0, fault) &&
           check_beside(c, "f64.out", TOOL_F32, out->count, fault);
}

/* --- metadata ----------------------------------------------------------------------------------
 */

static int32_t number(const struct tool_neuron_case *c, const char *key, struct tool_fault *fault)
{
    return tool_file_text(c->file, key) == NULL
               ? 0
               : tool_meta_int(c->file, key, INT32_MIN, INT32_MAX, fault);
}

static gqa_neuron_profile profile_of(const struct tool_neuron_case *c, struct tool_fault *fault)
{
    const char *const text = tool_file_text(c->file, "profile");

    for (int i = GQA_NEURON_FLASH_FWD; text != NULL && i <= GQA_NEURON_PAGED_SCHEDULE; i++) {
        if (strcmp(text, gqa_neuron_profile_name((gqa_neuron_profile)i)) == 0) {
            return (gqa_neuron_profile)i;
        }
    }
    tool_fault_set(fault, c->path, "metadata profile is %.80s; it must name one of Neuron's",
                   text == NULL ? "missing" : text);
    return GQA_NEURON_NO_PROFILE;
}

static enum tool_neuron_maps maps_of(const char *profile)
{
    static const char *const names[] = {"maps_strategy", "maps_heads", "maps_caches",
                                        "maps_schedule"};

    for (int i = 0; profile != NULL && i < 4; i++) {
        if (strcmp(profile, names[i]) == 0) {
            return (enum tool_neuron_maps)(TOOL_MAPS_STRATEGY + i);
        }
    }
    return TOOL_MAPS_NONE;
}

static gqa_neuron_release release_of(const struct tool_neuron_case *c)
{
    static const struct {
        const char *text;
        gqa_neuron_release release;
    } releases[] = {
        {"2.26", GQA_NEURON_2_26}, {"2.27", GQA_NEURON_2_27}, {"2.29", GQA_NEURON_2_29}};
    const char *const text = tool_file_text(c->file, "release");

    for (size_t i = 0; text != NULL && i < sizeof releases / sizeof releases[0]; i++) {
        if (strcmp(text, releases[i].text) == 0) {
            return releases[i].release;
        }
    }
    return GQA_NEURON_NEWEST; /* several, or none: whichever has the profile */
}

static void read_flash(struct tool_neuron_case *c, struct tool_fault *fault)
{
    gqa_neuron_call *const call = &c->call;

    call->window = number(c, "window", fault);
    call->seq_tile = number(c, "seq_tile", fault);
    call->attn_core_tile = number(c, "attn_core_tile", fault);
    call->windowed_context_encoding = number(c, "windowed_context_encoding", fault);
    call->scale = (float)tool_meta_number(c->file, "softmax_scale_f32", fault);
}

/* Rows of q, [B, T, heads, D] or [T, heads, D]. */
static int64_t tokens_of(const gqa_tensor *q)
{
    return q->rank == 4 ? q->shape[1] : q->rank == 3 ? q->shape[0] : 0;
}

static void read_cte(struct tool_neuron_case *c, struct tool_fault *fault)
{
    gqa_neuron_call *const call = &c->call;

    call->bidirectional = number(c, "causal", fault) == 0;
    call->window = number(c, "window", fault);
    call->scale = (float)tool_meta_number(c->file, "scale", fault);
    call->prior_used = number(c, "prior_used", fault);
    call->cp_degree = number(c, "cp_deg", fault);
    call->cp_offset = number(c, "cp_offset", fault);
    call->cp_strided = number(c, "cp_strided", fault);
    call->bound_min = read_ints(c, "bound_min", tokens_of(&call->q), fault);
    call->bound_max = read_ints(c, "bound_max", tokens_of(&call->q), fault);
}

static void read_flash_decoding(struct tool_neuron_case *c, struct tool_fault *fault)
{
    gqa_neuron_call *const call = &c->call;

    call->ranks = number(c, "ranks", fault);
    call->positions = read_ints(
        c, "positions", (call->q.rank == 4 ? call->q.shape[0] : 1) * tokens_of(&call->q), fault);
}

static void read_paged(struct tool_neuron_case *c, struct tool_fault *fault)
{
    gqa_neuron_call *const call = &c->call;
    const struct tool_tensor *const table = tool_file_find(c->file, "block_table");

    call->requests = number(c, "requests", fault);
    call->query_lens = read_ints(c, "query_lens", call->requests, fault);
    call->context_lens = read_ints(c, "context_lens", call->requests, fault);
    call->block_table_width = table != NULL && table->rank == 2 ? (int32_t)table->shape[1] : 0;
    call->block_table =
        read_ints(c, "block_table", (int64_t)call->requests * call->block_table_width, fault);
    call->q_tile = number(c, "q_tile", fault);
    call->kv_tile = number(c, "kv_tile", fault);
    call->row_order = number(c, "column_order", fault) == 0;
    call->tiles_padded = number(c, "tiles_padded", fault);
    call->skip_value = number(c, "skip_value", fault);
    call->scale = (float)tool_meta_number(c->file, "softmax_scale_f32", fault);
}

bool tool_neuron_load(struct tool_neuron_case *c, const struct tool_file *file,
                      struct tool_fault *fault)
{
    memset(c, 0, sizeof *c);
    c->file = file;
    c->path = file->path;
    c->name = tool_file_text(file, "case");
    c->name = c->name == NULL ? file->path : c->name;
    if (!tool_neuron_is_case(file)) {
        return tool_fault_set(fault, file->path, "metadata schema is not %s", TOOL_NEURON_SCHEMA);
    }
    gqa_neuron_call_init(&c->call);
    c->profile = tool_file_text(file, "profile");
    c->maps = maps_of(c->profile);
    if (c->maps != TOOL_MAPS_NONE) {
        return true;
    }
    c->call.profile = profile_of(c, fault);
    c->call.release = release_of(c);
    if (fault->text[0] != '\0' || !read_views(c, fault) || !check_neuron_expected(c, fault)) {
        return false;
    }
    switch (c->call.profile) {
    case GQA_NEURON_FLASH_FWD:
        read_flash(c, fault);
        break;
    case GQA_NEURON_CTE:
        read_cte(c, fault);
        break;
    case GQA_NEURON_FLASH_DECODING:
        read_flash_decoding(c, fault);
        break;
    case GQA_NEURON_PAGED_SCHEDULE:
        read_paged(c, fault);
        break;
    default: /* the native paths take tensors only */
        break;
    }
    return fault->text[0] == '\0';
}
