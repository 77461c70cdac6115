/* SPDX-License-Identifier: Apache-2.0 */
/* meta.c - see meta.h. */
#include "tool/meta.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Keys that say what to compute. */
static const char *const computing[] = {"stage",
                                        "batch",
                                        "tokens",
                                        "past",
                                        "hidden",
                                        "n_q_heads",
                                        "n_kv_heads",
                                        "head_dim",
                                        "v_head_dim",
                                        "scale",
                                        "causal",
                                        "window",
                                        "chunk",
                                        "softcap",
                                        "sinks",
                                        "attn_bias",
                                        "rope",
                                        "rope_dim",
                                        "rope_theta",
                                        "rope_scaling",
                                        "rope_factor",
                                        "rope_orig_ctx",
                                        "rope_low_freq_factor",
                                        "rope_high_freq_factor",
                                        "rope_beta_fast",
                                        "rope_beta_slow",
                                        "rope_truncate",
                                        "rope_mscale",
                                        "mrope_sections",
                                        "mrope_layout",
                                        "pre_norm",
                                        "pre_norm_eps",
                                        "qk_norm",
                                        "qk_norm_eps",
                                        "qk_norm_offset",
                                        "clip_qkv",
                                        "q_temp",
                                        "q_temp_scale",
                                        "q_temp_floor",
                                        "qkv_bias",
                                        "out_bias",
                                        "residual",
                                        "feed_schedule"};

/* Keys that inform, known or not: these names, and all that begin with these. */
static const char *const informing[] = {"schema",   "case",  "family", "set",
                                        "features", "notes", "final",  "format"};
static const char *const prefixes[] = {"ref_", "tol_", "bf16"};

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

static bool listed(const char *key, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(key, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool known(const char *key)
{
    for (size_t i = 0; i < COUNT(prefixes); i++) {
        if (strncmp(key, prefixes[i], strlen(prefixes[i])) == 0) {
            return true;
        }
    }
    return listed(key, computing, COUNT(computing)) || listed(key, informing, COUNT(informing));
}

bool tool_meta_check_keys(const struct tool_file *file, struct tool_fault *fault)
{
    const char *key;
    json_t *value;

    json_object_foreach(file->metadata, key, value)
    {
        if (!known(key)) {
            return tool_fault_set(fault, file->path, "unknown metadata key %.80s", key);
        }
    }
    return true;
}

static const char *text_of(const struct tool_file *file, const char *key, struct tool_fault *fault)
{
    const char *text = tool_file_text(file, key);

    if (text == NULL) {
        tool_fault_set(fault, file->path, "metadata key %s is missing", key);
    }
    return text;
}

bool tool_parse_int(const char *text, int32_t *out)
{
    const char *digit = text + (*text == '-' ? 1 : 0);
    int64_t value = 0;

    if (*digit == '\0') {
        return false;
    }
    for (; *digit != '\0'; digit++) {
        if (*digit < '0' || *digit > '9') {
            return false;
        }
        value = value * 10 + (*digit - '0');
        if (value > INT32_MAX) {
            return false;
        }
    }
    *out = (int32_t)(*text == '-' ? -value : value);
    return true;
}

int tool_parse_ints(const char *text, int32_t *out, int n)
{
    int found = 0;

    while (*text != '\0') {
        char item[16];
        size_t length = strcspn(text, ",");

        if (length >= sizeof item) {
            return -1;
        }
        memcpy(item, text, length);
        item[length] = '\0';
        if (found == n || !tool_parse_int(item, &out[found])) {
            return -1;
        }
        found++;
        text += length;
        if (*text == ',' && *++text == '\0') {
            return -1;
        }
    }
    return found;
}

int32_t tool_meta_int(const struct tool_file *file, const char *key, int32_t low, int32_t high,
                      struct tool_fault *fault)
{
    const char *text = text_of(file, key, fault);
    int32_t value = low;

    if (text == NULL) {
        return low;
    }
    if (!tool_parse_int(text, &value) || value < low || value > high) {
        tool_fault_set(fault, file->path,
                       "metadata %s is \"%.40s\"; it must be an integer from %d "
                       "to %d",
                       key, text, low, high);
        return low;
    }
    return value;
}

bool tool_parse_number(const char *text, double *out)
{
    char *end = NULL;

    if (*text == '\0' || strspn(text, "0123456789+-.eE") != strlen(text)) {
        return false;
    }
    errno = 0;
    *out = strtod(text, &end);
    return *end == '\0' && isfinite(*out);
}

double tool_meta_number(const struct tool_file *file, const char *key, struct tool_fault *fault)
{
    const char *text = text_of(file, key, fault);
    double value = 0;

    if (text != NULL && !tool_parse_number(text, &value)) {
        tool_fault_set(fault, file->path,
                       "metadata %s is \"%.40s\"; it must be a finite decimal number", key, text);
        return 0;
    }
    return value;
}

double tool_meta_tolerance(const struct tool_file *file, const char *key, struct tool_fault *fault)
{
    double value = NAN;

    if (tool_file_text(file, key) != NULL) {
        value = tool_meta_number(file, key, fault);
        if (value < 0) {
            tool_fault_set(fault, file->path, "metadata %s is %g; a tolerance is not negative", key,
                           value);
        }
    }
    return value;
}

int tool_meta_choice(const struct tool_file *file, const char *key, const char *const *names,
                     struct tool_fault *fault)
{
    const char *text = text_of(file, key, fault);
    char all[200] = "";

    if (text == NULL) {
        return 0;
    }
    for (int i = 0; names[i] != NULL; i++) {
        if (strcmp(text, names[i]) == 0) {
            return i;
        }
        strncat(all, i == 0 ? "" : ", ", sizeof all - strlen(all) - 1);
        strncat(all, names[i], sizeof all - strlen(all) - 1);
    }
    tool_fault_set(fault, file->path, "metadata %s is \"%.40s\"; known: %s", key, text, all);
    return 0;
}
