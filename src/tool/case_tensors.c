/* SPDX-License-Identifier: Apache-2.0 */
/* case_tensors.c - tensors of a golden file -> weights, inputs, expected values. */
#include <stdio.h>
#include <string.h>

#include "tool/case.h"

/* Which dtypes a tensor may have. */
enum { ANY_FLOAT, ONLY_F32, ONLY_I32, ONLY_U8, ONLY_F64, ONLY_BF16, F32_OR_F64, ANY_RESULT };

/* What the schema says about one tensor of this case. */
struct tensor_rule {
    const char *name;
    bool wanted;        /* else it must be absent */
    bool optional;      /* though wanted it may be absent */
    const char *reason; /* the metadata that decides */
    const char *with;   /* the tensors that come together where the metadata are silent */
    int dtypes;
    int32_t rank;
    int64_t shape[4];
    gqa_tensor *view;     /* set to a view of it, or NULL */
    const void **pointer; /* set to its data, or NULL */
};

#define RULES_MAX 40

struct tensor_rules {
    struct tensor_rule rule[RULES_MAX];
    int n;
};

static const char *const sources[TOOL_SOURCES] = {"f64", "ref", "bf16ref"};

static bool dtype_fits(enum tool_dtype dtype, int dtypes)
{
    static const unsigned fits[] = {1U << TOOL_F32 | 1U << TOOL_BF16,
                                    1U << TOOL_F32,
                                    1U << TOOL_I32,
                                    1U << TOOL_U8,
                                    1U << TOOL_F64,
                                    1U << TOOL_BF16,
                                    1U << TOOL_F32 | 1U << TOOL_F64,
                                    1U << TOOL_F32 | 1U << TOOL_F64 | 1U << TOOL_BF16};

    return (fits[dtypes] >> dtype & 1U) != 0;
}

static bool check_tensor(const struct tool_case *c, const struct tool_tensor *tensor, int dtypes,
                         const int64_t *shape, int32_t rank, struct tool_fault *fault)
{
    static const char *const names[] = {"F32 or BF16", "F32",  "I32",        "U8",
                                        "F64",         "BF16", "F32 or F64", "F32, F64 or BF16"};
    bool same = tensor->rank == rank;
    char is[96], must[96];

    if (!dtype_fits(tensor->dtype, dtypes)) {
        return tool_fault_set(fault, c->path, "tensor %.80s is %s; it must be %s", tensor->name,
                              tool_dtype_name(tensor->dtype), names[dtypes]);
    }
    for (int32_t i = 0; same && i < rank; i++) {
        same = tensor->shape[i] == shape[i];
    }
    if (!same) {
        return tool_fault_set(fault, c->path, "tensor %.80s is %s; it must be %s", tensor->name,
                              tool_shape_text(tensor->shape, tensor->rank, is),
                              tool_shape_text(shape, rank, must));
    }
    return true;
}

static gqa_tensor view_of(const struct tool_tensor *tensor)
{
    gqa_tensor view = {0};

    view.data = (void *)(uintptr_t)tensor->data;
    view.dtype = tensor->dtype == TOOL_BF16 ? GQA_BF16 : GQA_F32;
    view.rank = tensor->rank;
    memcpy(view.shape, tensor->shape, sizeof view.shape);
    return view;
}

/* --- the rules ----------------------------------------------------------------------------------
 */

static struct tensor_rule *add(struct tensor_rules *rules, const char *name, bool wanted,
                               const char *reason, int dtypes)
{
    struct tensor_rule *rule = &rules->rule[rules->n++];

    memset(rule, 0, sizeof *rule);
    rule->name = name;
    rule->wanted = wanted;
    rule->reason = reason;
    rule->with = name;
    rule->dtypes = dtypes;
    return rule;
}

static void shape_of(struct tensor_rule *rule, int32_t rank, int64_t a, int64_t b, int64_t c,
                     int64_t d)
{
    int64_t shape[4] = {a, b, c, d};

    rule->rank = rank;
    memcpy(rule->shape, shape, sizeof shape);
}

static void add_matrix(struct tensor_rules *rules, const struct tool_case *c, const char *name,
                       int64_t rows, int64_t columns, gqa_tensor *view)
{
    struct tensor_rule *rule = add(rules, name, c->block, "stage", ANY_FLOAT);

    shape_of(rule, 2, rows, columns, 0, 0);
    rule->with = "x, wq, wk, wv, wo";
    rule->view = view;
}

