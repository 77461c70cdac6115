/* SPDX-License-Identifier: Apache-2.0 */
/* child.c - see child.h: the parent's side. */
#define _POSIX_C_SOURCE 200809L
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gqa/info.h"

extern char **environ;

const char *const bench_peer_names[PEERS] = {
    [PEER_OPENBLAS] = "openblas",
    [PEER_OPENBLAS_DEFAULT] = "openblas-default",
    [PEER_ONEDNN] = "onednn",
    [PEER_GGML] = "ggml",
    [PEER_GGML_BF16] = "ggml-bf16",
    [PEER_GGML_Q8] = "ggml-q8",
    [PEER_GGML_F32] = "ggml-f32",
    [PEER_GGML_Q4] = "ggml-q4",
    [PEER_ORT] = "ort",
    [PEER_ORT_NO_FLASH] = "ort-noflash",
    [PEER_ORT_INT8] = "ort-int8",
    [PEER_ORT_INT4] = "ort-int4",
};

#define MOST_ENV 1024

/* The environment with some names replaced. */
struct env {
    char *entry[MOST_ENV];
    int count;
    char own[5][64];
    int owned;
};

static void env_remove(struct env *env, const char *name)
{
    size_t length = strlen(name);

    for (int i = 0; i < env->count; i++) {
        if (strncmp(env->entry[i], name, length) == 0 && env->entry[i][length] == '=') {
            env->entry[i] = env->entry[--env->count];
            env->entry[env->count] = NULL;
            i--;
        }
    }
}

static void env_set(struct env *env, const char *name, const char *value)
{
    env_remove(env, name);
    snprintf(env->own[env->owned], sizeof env->own[0], "%s=%s", name, value);
    env->entry[env->count++] = env->own[env->owned++];
}

static const char *core_type(void)
{
    const uint32_t features = gqa_cpu_features();

    return (features & GQA_CPU_AVX512) != 0 ? "SkylakeX"
           : (features & GQA_CPU_AVX2) != 0 ? "Haswell"
                                            : "";
}

static void make_env(struct env *env, const struct bench_child *child)
{
    char threads[16];

    memset(env, 0, sizeof *env);
    while (environ[env->count] != NULL && env->count < MOST_ENV - 8) {
        env->entry[env->count] = environ[env->count];
        env->count++;
    }
    snprintf(threads, sizeof threads, "%d", (int)child->threads);
    env_set(env, "OMP_NUM_THREADS", threads);
    env_set(env, "OMP_WAIT_POLICY", "passive");
    env_remove(env, "OPENBLAS_CORETYPE");
    if (child->peer == PEER_OPENBLAS && core_type()[0] != '\0') {
        env_set(env, "OPENBLAS_CORETYPE", core_type());
    }
    env_set(env, "OPENBLAS_NUM_THREADS", threads);
    env_remove(env, "ORT_GQA_DISABLE_FLASH_ATTENTION");
    if (child->peer == PEER_ORT_NO_FLASH || child->peer == PEER_ORT_INT8 ||
        child->peer == PEER_ORT_INT4) {
        env_set(env, "ORT_GQA_DISABLE_FLASH_ATTENTION", "1");
    }
}

/* Both ends of two pipes around a new process. */
static bool launch(struct bench_child *child, char *const argv[], struct env *env)
{
    int down[2], up[2];

    if (pipe(down) != 0) {
        return false;
    }
    if (pipe(up) != 0) {
        close(down[0]);
        close(down[1]);
        return false;
    }
    /* No later child may keep this one's input open. */
    fcntl(down[1], F_SETFD, FD_CLOEXEC);
    fcntl(up[0], F_SETFD, FD_CLOEXEC);
    fflush(NULL);
    child->pid = fork();
    if (child->pid == 0) {
        dup2(down[0], STDIN_FILENO);
        dup2(up[1], STDOUT_FILENO);
        close(down[0]);
        close(down[1]);
        close(up[0]);
        close(up[1]);
        environ = env->entry;
        execvp(argv[0], argv);
        _exit(127);
    }
    close(down[0]);
    close(up[1]);
    if (child->pid < 0) {
        child->pid = 0;
        close(down[1]);
        close(up[0]);
        return false;
    }
    child->to = fdopen(down[1], "w");
    child->from = fdopen(up[0], "r");
    return child->to != NULL && child->from != NULL;
}

