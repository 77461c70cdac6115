/* output.c - see output.h. */
#define _POSIX_C_SOURCE 200809L
#include "tool/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void tool_output_open(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) {
            /* The lowest free descriptor is fd. Each is opened for the wrong direction. */
            (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
        }
    }
}

int tool_output_close(const char *program, int status, int failed)
{
    const int earlier = ferror(stdout); /* a write that failed then has left no errno */

    errno = 0;
    if (fclose(stdout) != 0 || earlier != 0) {
        fprintf(stderr, "%s: cannot write standard output%s%s\n", program, errno != 0 ? ": " : "",
                errno != 0 ? strerror(errno) : "");
        return failed;
    }
    return status;
}