static struct tensor_rule *add_vector(struct tensor_rules *rules, const char *name, bool wanted,
                                      const char *reason, int64_t size, gqa_tensor *view)
{
    struct tensor_rule *rule = add(rules, name, wanted, reason, ANY_FLOAT);

    shape_of(rule, 1, size, 0, 0, 0);
    rule->view = view;
    return rule;
}

static void add_weights(struct tensor_rules *rules, struct tool_case *c)
{
    gqa_weights *w = &c->weights;
    int64_t q = (int64_t)c->hq * c->dk, k = (int64_t)c->hkv * c->dk, v = (int64_t)c->hkv * c->dv;
    int64_t o = (int64_t)c->hq * c->dv;
    bool bias = c->config.qkv_bias != 0;

    add_vector(rules, "norm.weight", c->config.input_norm != GQA_NORM_NONE, "pre_norm", c->hidden,
               &w->input_norm);
    add_matrix(rules, c, "wq", q, c->hidden, &w->wq);
    add_matrix(rules, c, "wk", k, c->hidden, &w->wk);
    add_matrix(rules, c, "wv", v, c->hidden, &w->wv);
    add_matrix(rules, c, "wo", c->hidden, o, &w->wo);
    add_vector(rules, "bq", bias, "qkv_bias", q, &w->bq)->with = "bq, bk, bv";
    add_vector(rules, "bk", bias, "qkv_bias", k, &w->bk)->with = "bq, bk, bv";
    add_vector(rules, "bv", bias, "qkv_bias", v, &w->bv)->with = "bq, bk, bv";
    add_vector(rules, "bo", c->config.o_bias != 0, "out_bias", c->hidden, &w->bo);
    add_vector(rules, "sinks", c->config.learned_sinks_size != 0, "sinks", c->hq, &w->sinks);
}

static void add_qk_norm(struct tensor_rules *rules, struct tool_case *c, const char *name,
                        int64_t heads, gqa_tensor *view)
{
    const gqa_config *config = &c->config;
    bool wanted = config->qk_norm_scope != GQA_QK_NORM_OFF &&
                  config->qk_norm_placement == GQA_QK_NORM_PRE_ROPE;
    struct tensor_rule *rule = add(rules, name, wanted, "qk_norm", ANY_FLOAT);

    rule->with = "q_norm.weight, k_norm.weight";
    rule->view = view;
    if (config->qk_norm_scope == GQA_QK_NORM_WHOLE) {
        shape_of(rule, 1, heads * c->dk, 0, 0, 0);
    } else if (config->qk_norm == GQA_NORM_LAYER) {
        shape_of(rule, 2, heads, c->dk, 0, 0);
    } else {
        shape_of(rule, 1, c->dk, 0, 0, 0);
    }
}

static void add_heads(struct tensor_rules *rules, const struct tool_case *c, const char *name,
                      int64_t heads, int64_t dim, gqa_tensor *view)
{
    struct tensor_rule *rule = add(rules, name, !c->block, "stage", ONLY_F32);

    shape_of(rule, 4, c->batch, c->tokens, heads, dim);
    rule->with = "q_proj, k_proj, v_proj";
    rule->view = view;
}

static void add_data(struct tensor_rules *rules, const char *name, int dtypes, int64_t a, int64_t b,
                     const void **pointer)
{
    struct tensor_rule *rule = add(rules, name, true, "schema", dtypes);

    shape_of(rule, b > 0 ? 2 : 1, a, b, 0, 0);
    rule->optional = true;
    rule->pointer = pointer;
}

/* Data pointers of a case before they have their types. */
struct raw {
    const void *q_pos, *k_pos, *key_valid, *row_valid, *inv_freq, *pos3, *past_k, *past_v, *bias;
};

