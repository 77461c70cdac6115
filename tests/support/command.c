/* command.c - see command.h. */
#define _POSIX_C_SOURCE 200809L
#include "support/command.h"

#include <stdio.h>
#include <sys/wait.h>

int run_command(const char *path, const char *words, const char *redirection, char *text,
                size_t room)
{
    char command[1024], rest[1024];
    int status;
    size_t n;
    FILE *pipe;

    snprintf(command, sizeof command, "'%s' %s %s", path, words, redirection);
    pipe = popen(command, "r");
    if (pipe == NULL) {
        return -1;
    }
    n = fread(text, 1, room - 1, pipe);
    text[n] = '\0';
    while (fread(rest, 1, sizeof rest, pipe) > 0) { /* so that it is not ended by a full pipe */
    }
    status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
