/* serve.c - see child.h: the child's side. */
#include <stdio.h>
#include <string.h>

#include "child.h"

typedef struct bench_work *(*create_function)(const struct bench_spec *spec,
                                              struct bench_host *host, char why[BENCH_WHY_TEXT]);

struct server {
    create_function create;
    struct bench_host host;
    struct bench_work *work;
    char last[BENCH_SPEC_TEXT]; /* the case that work is for */
};

static void drop(struct server *server)
{
    bench_work_destroy(server->work);
    server->work = NULL;
    server->last[0] = '\0';
}

/* Make the case ready unless it is, with one call before the first timed one. */
static bool prepare(struct server *server, const char *line, char why[BENCH_WHY_TEXT])
{
    struct bench_spec spec;
    double seconds;

    if (strcmp(line, server->last) == 0) {
        return true;
    }
    drop(server);
    if (!bench_spec_parse(&spec, line)) {
        snprintf(why, BENCH_WHY_TEXT, "unknown case");
        return false;
    }
    server->work = server->create(&spec, &server->host, why);
    if (server->work == NULL || !server->work->run(server->work, &seconds, why)) {
        drop(server);
        return false;
    }
    snprintf(server->last, sizeof server->last, "%s", line);
    return true;
}

static void answer(struct server *server, const char *line)
{
    char why[BENCH_WHY_TEXT] = "";
    double seconds = 0;

    if (strcmp(line, "drop") == 0) {
        drop(server);
        printf("ok 0\n");
    } else if (prepare(server, line, why) && server->work->run(server->work, &seconds, why)) {
        printf("ok %.9e\n", seconds);
    } else {
        printf("skip %s\n", why);
    }
    fflush(stdout);
}

int bench_serve(const char *name, int32_t threads)
{
    static struct server server;
    char line[BENCH_SPEC_TEXT];
    const char *about = NULL;

    (void)threads;
    if (strcmp(name, bench_peer_names[PEER_ONEDNN]) == 0) {
        server.create = bench_onednn_create;
        about = bench_onednn_about();
    } else if (strncmp(name, bench_peer_names[PEER_OPENBLAS], 8) == 0) {
        server.create = bench_openblas_create;
        about = bench_openblas_about();
    } else if (strcmp(name, "self") == 0) {
        server.create = bench_work_create;
        about = "libgqa";
    }
    if (about == NULL) {
        printf("skip gqa-bench was built without %s\n", name);
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