static void add_input_rules(struct tensor_rules *rules, struct tool_case *c, struct raw *raw)
{
    struct tensor_rule *rule = add(rules, "x", c->block, "stage", ANY_FLOAT);

    shape_of(rule, 3, c->batch, c->tokens, c->hidden, 0);
    rule->view = &c->x;
    add_heads(rules, c, "q_proj", c->hq, c->dk, &c->q_proj);
    add_heads(rules, c, "k_proj", c->hkv, c->dk, &c->k_proj);
    add_heads(rules, c, "v_proj", c->hkv, c->dv, &c->v_proj);
    add_data(rules, "q_pos", ONLY_I32, c->batch, c->tokens, &raw->q_pos);
    add_data(rules, "k_pos", ONLY_I32, c->batch, c->keys, &raw->k_pos);
    add_data(rules, "key_valid", ONLY_U8, c->batch, c->keys, &raw->key_valid);
    add_data(rules, "row_valid", ONLY_U8, c->batch, c->tokens, &raw->row_valid);
    rule = add(rules, "inv_freq", c->pairs > 0, "rope", ONLY_F64);
    shape_of(rule, 1, c->pairs, 0, 0, 0);
    rule->optional = true;
    rule->pointer = &raw->inv_freq;
    rule = add(rules, "rope_pos3", c->config.mrope != GQA_MROPE_NONE, "mrope_layout", ONLY_I32);
    shape_of(rule, 3, 3, c->batch, c->tokens, 0);
    rule->pointer = &raw->pos3;
    rule = add(rules, "past_k", c->past > 0, "past", ONLY_F32);
    shape_of(rule, 4, c->batch, c->past, c->hkv, c->dk);
    rule->with = "past_k, past_v";
    rule->pointer = &raw->past_k;
    rule = add(rules, "past_v", c->past > 0, "past", ONLY_F32);
    shape_of(rule, 4, c->batch, c->past, c->hkv, c->dv);
    rule->with = "past_k, past_v";
    rule->pointer = &raw->past_v;
}

/* The bias may be shared by the batch and by the heads: its own first two sizes decide. */
static void add_bias_rule(struct tensor_rules *rules, struct tool_case *c, struct raw *raw)
{
    const struct tool_tensor *tensor = tool_file_find(c->file, "attn_bias");
    struct tensor_rule *rule = add(rules, "attn_bias", c->bias_batch != 0, "attn_bias", ONLY_F32);

    c->bias_batch = c->batch;
    c->bias_heads = c->hq;
    if (tensor != NULL && tensor->rank == 4 && tensor->shape[0] == 1) {
        c->bias_batch = 1;
    }
    if (tensor != NULL && tensor->rank == 4 && tensor->shape[1] == 1) {
        c->bias_heads = 1;
    }
    shape_of(rule, 4, c->bias_batch, c->bias_heads, c->tokens, c->keys);
    rule->pointer = &raw->bias;
}

/* --- checking them ------------------------------------------------------------------------------
 */

/* A tensor that should not be there, or one that should. */
static bool refuse_tensor(const struct tool_case *c, const struct tensor_rule *rule,
                          struct tool_fault *fault)
{
    if (tool_file_text(c->file, rule->reason) != NULL) {
        return tool_fault_set(fault, c->path, "tensor %s is %s, but metadata %s asks for %s",
                              rule->name, rule->wanted ? "missing" : "there", rule->reason,
                              rule->wanted ? "it" : "none");
    }
    if (rule->wanted) {
        return tool_fault_set(fault, c->path, "tensor %s is missing: %s come together", rule->name,
                              rule->with);
    }
    return tool_fault_set(fault, c->path,
                          "tensor %s is there, but metadata %s, which would ask for it, is not",
                          rule->name, rule->reason);
}

static bool read_tensor(const struct tool_case *c, const struct tensor_rule *rule,
                        struct tool_fault *fault)
{
    const struct tool_tensor *tensor = tool_file_find(c->file, rule->name);

    if ((tensor != NULL) != rule->wanted && !(rule->optional && tensor == NULL)) {
        return refuse_tensor(c, rule, fault);
    }
    if (tensor == NULL) {
        return true;
    }
    if (!check_tensor(c, tensor, rule->dtypes, rule->shape, rule->rank, fault)) {
        return false;
    }
    if (rule->view != NULL) {
        *rule->view = view_of(tensor);
    }
    if (rule->pointer != NULL) {
        *rule->pointer = tensor->data;
    }
    return true;
}

/* valid_begin, valid_end, seq_lens, past_lens: copies of what key_valid says. */
static bool check_copy(const struct tool_case *c, const struct tool_tensor *tensor,
                       struct tool_fault *fault)
{
    const int32_t *value = tensor->data;
    int64_t shape[1] = {c->batch};

