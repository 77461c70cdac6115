/* SPDX-License-Identifier: Apache-2.0 */
/* ggml.c - see ggml.h. */
#define _POSIX_C_SOURCE 200809L
#include "ggml.h"

#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PATH_TEXT 4352

static const char below[] = "node_modules/@node-llama-cpp/linux-x64/bins/linux-x64";

struct symbol {
    const char *name;
    size_t at; /* of the pointer in struct ggml */
};

#define AT(field) offsetof(struct ggml, field)

static const struct symbol first[] = {{"ggml_version", AT(version)}, {NULL, 0}};

static const struct symbol base[] = {
    {"ggml_init", AT(init)},
    {"ggml_free", AT(free)},
    {"ggml_tensor_overhead", AT(tensor_overhead)},
    {"ggml_graph_overhead_custom", AT(graph_overhead)},
    {"ggml_row_size", AT(row_size)},
    {"ggml_blck_size", AT(block_size)},
    {"ggml_new_tensor_4d", AT(new_tensor)},
    {"ggml_view_4d", AT(view)},
    {"ggml_get_data", AT(data)},
    {"ggml_quantize_chunk", AT(quantize)},
    {"ggml_flash_attn_ext", AT(attention)},
    {"ggml_flash_attn_ext_add_sinks", AT(add_sinks)},
    {"ggml_rms_norm", AT(rms_norm)},
    {"ggml_add", AT(add)},
    {"ggml_mul", AT(mul)},
    {"ggml_mul_mat", AT(mul_mat)},
    {"ggml_cpy", AT(copy)},
    {"ggml_rope_ext", AT(rope)},
    {"ggml_new_graph_custom", AT(new_graph)},
    {"ggml_build_forward_expand", AT(expand)},
    {"ggml_backend_graph_compute", AT(compute)},
    {"ggml_threadpool_params_init", AT(init_pool_params)},
    {NULL, 0},
};

static const struct symbol cpu[] = {
    {"ggml_backend_cpu_init", AT(backend_init)},
    {"ggml_backend_cpu_set_n_threads", AT(set_threads)},
    {"ggml_backend_cpu_set_threadpool", AT(set_pool)},
    {"ggml_threadpool_new", AT(new_pool)},
    {"ggml_threadpool_pause", AT(pause_pool)},
    {"ggml_threadpool_resume", AT(resume_pool)},
    {NULL, 0},
};

/* The first name that is not there, or NULL. */
static const char *find_symbols(struct ggml *ggml, void *library, const struct symbol *symbol)
{
    for (; symbol->name != NULL; symbol++) {
        void *found = dlsym(library, symbol->name);

        if (found == NULL) {
            return symbol->name;
        }
        memcpy((unsigned char *)ggml + symbol->at, &found, sizeof found);
    }
    return NULL;
}

/* What the library says of itself on this CPU: the higher the faster, 0 = it does not run. */
static int score(void *library)
{
    void *found = dlsym(library, "ggml_backend_score");
    int (*ask)(void) = NULL;

    memcpy(&ask, &found, sizeof found);
    return ask == NULL ? 0 : ask();
}

/* The libggml-cpu-* of the highest score; the others are closed again. */
static void *open_fastest(const char *folder, char name[64])
{
    DIR *files = opendir(folder);
    struct dirent *file;
    void *best = NULL;
    int most = 0;

    while (files != NULL && (file = readdir(files)) != NULL) {
        char path[PATH_TEXT];
        void *library;

        if (strncmp(file->d_name, "libggml-cpu", 11) != 0) {
            continue;
        }
        snprintf(path, sizeof path, "%s/%.63s", folder, file->d_name);
        library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (library != NULL && score(library) > most) {
            most = score(library);
            snprintf(name, 64, "%.63s", file->d_name);
            if (best != NULL) {
                dlclose(best);
            }
            best = library;
        } else if (library != NULL) {
            dlclose(library);
        }
    }
    if (files != NULL) {
        closedir(files);
    }
    return best;
}

static bool make_backend(struct ggml *ggml, int32_t threads)
{
    static _Alignas(64) unsigned char params[4096]; /* several times its size */

    ggml->init_pool_params(params, threads);
    ggml->backend = ggml->backend_init();
    ggml->pool = ggml->new_pool(params);
    if (ggml->backend == NULL || ggml->pool == NULL) {
        return false;
    }
    ggml->set_threads(ggml->backend, threads);
    ggml->set_pool(ggml->backend, ggml->pool);
    ggml->pause_pool(ggml->pool);
    return true;
}

const struct ggml *bench_ggml_open(const char *folder, int32_t threads, char *why, size_t size)
{
    static struct ggml ggml;
    char place[PATH_TEXT - 64], path[PATH_TEXT];
    const char *missing = NULL;
    void *library;

    snprintf(place, sizeof place, "%.4096s/%s", folder, below);
    if (access(place, R_OK) != 0) {
        snprintf(place, sizeof place, "%.4096s", folder);
    }
    snprintf(path, sizeof path, "%s/libggml-base.so", place);
    if (access(path, R_OK) != 0) {
        snprintf(why, size, "ggml is not installed (bench/peers/ggml/install)");
        return NULL;
    }
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        snprintf(why, size, "%s", dlerror());
        return NULL;
    }
    missing = find_symbols(&ggml, library, first);
    if (missing == NULL && strcmp(ggml.version(), GGML_KNOWN_VERSION) != 0) {
        snprintf(why, size, "ggml is version %s, not %s", ggml.version(), GGML_KNOWN_VERSION);
        return NULL;
    }
    missing = missing == NULL ? find_symbols(&ggml, library, base) : missing;
    if (missing != NULL) {
        snprintf(why, size, "ggml has no %s", missing);
        return NULL;
    }
    library = open_fastest(place, ggml.cpu);
    if (library == NULL || (missing = find_symbols(&ggml, library, cpu)) != NULL) {
        snprintf(why, size, "no libggml-cpu of it runs on this CPU%s%s",
                 library == NULL ? "" : ": it has no ", library == NULL ? "" : missing);
        return NULL;
    }
    if (!make_backend(&ggml, threads)) {
        snprintf(why, size, "ggml makes no backend of %d threads", (int)threads);
        return NULL;
    }
    return &ggml;
}
