/* case_sizes.c - what a file must have at the least, and the sizes of the case: as the metadata
 * say, or, where they do not, as the shapes of the tensors give them. */
#include <stdio.h>
#include <string.h>

#include "tool/case.h"
#include "tool/meta.h"

#define SIZE_LIMIT                                                                                 \
    (1 << 24) /* of each single dimension; the tensors in the file bound the rest                  \
               */

/* --- what is missing ----------------------------------------------------------------------------
 */

/* "a, b, c" of what is missing, in text. */
struct list {
    char text[256];
    int n;
};

static void append(struct list *list, const char *item)
{
    const size_t used = strlen(list->text);

    snprintf(list->text + used, sizeof list->text - used, "%s%s", list->n > 0 ? ", " : "", item);
    list->n++;
}

static bool has_result(const struct tool_case *c)
{
    const char *final = tool_value_name(c->block ? TOOL_OUT : TOOL_ATTN);
    char oracle[32], reference[32];

    snprintf(oracle, sizeof oracle, "f64.%s", final);
    snprintf(reference, sizeof reference, "ref.%s", final);
    return tool_case_has(c, oracle) || tool_case_has(c, reference);
}

static bool check_least(const struct tool_case *c, struct tool_fault *fault)
{
    static const char *const block[] = {"x", "wq", "wk", "wv", "wo"};
    static const char *const attn[] = {"q_proj", "k_proj", "v_proj"};
    const char *const *needed = c->block ? block : attn;
    const int count = c->block ? 5 : 3;
    struct list missing = {"", 0};

    for (int i = 0; i < count; i++) {
        if (!tool_case_has(c, needed[i])) {
            append(&missing, needed[i]);
        }
    }
    if (!has_result(c)) {
        append(&missing, c->block ? "ref.out (or f64.out)" : "ref.attn (or f64.attn)");
    }
    if (c->block && !tool_case_says(c, "n_q_heads") && !tool_case_says(c, "n_kv_heads") &&
        !tool_case_says(c, "head_dim")) {
        append(&missing, "metadata n_q_heads (or n_kv_heads, or head_dim)");
    }
    if (missing.n == 0) {
        return true;
    }
    return tool_fault_set(fault, c->path, "missing at the least: %s%s", missing.text,
                          c->block || missing.n < count ? ""
                                                        : "; or, instead, x, wq, wk, wv, wo, "
                                                          "ref.out and metadata n_q_heads");
}

/* --- sizes --------------------------------------------------------------------------------------
 */

/* Dimension `index` of a tensor that must have rank dimensions. */
static int64_t dimension(const struct tool_case *c, const char *name, int32_t rank, int32_t index,
                         struct tool_fault *fault)
{
    const struct tool_tensor *tensor = tool_file_find(c->file, name);
    char text[96];

    if (tensor->rank != rank) {
        tool_fault_set(fault, c->path, "tensor %s is %s; it must have %d dimensions", name,
                       tool_shape_text(tensor->shape, tensor->rank, text), rank);
        return 1;
    }
    return tensor->shape[index];
}

/* The key, or where it is absent what the tensors give. */
static int32_t size_of(const struct tool_case *c, const char *key, int32_t low, int64_t given,
                       struct tool_fault *fault)
{
    if (tool_case_says(c, key)) {
        return tool_meta_int(c->file, key, low, SIZE_LIMIT, fault);
    }
    if (given < low || given > SIZE_LIMIT) {
        tool_fault_set(fault, c->path,
                       "the tensors give %lld for %s; it must be an integer from %d to %d",
                       (long long)given, key, low, SIZE_LIMIT);
        return low;
    }
    return (int32_t)given;
}

/* Rows of a matrix over parts of one size. */
static int64_t share(const struct tool_case *c, const char *name, const char *of, int32_t size,
                     struct tool_fault *fault)
{
    const int64_t rows = dimension(c, name, 2, 0, fault);

    if (rows % size != 0) {
        tool_fault_set(fault, c->path, "tensor %s has %lld rows, no multiple of %s %d", name,
                       (long long)rows, of, size);
        return 1;
    }
    return rows / size;
}

