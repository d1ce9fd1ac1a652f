/* What the C and C++ peers have in common: the command line `--port PORT`, the listener, the descriptor limit and the
 * line that says that they accept. Nothing here runs while bytes are echoed. */
#ifndef PEER_H
#define PEER_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* Bytes of every read buffer. */
#define READ_BUFFER (16 * 1024)
/* Descriptors that 10,000 connections need, with room for the runtime's own. */
#define DESCRIPTORS 20000
/* Connections that wait to be accepted: more than any system allows, which then takes its own limit. */
#define BACKLOG (1 << 16)

static inline void fail(const char *what) {
    perror(what);
    exit(1);
}

/* The only mode of each of these peers is `mode`. */
static inline int port_of(int count, char **arguments, const char *mode) {
    long port = -1;
    for (int i = 1; i < count; i += 2) {
        const char *value = i + 1 < count ? arguments[i + 1] : "";
        char *end = NULL;
        if (strcmp(arguments[i], "--port") == 0) {
            port = strtol(value, &end, 10);
            if (end == value || *end || port < 0 || port > 65535) port = -1;
        } else if (strcmp(arguments[i], "--mode") != 0 || strcmp(value, mode) != 0) {
            port = -1;
            break;
        }
    }
    if (port < 0) {
        fprintf(stderr, "usage: %s --port PORT [--mode %s]\n", arguments[0], mode);
        exit(2);
    }
    return (int)port;
}

static inline void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit)) fail("getrlimit");
    if (limit.rlim_cur >= DESCRIPTORS) return;
    limit.rlim_cur = DESCRIPTORS;
    if (limit.rlim_max < DESCRIPTORS) limit.rlim_max = DESCRIPTORS;
    if (setrlimit(RLIMIT_NOFILE, &limit)) fail("descriptors: raise the hard limit (ulimit -Hn)");
}

/* Sends to a closed connection fail instead of ending the process. */
static inline void ignore_sigpipe(void) { signal(SIGPIPE, SIG_IGN); }

/* A socket that listens on 127.0.0.1 with the longest backlog that the system allows; `kind` is or'ed to its type. */
static inline int listen_on(int port, int kind) {
    int on = 1;
    struct sockaddr_in address;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((unsigned short)port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    raise_descriptor_limit();
    ignore_sigpipe();
    int listener = socket(AF_INET, SOCK_STREAM | kind, 0);
    if (listener < 0) fail("socket");
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on)) fail("SO_REUSEADDR");
    if (bind(listener, (struct sockaddr *)&address, sizeof address)) fail("bind");
    if (listen(listener, BACKLOG)) fail("listen");
    return listener;
}

/* Prints where the peer accepts. */
static inline void announce(int listener) {
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    if (getsockname(listener, (struct sockaddr *)&address, &length)) fail("getsockname");
    printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
}

#endif
