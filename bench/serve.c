/* SPDX-License-Identifier: Apache-2.0 */
/* serve.c - see child.h: the child's side. */
#include <stdio.h>
#include <string.h>

#include "child.h"

typedef struct bench_work *(*create_function)(const struct bench_spec *spec,
                                              struct bench_host *host, char why[BENCH_WHY_TEXT]);

/* A case that is ready; a layer's projections are asked for in turn. */
struct ready {
    struct bench_work *work;
    char line[BENCH_SPEC_TEXT];
};

#define MOST_READY 8

struct server {
    create_function create;
    struct bench_host host;
    struct ready ready[MOST_READY];
    int count;
};

static void drop(struct server *server)
{
    while (server->count > 0) {
        bench_work_destroy(server->ready[--server->count].work);
    }
}

/* The case, made ready unless it is, its data visited; NULL: why. */
static struct bench_work *prepare(struct server *server, const char *line, char why[BENCH_WHY_TEXT])
{
    struct bench_work *work;
    struct bench_spec spec;

    for (int i = 0; i < server->count; i++) {
        if (strcmp(line, server->ready[i].line) == 0) {
            return server->ready[i].work;
        }
    }
    if (server->count == MOST_READY) {
        drop(server);
    }
    if (!bench_spec_parse(&spec, line)) {
        snprintf(why, BENCH_WHY_TEXT, "unknown case");
        return NULL;
    }
    work = server->create(&spec, &server->host, why);
    if (work == NULL || !bench_work_visit(work, why)) {
        bench_work_destroy(work);
        return NULL;
    }
    snprintf(server->ready[server->count].line, BENCH_SPEC_TEXT, "%s", line);
    server->ready[server->count++].work = work;
    return work;
}

static void answer(struct server *server, const char *line)
{
    char why[BENCH_WHY_TEXT] = "";
    struct bench_work *work;
    double seconds = 0;

    if (strcmp(line, "drop") == 0) {
        drop(server);
        printf("ok 0\n");
    } else if ((work = prepare(server, line, why)) != NULL && work->run(work, &seconds, why)) {
        printf("ok %.9e caches=%zu error=%.4e\n", seconds, work->caches, work->error);
    } else {
        printf("skip %s\n", why);
    }
    fflush(stdout);
}

/* Be the baseline of that name; false: about says why it is not here. */
static bool become(struct server *server, const struct bench_options *options,
                   char about[BENCH_WHY_TEXT])
{
    const char *name = options->child;
    const char *text = NULL;

    if (strncmp(name, bench_peer_names[PEER_GGML], 4) == 0) {
        server->create = bench_ggml_create;
        return bench_ggml_about(name, options->ggml, options->threads, about);
    }
    if (strcmp(name, bench_peer_names[PEER_ONEDNN]) == 0) {
        server->create = bench_onednn_create;
        text = bench_onednn_about();
    } else if (strncmp(name, bench_peer_names[PEER_OPENBLAS], 8) == 0) {
        server->create = bench_openblas_create;
        text = bench_openblas_about();
    } else if (strcmp(name, "self") == 0) {
        server->create = bench_work_create;
        text = "libgqa";
    }
    if (text == NULL) {
        snprintf(about, BENCH_WHY_TEXT, "gqa-bench was built without %s", name);
    } else {
        snprintf(about, BENCH_WHY_TEXT, "%s", text);
    }
    return text != NULL;
}

int bench_serve(const struct bench_options *options)
{
    static struct server server;
    char line[BENCH_SPEC_TEXT], about[BENCH_WHY_TEXT];

    if (!become(&server, options, about)) {
        printf("skip %s\n", about);
        return 0;
    }
    printf("ready %s\n", about);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        answer(&server, line);
    }
    drop(&server);
    bench_host_destroy(&server.host);
    return 0;
}
