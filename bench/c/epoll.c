/* Plain epoll, edge-triggered, one buffer for all connections: what epoll(7) calls suggested usage, with the short read
 * of its answer Q9 that saves a call per message. */
#define _GNU_SOURCE
#include "peer.h"
#include <sys/epoll.h>

#define EVENTS 1024

/* What the socket did not take; nothing is read before it has gone. */
struct pending {
    char *bytes; /* READ_BUFFER bytes, allocated when the socket is full for the first time */
    size_t from, to;
};

static struct pending pending[DESCRIPTORS + 1]; /* by descriptor */
static char buffer[READ_BUFFER];

static void accept_all(int listener, int epoll) {
    for (;;) {
        int stream = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (stream < 0) {
            if (errno == EAGAIN) return;
            if (errno == ECONNABORTED || errno == EINTR) continue;
            fail("accept");
        }
        int on = 1;
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.fd = stream};
        if (setsockopt(stream, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on)) fail("TCP_NODELAY");
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, stream, &event)) fail("epoll_ctl");
    }
}

/* Sends until the socket takes no more; how many bytes it took, or -1 if the connection has failed. */
static ssize_t send_all(int stream, const char *bytes, size_t length) {
    size_t sent = 0;
    while (sent < length) {
        ssize_t count = send(stream, bytes + sent, length - sent, 0);
        if (count >= 0) sent += (size_t)count;
        else if (errno == EAGAIN) break;
        else if (errno != EINTR) return -1;
    }
    return (ssize_t)sent;
}

/* Echoes until the socket has nothing to read or no room to write; 0 if the connection is over. */
static int on_event(int stream, unsigned events) {
    struct pending *waiting = &pending[stream];
    /* A short read has emptied the socket: what arrives later is a new event. Not so the end of the stream and what was
     * not read while output waited, which this event or an earlier one announced. */
    int to_the_end = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    if (waiting->from < waiting->to) {
        ssize_t sent = send_all(stream, waiting->bytes + waiting->from, waiting->to - waiting->from);
        if (sent < 0) return 0;
        waiting->from += (size_t)sent;
        if (waiting->from < waiting->to) return 1;
        to_the_end = 1;
    }
    for (;;) {
        ssize_t length = recv(stream, buffer, sizeof buffer, 0);
        if (length < 0) {
            if (errno == EINTR) continue;
            return errno == EAGAIN;
        }
        if (length == 0) return 0;
        ssize_t sent = send_all(stream, buffer, (size_t)length);
        if (sent < 0) return 0;
        if (sent < length) {
            if (!waiting->bytes && !(waiting->bytes = malloc(READ_BUFFER))) fail("malloc");
            waiting->from = 0;
            waiting->to = (size_t)(length - sent);
            memcpy(waiting->bytes, buffer + sent, waiting->to);
            return 1;
        }
        if (length < READ_BUFFER && !to_the_end) return 1;
    }
}

static void close_stream(int stream) {
    free(pending[stream].bytes);
    memset(&pending[stream], 0, sizeof pending[stream]);
    close(stream);
}

int main(int count, char **arguments) {
    int listener = listen_on(port_of(count, arguments, "edge-triggered"), SOCK_NONBLOCK);
    int epoll = epoll_create1(0);
    static struct epoll_event events[EVENTS];
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.fd = listener};
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event)) fail("epoll");
    announce(listener);
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        if (ready < 0 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < ready; i++) {
            int stream = events[i].data.fd;
            if (stream == listener) accept_all(listener, epoll);
            else if (!on_event(stream, events[i].events)) close_stream(stream);
        }
    }
}