/* One of n_q_heads, n_kv_heads and head_dim gives the others. */
static void read_block_heads(struct tool_case *c, struct tool_fault *fault)
{
    int64_t dk = 1;

    if (tool_case_says(c, "head_dim")) {
        c->dk = size_of(c, "head_dim", 1, 1, fault);
    } else {
        const char *key = tool_case_says(c, "n_q_heads") ? "n_q_heads" : "n_kv_heads";
        dk = share(c, tool_case_says(c, "n_q_heads") ? "wq" : "wk", key,
                   size_of(c, key, 1, 1, fault), fault);
        c->dk = size_of(c, "head_dim", 1, dk, fault);
    }
    c->hq = size_of(c, "n_q_heads", 1,
                    tool_case_says(c, "n_q_heads") ? 1 : share(c, "wq", "head_dim", c->dk, fault),
                    fault);
    c->hkv = size_of(c, "n_kv_heads", 1,
                     tool_case_says(c, "n_kv_heads") ? 1 : share(c, "wk", "head_dim", c->dk, fault),
                     fault);
    c->dv = size_of(
        c, "v_head_dim", 1,
        tool_case_says(c, "v_head_dim") ? 1 : share(c, "wv", "n_kv_heads", c->hkv, fault), fault);
}

/* A size that one dimension of one tensor gives. */
static int32_t size_at(const struct tool_case *c, const char *key, const char *name, int32_t rank,
                       int32_t index, struct tool_fault *fault)
{
    return size_of(c, key, 1, tool_case_says(c, key) ? 1 : dimension(c, name, rank, index, fault),
                   fault);
}

static void read_all_sizes(struct tool_case *c, struct tool_fault *fault)
{
    const char *lead = c->block ? "x" : "q_proj";
    const int32_t rank = c->block ? 3 : 4;
    const bool past = !tool_case_says(c, "past") && tool_case_has(c, "past_k");

    c->batch = size_at(c, "batch", lead, rank, 0, fault);
    c->tokens = size_at(c, "tokens", lead, rank, 1, fault);
    c->past = size_of(c, "past", 0, past ? dimension(c, "past_k", 4, 1, fault) : 0, fault);
    c->keys = c->past + c->tokens;
    if (c->block) {
        c->hidden = size_at(c, "hidden", "x", 3, 2, fault);
        read_block_heads(c, fault);
        return;
    }
    if (tool_case_says(c, "hidden")) {
        c->hidden = tool_meta_int(c->file, "hidden", 0, 0, fault);
    }
    c->hq = size_at(c, "n_q_heads", "q_proj", 4, 2, fault);
    c->dk = size_at(c, "head_dim", "q_proj", 4, 3, fault);
    c->hkv = size_at(c, "n_kv_heads", "k_proj", 4, 2, fault);
    c->dv = size_at(c, "v_head_dim", "v_proj", 4, 3, fault);
}

/* From x if there is x, or weights and no projections. */
static bool find_stage(const struct tool_case *c, struct tool_fault *fault)
{
    static const char *const stages[] = {"attn", "block", NULL};

    if (tool_case_says(c, "stage")) {
        return tool_meta_choice(c->file, "stage", stages, fault) == 1;
    }
    return tool_case_has(c, "x") ||
           (!tool_case_has(c, "q_proj") && (tool_case_has(c, "wq") || tool_case_has(c, "wo")));
}

bool tool_case_sizes(struct tool_case *c, struct tool_fault *fault)
{
    c->block = find_stage(c, fault);
    if (fault->text[0] != '\0' || !check_least(c, fault)) {
        return false;
    }
    read_all_sizes(c, fault);
    c->config.hidden_size = c->hidden;
    c->config.num_attention_heads = c->hq;
    c->config.num_key_value_heads = c->hkv;
    c->config.head_dim = c->dk;
    c->config.v_head_dim = c->dv;
    return fault->text[0] == '\0';
}
