/* SPDX-License-Identifier: Apache-2.0 */
/* golden_edit.h - a golden file less some of its metadata and tensors. Needs GQA_TOOL_PATH. */
#ifndef GQA_TESTS_GOLDEN_EDIT_H
#define GQA_TESTS_GOLDEN_EDIT_H

#include "golden_run.h"

static const char *const golden_files[] = {"s01_gptoss_small_window.safetensors",
                                           "s02_gptoss_small_full.safetensors",
                                           "s03_gptoss_small_bf16.safetensors",
                                           "s04_llama31_kvcache.safetensors",
                                           "s05_qwen3_qknorm.safetensors",
                                           "s06_gemma2_softcap_window.safetensors",
                                           "s07_llama4_chunked.safetensors",
                                           "s08_llama4_nope_temperature.safetensors",
                                           "s09_olmo2_projnorm_mha.safetensors",
                                           "s10_dbrx_clip.safetensors",
                                           "s11_glm_partial_interleaved.safetensors",
                                           "s12_mqa_rope.safetensors",
                                           "s13_padding_left_right.safetensors",
                                           "s14_sinks_extreme.safetensors",
                                           "s15_decode_continuation.safetensors",
                                           "s16_fully_masked_rows.safetensors",
                                           "s17_fully_masked_rows_sinks.safetensors"};

#define GOLDEN_FILES (sizeof golden_files / sizeof golden_files[0])

/* Is name among these words, each a name, or a beginning and a star? "key:" before a word: of the
 * metadata alone. */
static inline bool edit_names(const char *words, const char *name, bool key)
{
    while (*words != '\0') {
        const bool only = strncmp(words, "key:", 4) == 0;
        const char *from = words + (only ? 4 : 0);
        const size_t n = strcspn(from, " ");
        const bool star = from[n - 1] == '*';

        if ((key || !only) && strncmp(from, name, star ? n - 1 : n) == 0 &&
            (star || name[n] == '\0')) {
            return true;
        }
        words = from + n + (from[n] == ' ');
    }
    return false;
}

/* Write what file has, less what drop names, with key = value (NULL: no key), to path. */
static inline void golden_edit(const struct tool_file *file, const char *path, const char *drop,
                               const char *key, const char *value)
{
    struct tool_tensor tensors[80];
    json_t *metadata = json_object();
    struct tool_fault fault = {.text = ""};
    size_t n = 0;
    const char *name;
    json_t *text;

    json_object_foreach(file->metadata, name, text)
    {
        if (!edit_names(drop, name, true)) {
            json_object_set(metadata, name, text);
        }
    }
    if (key != NULL) {
        json_object_set_new(metadata, key, json_string(value));
    }
    assert_true(file->count <= 80);
    for (size_t i = 0; i < file->count; i++) {
        if (!edit_names(drop, file->tensors[i].name, false)) {
            tensors[n++] = file->tensors[i];
        }
    }
    if (!tool_file_write(path, tensors, n, metadata, &fault)) {
        fail_msg("%s", fault.text);
    }
    json_decref(metadata);
}

/* The same of a golden file, loaded again. */
static inline void golden_load_less(struct golden *golden, const char *name, const char *path,
                                    const char *drop)
{
    struct golden whole;
    struct tool_fault fault = {.text = ""};

    golden_load(&whole, name);
    golden_edit(&whole.file, path, drop, NULL, NULL);
    golden_free(&whole);
    snprintf(golden->path, sizeof golden->path, "%s", path);
    if (!tool_file_open(&golden->file, golden->path, &fault) ||
        !tool_case_load(&golden->c, &golden->file, &fault)) {
        fail_msg("%s less %s: %s", name, drop, fault.text);
    }
}

#endif