/* A line into text, without its end; false at the end of the stream. */
static bool read_line(FILE *from, char text[BENCH_WHY_TEXT])
{
    if (from == NULL || fgets(text, BENCH_WHY_TEXT, from) == NULL) {
        return false;
    }
    text[strcspn(text, "\n")] = '\0';
    return true;
}

static void set_about(struct bench_child *child, const char *text)
{
    snprintf(child->about, sizeof child->about, "%s", text);
}

/* What lies at path, seen from the folder of this program: the build's bin, or an installed one. */
static void beside(char *out, size_t size, const char *self, const char *path)
{
    const char *end = strrchr(self, '/');

    snprintf(out, size, "%.*s%s", end == NULL ? 0 : (int)(end - self) + 1, self, path);
}

/* Where an installed baseline lies: as the user says, or by default. */
static void find_folder(char *out, size_t size, const char *self, const char *chosen,
                        const char *otherwise)
{
    if (chosen != NULL) {
        snprintf(out, size, "%s", chosen);
    } else {
        beside(out, size, self, otherwise);
    }
}

/* The command of the child: gqa-bench itself, or node. */
static bool start(struct bench_child *child, const struct bench_options *options)
{
    static struct env env;
    char self[4096], threads[16], script[4200], ort[4200], ggml[4200];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    char *name = (char *)(uintptr_t)bench_peer_names[child->peer];
    char *own[] = {self, "--child", name, "--threads", threads, "--ggml", ggml, NULL};
    char *node[] = {"node", "--expose-gc", script, ort, threads, name, NULL};
    bool ours = child->peer < PEER_ORT;

    self[n > 0 ? n : 0] = '\0';
    snprintf(threads, sizeof threads, "%d", (int)child->threads);
    beside(script, sizeof script, self, "../share/gqa/peers/onnxruntime/serve.js");
    find_folder(ort, sizeof ort, self, options->onnxruntime, "../onnxruntime");
    find_folder(ggml, sizeof ggml, self, options->ggml, "../ggml");
    if (!ours && access(ort, R_OK) != 0) {
        set_about(child, "onnxruntime-node is not installed (bench/peers/onnxruntime/install)");
        return false;
    }
    make_env(&env, child);
    set_about(child, ours ? "it did not start" : "it did not start (is there node?)");
    return launch(child, ours ? own : node, &env);
}

bool bench_child_start(struct bench_child *child, const struct bench_options *options)
{
    char line[BENCH_WHY_TEXT];

    if (child->pid != 0 || child->about[0] != '\0') {
        return child->ready;
    }
    signal(SIGPIPE, SIG_IGN);
    if (start(child, options) && read_line(child->from, line)) {
        child->ready = strncmp(line, "ready ", 6) == 0;
        set_about(child, strncmp(line, "skip ", 5) == 0 ? line + 5
                         : child->ready                 ? line + 6
                                                        : line);
    }
    if (!child->ready) {
        bench_child_stop(child);
    }
    return child->ready;
}

/* What stands behind this word of an answer, or 0. */
static double told(const char *text, const char *word)
{
    const char *at = strstr(text, word);

    return at == NULL ? 0 : strtod(at + strlen(word), NULL);
}

bool bench_child_ask(struct bench_child *child, const char *line, struct bench_answer *answer,
                     char why[BENCH_WHY_TEXT])
{
    char text[BENCH_WHY_TEXT];

    if (!child->ready) {
        snprintf(why, BENCH_WHY_TEXT, "%s", child->about);
        return false;
    }
    if (fprintf(child->to, "%s\n", line) < 0 || fflush(child->to) != 0 ||
        !read_line(child->from, text)) {
        child->ready = false;
        set_about(child, "it died");
        bench_child_stop(child);
        snprintf(why, BENCH_WHY_TEXT, "%s", child->about);
        return false;
    }
    if (strncmp(text, "ok ", 3) != 0) {
        snprintf(why, BENCH_WHY_TEXT, "%s", strncmp(text, "skip ", 5) == 0 ? text + 5 : text);
        return false;
    }
    answer->seconds = strtod(text + 3, NULL);
    answer->caches = (size_t)told(text, " caches=");
    answer->error = told(text, " error=");
    return true;
}

void bench_child_stop(struct bench_child *child)
{
    if (child->to != NULL) {
        fclose(child->to);
    }
    if (child->from != NULL) {
        fclose(child->from);
    }
    child->to = child->from = NULL;
    if (child->pid > 0) {
        while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    child->pid = 0;
}