    if (!check_tensor(c, tensor, ONLY_I32, shape, 1, fault)) {
        return false;
    }
    for (int32_t b = 0; b < c->batch; b++) {
        if (value[b] < 0 || value[b] > c->keys) {
            return tool_fault_set(fault, c->path, "tensor %s[%d] is %d; it must be 0 to %d",
                                  tensor->name, b, value[b], c->keys);
        }
    }
    return true;
}

/* f64.*, ref.*, bf16ref.*; *found tells whether the name is one of them. */
static bool check_expected(struct tool_case *c, const struct tool_tensor *tensor, bool *found,
                           struct tool_fault *fault)
{
    static const int dtypes[TOOL_SOURCES] = {F32_OR_F64, ANY_RESULT, ONLY_BF16};

    for (int s = 0; s < TOOL_SOURCES; s++) {
        for (int v = 0; v < TOOL_VALUES; v++) {
            char name[32];
            int64_t shape[4];
            int32_t rank = tool_value_shape(c, (enum tool_value)v, shape);
            bool from_hidden = v <= TOOL_V_PROJ || v >= TOOL_O_PROJ;

            snprintf(name, sizeof name, "%s.%s", sources[s], tool_value_name((enum tool_value)v));
            if (strcmp(name, tensor->name) != 0) {
                continue;
            }
            *found = true;
            if (!c->block && from_hidden) {
                return tool_fault_set(fault, c->path, "tensor %s: stage attn has no such value",
                                      name);
            }
            c->expected[s][v] = tensor;
            return check_tensor(c, tensor, dtypes[s], shape, rank, fault);
        }
    }
    return true;
}

/* Every tensor of the file must have been asked for. */
static bool check_all(struct tool_case *c, const struct tensor_rules *rules,
                      struct tool_fault *fault)
{
    static const char *const copies[] = {"valid_begin", "valid_end", "seq_lens", "past_lens"};

    for (size_t i = 0; i < c->file->count; i++) {
        const struct tool_tensor *tensor = &c->file->tensors[i];
        bool found = false;

        for (int r = 0; !found && r < rules->n; r++) {
            found = strcmp(tensor->name, rules->rule[r].name) == 0;
        }
        for (int k = 0; !found && k < 4; k++) {
            if (strcmp(tensor->name, copies[k]) == 0) {
                found = true;
                if (!check_copy(c, tensor, fault)) {
                    return false;
                }
            }
        }
        if (!found && !check_expected(c, tensor, &found, fault)) {
            return false;
        }
        if (!found) {
            return tool_fault_set(fault, c->path, "unknown tensor %.80s", tensor->name);
        }
    }
    return true;
}

static bool check_flags(const struct tool_case *c, const char *name, const uint8_t *flags,
                        int64_t n, struct tool_fault *fault)
{
    for (int64_t i = 0; flags != NULL && i < n; i++) {
        if (flags[i] > 1) {
            return tool_fault_set(fault, c->path,
                                  "tensor %s holds %d at element %lld; it must be 0 "
                                  "or 1",
                                  name, flags[i], (long long)i);
        }
    }
    return true;
}

bool tool_case_tensors(struct tool_case *c, struct tool_fault *fault)
{
    struct tensor_rules rules = {.n = 0};
    struct raw raw = {0};

    add_weights(&rules, c);
    add_qk_norm(&rules, c, "q_norm.weight", c->hq, &c->weights.q_norm);
    add_qk_norm(&rules, c, "k_norm.weight", c->hkv, &c->weights.k_norm);
    add_input_rules(&rules, c, &raw);
    add_bias_rule(&rules, c, &raw);
    for (int i = 0; i < rules.n; i++) {
        if (!read_tensor(c, &rules.rule[i], fault)) {
            return false;
        }
    }
    c->q_pos = raw.q_pos;
    c->k_pos = raw.k_pos;
    c->key_valid = raw.key_valid;
    c->row_valid = raw.row_valid;
    c->inv_freq = raw.inv_freq;
    c->rope_pos3 = raw.pos3;
    c->past_k = raw.past_k;
    c->past_v = raw.past_v;
    c->bias = raw.bias;
    return check_all(c, &rules, fault) &&
           check_flags(c, "key_valid", c->key_valid, (int64_t)c->batch * c->keys, fault) &&
           check_flags(c, "row_valid", c->row_valid, (int64_t)c->batch * c->tokens, fault);
}
